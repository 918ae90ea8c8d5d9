"""Running a plan: build the parts of each stage, train, measure, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.files import read_lines
from mora.model.place import find
from mora.model.score_model import CARD, read_card
from mora.model.tokenizer import check_date
from mora.report.chain import redraw
from mora.reward.card import kind_of
from mora.reward.hub import Hub
from mora.run.build import build, load_corpus
from mora.run.meaning import refuse_rows_that_teach_nothing, refuse_stage_without_meaning, refuse_without_meaning
from mora.run.measure import measure, note_measured
from mora.run.opened import quiet_libraries
from mora.run.plan import Stage, fitting, rates_of, suited, texts
from mora.run.record import record_data
from mora.run.trial import try_models
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.devices import Runtime
from mora.runtime.folder import RunFolder
from mora.settings.arithmetic import native_bf16


def execute(stages: Sequence[Stage], cfg: DictConfig) -> None:
    """Run the stages that are not finished, one after another, on all processes."""
    quiet_libraries()
    for stage in stages:
        refuse_stage_without_meaning(stage)
        for warning in _teacher_warnings(stage, stages):
            say(warning)
    refuse_without_meaning(stages[-1])
    for stage in stages:
        if not stage.finished or cfg.runtime.fresh:
            refuse_rows_that_teach_nothing(stage)
    emulated = dict.fromkeys(warning for stage in stages for warning in _emulation_warnings(stage))
    for warning in [*_smoke_warnings(stages[-1]), *emulated, *_unused_starts(stages)]:
        say(warning)
    runtime: Runtime = build(cfg.runtime)
    todo = [stage for stage in stages if not stage.finished or (runtime.fresh and stage is stages[-1])]
    for stage in todo:
        _find_models(stage)  # what is missing or bad is told before a folder is made
    try_models(todo, runtime)
    for stage in stages:
        folder = RunFolder.open(
            Path(stage.config["paths"]["runs"]), stage.slug, stage.identity, **texts(stage), runtime=runtime
        )
        with folder.lock():
            if runtime.fresh and stage is stages[-1]:
                folder.fresh()
            if not folder.finished:
                say(f"{stage.algo}: {folder.path}")
                say(f"{stage.algo}: {suited(stage)}")
                runtime.reseed()  # a stage finds the same state whether earlier ones ran here or were found
                folder.finish(_run(stage, folder, runtime))


def measure_again(stage: Stage, cfg: DictConfig) -> None:
    """Make the tables of a finished run anew, as its command asks for others than it has."""
    quiet_libraries()
    refuse_without_meaning(stage)
    runtime: Runtime = build(cfg.runtime)
    folder = RunFolder.open(
        Path(stage.config["paths"]["runs"]), stage.slug, stage.identity, **texts(stage), runtime=runtime
    )
    say(f"{stage.id}: it was measured with other settings of evaluation, or not at all; measuring")
    with folder.lock():
        runtime.on_main(
            lambda: measure(folder, stage.config, fitting(stage.produces, stage.config["evaluation"]), seed=0)
        )
        runtime.on_main(lambda: report(folder))


def _find_models(stage: Stage) -> None:
    """Raises InputError where a model that a stage names is neither a folder, nor on the hub, nor in its cache."""
    model = stage.config["model"]
    check_date(model["template_date"], "model.template_date")
    named: list[tuple[str, str, str | None]] = [
        (f"start.{role}", path, None) for role, path in stage.upstream.items() if role not in stage.runs
    ]
    if model["path"] is not None:
        named.append(("model.path", model["path"], model["revision"]))
    if model["chat_template"] is not None and not model["chat_template"].endswith(".jinja"):
        named.append(("model.chat_template", model["chat_template"], None))
    kind = stage.config["reward"] if "reward" in stage.identity else {}
    if kind.get("origin") == "imported":
        hub: Hub = build(kind)
        sources = [(name, hub.source(name)) for name in hub.models]
        named += [(f"reward.models.{name}", source.path, source.revision) for name, source in sources]
    for where, path, revision in named:
        find(path, revision, where)


def _smoke_warnings(stage: Stage) -> list[str]:
    """What to tell of a model that is made for trying things out where the texts are real ones."""
    model = stage.config["model"]
    if not model["smoke"] or load_corpus(stage.config).world is not None:
        return []
    return [
        f"model={model['name']}: tiny, from random weights; on real texts it may lose to a bag of words, so take a "
        "pretrained model for results (model=qwen2_5_0_5b, model.path=...)"
    ]


def _emulation_warnings(stage: Stage) -> list[str]:
    """What to tell of bfloat16 on a machine that has no arithmetic for it."""
    config = stage.config
    emulated = {
        "runtime.precision=bf16": ("bf16", config["runtime"]["precision"], "runtime.precision=fp32"),
        "model.dtype=bfloat16": ("bfloat16", config["model"]["dtype"], "model.dtype=float32"),
    }
    found = [(given, instead) for given, (slow, value, instead) in emulated.items() if value == slow]
    if not found or native_bf16():
        return []
    return [
        f"{', '.join(given for given, _ in found)}: this machine has no arithmetic for bfloat16 and emulates it, "
        f"several times slower than float32; faster here: {' '.join(instead for _, instead in found)}"
    ]


def _unused_starts(stages: Sequence[Stage]) -> list[str]:
    """What to tell of settings of the command for runs that it does not make."""
    config, given = stages[-1].config, {item.partition("=")[0] for item in stages[-1].overrides}
    made = {choice for stage in stages[:-1] for choice in stage.choices.values()}
    lists = [key for key, value in config["start"].items() if isinstance(value, list) and value]
    unused = [key for key in lists if f"start.{key}" in given and key not in {*made, *config["algo"]["needs"]}]
    return [f"start.{key}: this command makes no run of {key}, so it changes nothing" for key in unused]


def _teacher_warnings(stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """What to tell before a reward model is trained on the scores of a teacher, made here or named."""
    folder = _folder(stage, "teacher")
    if folder is None:
        return []
    made = next((other for other in stages if other.id == stage.runs.get("teacher")), None)
    if made is not None:
        kind = build(made.config["reward"])
        units = made.config["algo"]["reference_prompts"] > 0 and not made.config["model"]["encoder"]
    else:
        card = read_card(folder, ("reward",))
        kind, units = kind_of(card["reward"], folder / CARD), card.get("standardization") is not None
    if not units:
        raise InputError(
            f"start.teacher={stage.runs.get('teacher', folder)}: its scores have no units that reward=pseudo could "
            "learn: it has to be trained on a language model, with algo.reference_prompts above 0 (start.ensemble)"
        )
    if kind.shape.atoms > 1:
        return []
    return [
        f"start.teacher={stage.runs.get('teacher', folder)}: a {kind.name} reward gives an answer one score, and that "
        "is all that reward=pseudo learns: the spread of its quantiles will be how far it misses that score, and no "
        "disagreement of members; name a run of reward=ensemble to learn one"
    ]


def context_of(stage: Stage, folder: RunFolder, runtime: Runtime) -> Context:
    """What the algorithm of a stage is handed: an object per group of the configuration."""
    config = stage.config
    return Context(
        seed=config["seed"],
        folder=folder,
        runtime=runtime,
        tracker=build(config["tracker"]),
        corpus=load_corpus(config),
        model=build(config["model"]),
        policy=stage.upstream.get("policy"),
        reward_folder=_folder(stage, "reward"),
        trunk_folder=_folder(stage, "trunk"),
        teacher_folder=_folder(stage, "teacher"),
        provenance={"run": stage.id} | {f"{role}_run": run for role, run in stage.runs.items()},
        upstream=by_role(stage.upstream),
        **{name: build(config[name]) if name in stage.identity else None for name in _COMPOSED},
    )


def by_role(upstream: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Folders or hub ids by role, of one or of several runs, in their order."""
    roles = dict.fromkeys(key.partition(".")[0] for key in upstream)
    return {role: tuple(path for key, path in upstream.items() if key.partition(".")[0] == role) for role in roles}


def _folder(stage: Stage, role: str) -> Path | None:
    return Path(stage.upstream[role]) if role in stage.upstream else None


def _run(stage: Stage, folder: RunFolder, runtime: Runtime) -> dict[str, Any]:
    config = stage.config
    runtime.at(f"the data and models of {stage.id}", long=True)
    context = context_of(stage, folder, runtime)
    record_data(folder, context.corpus, stage.runs, runtime)
    try:
        summary = build(config["algo"], _partial_=True)(context=context).fit()
    except FloatingPointError as error:
        raise InputError(_diverged(folder, config, error)) from error
    runtime.at(f"the evaluation of {stage.id}", long=True)
    for note in context.notes():
        say(f"{stage.id}: {note}")
    if stage.produces != "model":  # one to start from is measured by what is trained on it
        measured_once(stage, folder, context.corpus, runtime)
    runtime.on_main(lambda: report(folder))
    return dict(summary)


def measured_once(stage: Stage, folder: RunFolder, corpus: Corpus, runtime: Runtime) -> None:
    """Write the tables of a run that was trained, or say why its evaluation has nothing to measure."""
    evaluation = fitting(stage.produces, stage.config["evaluation"])
    if getattr(build(evaluation), "needs_held_out_pairs", False) and not len(corpus.pairs["test"]):
        runtime.on_main(lambda: note_measured(folder, "reward", evaluation, seed=0))
        say(f"{stage.id}: not measured, since the dataset has no held-out pair (dataset.test_share, dataset.test_path)")
    else:
        runtime.on_main(lambda: measure(folder, stage.config, evaluation, seed=0))


def _diverged(folder: RunFolder, config: Mapping[str, Any], error: FloatingPointError) -> str:
    """What to tell of a run whose loss or gradient is no number; its status says so, its last state stays."""
    rows, kept = read_lines(folder.metrics), int(folder.status["step"])
    step = 1 + int(rows[-1]["step"]) if rows else 1
    folder.note("diverged", step=kept, total=folder.status["total"], at=step, why=str(error))
    algo, rates = config["algo"], [f"{key}={rate}" for key, rate in rates_of(config).items()]
    clip = algo["optimizer"].get("max_grad_norm") if isinstance(algo.get("optimizer"), Mapping) else None
    lower = ", ".join(rates if clip is None else [*rates, f"algo.optimizer.max_grad_norm={clip}"])
    state = f"the state after step {kept} is kept in its checkpoints" if kept else "no state was kept"
    return f"{folder.path}: diverged at step {step} ({error}); {state}. Lower one of {lower or 'its rates'}"


_COMPOSED = ("reward", "risk", "scalarize", "preference", "adapter")


def report(folder: RunFolder) -> None:
    """Write the page of a run, with the curves of the runs that it stands on."""
    redraw(folder.path)
