"""Comparing finished runs: find them, measure what is missing, judge all alike, write the tables and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from mora.contenders import Opened, check_alike, open_runs
from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.evaluation import budget
from mora.evaluation.compare import UNIT, Compare
from mora.evaluation.compare_tables import write_tables
from mora.evaluation.front import known_world, write_front
from mora.evaluation.grid import preference_grid
from mora.evaluation.judged import Answers, Judge, judge_answers, read_answers
from mora.evaluation.methods import Method
from mora.files import read_json
from mora.functional.risk import mean
from mora.report.compare import write_comparison
from mora.reward.panel import GoldPanel, Panel
from mora.reward.stored import load_panel
from mora.running import build, front_of, load_corpus, reward_folder
from mora.runs import compute_device
from mora.runtime.console import say
from mora.runtime.folder import IDENTITY, RunFolder
from mora.settings.compose import compose
from mora.settings.identity import difference, plain, to_yaml
from mora.settings.methods import differing
from mora.stages import PRODUCT, short_name

Floats = NDArray[np.float64]


def compare(cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Compare ``cfg.runs`` and return the folder with tables and report.

    Raises InputError for runs that cannot be compared: unfinished, without a policy, of other objectives.
    """
    evaluator: Compare = build(plain(cfg.evaluation))
    groups = open_runs(plain(cfg.runs), cfg.paths.runs)
    runs = [run for group in groups.values() for run in group]
    check_alike(runs)
    corpus = load_corpus(runs[0].config)
    name, panel = _judge(evaluator.judge, corpus, runs, cfg.paths.runs)
    folder = _folder(cfg, overrides, groups, evaluator.protocol(corpus, seed=cfg.seed), name)
    with folder.lock():
        grid, judge = preference_grid(evaluator.preferences, corpus.objectives), _asking(panel)
        judged = {run: judge_answers(_answers(run, corpus, evaluator, folder, cfg.seed), judge) for run in runs}
        methods = [
            Method(name=label, seeds=[judged[run] for run in group], facts=facts)
            for (label, group), facts in zip(groups.items(), _facts(groups, name), strict=True)
        ]
        world = known_world(corpus, grid) if name == "gold" else None
        table, cells = evaluator.compare(methods, grid, corpus.objectives, world, seed=cfg.seed)
        head = {
            "comparison": folder.id,
            "objectives": list(corpus.objectives),
            "dataset": {"name": corpus.name, "protocol": folder.identity["protocol"]},
            "prompts": len(methods[0].seeds[0].answers.prompts),
            "samples_per_prompt": evaluator.samples,
            "seed": cfg.seed,
            "sampling": evaluator.sampling,
            "judge": {"name": name, "kind": "rules of the world" if name == "gold" else "reward model", "unit": UNIT},
        }
        table["warnings"] += _warnings(groups, name, corpus, evaluator)
        write_tables(folder.tables, head | table, methods, cells, shown=evaluator.shown_prompts)
        write_comparison(folder.path)
        folder.finish({})
    return folder.path


def _folder(
    cfg: DictConfig, overrides: Sequence[str], groups: Mapping[str, Sequence[Opened]], protocol: str, judge: str
) -> RunFolder:
    """The folder of this comparison: named by the runs, what they are asked, and how they are judged."""
    settings = {key: value for key, value in plain(cfg.evaluation).items() if key != "batch_size"}
    identity = {
        "runs": {label: [run.folder.id for run in group] for label, group in groups.items()},
        "evaluation": settings,
        "protocol": protocol,
        "judge": judge,
    }
    first = groups[next(iter(groups))][0]
    return RunFolder.open(
        Path(cfg.paths.runs),
        f"compare-{short_name(first.config['dataset'])}",
        identity,
        config=to_yaml(cfg),
        overrides=to_yaml({"command": "python -m mora.evaluate", "overrides": list(overrides)}),
        diff=to_yaml(difference(plain(compose("evaluate", [])), plain(cfg))),
    )


# --- the judge -------------------------------------------------------------------------------------------------------


def _judge(given: str | None, corpus: Corpus, runs: Sequence[Opened], root: str) -> tuple[str, Panel]:
    """The judge's name, "gold" or that of a reward run, and its panel.  Raises InputError where it must be named."""
    if given is None and corpus.world is not None:
        return "gold", GoldPanel(corpus.world).select(corpus.objectives)
    if given == "gold":
        raise InputError("evaluation.judge=gold: the rules of a world judge by themselves where there is one; use null")
    if given is not None:
        folder = RunFolder.find(given, root).path
        if not (folder / PRODUCT["reward"]).is_dir():
            raise InputError(f"evaluation.judge={given}: that run trained no reward model; name a run of reward_model")
        return folder.name, load_panel(folder / PRODUCT["reward"], compute_device()).select(corpus.objectives)
    trained = {run.trainer: run for run in runs if run.trainer is not None}
    if len(trained) != 1:
        listed = ", ".join(sorted(trained)) or "none"
        raise InputError(
            f"evaluation.judge=null: the data has no rules to judge by, and the runs were trained by {listed}; "
            "name the reward run that judges all of them"
        )
    ((name, run),) = trained.items()
    path = reward_folder(run.folder, run.config)
    if path is None:
        raise InputError(
            f"evaluation.judge=null: {run.folder.id} was trained by rules that {runs[0].folder.id} has no world for; "
            "name the reward run that judges all of them, or name that run first"
        )
    return name, load_panel(path, compute_device()).select(corpus.objectives)


def _asking(panel: Panel) -> Judge:
    def ask(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        scores: Floats = mean(panel.raw(prompts, responses)).double().cpu().numpy()
        return scores

    return ask


# --- answers ---------------------------------------------------------------------------------------------------------


def _answers(run: Opened, corpus: Corpus, evaluator: Compare, folder: RunFolder, seed: int) -> Answers:
    """The answers of a run to the comparison's prompts: those of its own tables if they fit, else sampled now."""
    grid = preference_grid(evaluator.preferences, corpus.objectives)
    measured = folder.path / "measured" / run.folder.id
    for tables in (run.folder.tables, measured):
        front = tables / "front.json"
        if front.is_file() and read_json(front).get("protocol") == folder.identity["protocol"]:
            return read_answers(tables, grid)
    say(f"{run.folder.id}: answering {evaluator.prompts} prompts")
    table, samples = front_of(run.folder, run.config, evaluator, corpus, seed=seed)
    write_front(measured, table, samples)
    return read_answers(measured, grid)


# --- what is said of the runs ----------------------------------------------------------------------------------------


def _facts(groups: Mapping[str, Sequence[Opened]], judge: str) -> list[dict[str, Any]]:
    settings = differing([group[0].settings for group in groups.values()])
    found = []
    for group, own in zip(groups.values(), settings, strict=True):
        first = group[0]
        trainers = sorted({run.trainer for run in group if run.trainer is not None})
        spent = [budget.spent(run.folder.path) for run in group]
        chains = [budget.chain(run.folder.path) for run in group]
        whole = not any(budget.missing(run.folder.path) for run in group)
        stages = [{"run": run.name, "algo": _algorithm(run), **budget.spent(run)} for run in chains[0]]
        found.append(
            {
                "runs": [run.folder.id for run in group],
                "seeds": [run.config["seed"] for run in group],
                "algo": first.config["algo"]["_target_"].split(".")[-2],
                "model": first.config["model"]["name"],
                "smoke": bool(first.config["model"]["smoke"]),
                "settings": own,
                "trained_by": ", ".join(trainers) or None,
                "judge_trained_it": judge in trainers,
                "budget": {
                    "run": _average(spent),
                    "chain": _average([budget.total(chain) for chain in chains]) if whole else dict.fromkeys(spent[0]),
                    "stages": stages,
                },
            }
        )
    return found


def _algorithm(run: Path) -> str:
    return str(read_json(run / IDENTITY)["algo"]["_target_"]).split(".")[-2]


def _average(budgets: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Means over seeds, the peak of memory too; None where one does not say."""
    means: dict[str, float | None] = {}
    for name in budgets[0]:
        values = [value for one in budgets if (value := one[name]) is not None]
        means[name] = sum(values) / len(values) if len(values) == len(budgets) else None
    return means


def _warnings(groups: Mapping[str, Sequence[Opened]], judge: str, corpus: Corpus, evaluator: Compare) -> list[str]:
    """What a reader must know before the numbers."""
    runs = [run for group in groups.values() for run in group]
    found = []
    small = sorted({run.config["model"]["name"] for run in runs if run.config["model"]["smoke"]})
    if small:
        found.append(
            f"Smoke model: {', '.join(small)} is tiny and starts from random weights; these figures say nothing about "
            "a real model."
        )
    trained = [label for label, group in groups.items() if any(run.trainer == judge for run in group)]
    if trained:
        meaning = (
            "true scores, but no test of what a learned reward would have done."
            if judge == "gold"
            else "its scores may overstate what was gained. Prefer a judge that training never saw."
        )
        found.append(f"The judge {judge} trained {', '.join(trained)}: {meaning}")
    single = [label for label, group in groups.items() if len(group) == 1]
    if single:
        found.append(
            f"One seed of {', '.join(single)}: a verdict about it is one about these weights, not about the method."
        )
    for label, group in groups.items():
        seeds = [run.config["seed"] for run in group]
        if len(set(seeds)) < len(seeds):
            found.append(f"{label} has runs of the same seed ({', '.join(map(str, seeds))}): they are no repetitions.")
    return found + _data_warnings(runs, corpus, evaluator)


def _data_warnings(runs: Sequence[Opened], corpus: Corpus, evaluator: Compare) -> list[str]:
    """Whose prompts are asked where the runs had several sets, and which of these prompts a run was trained on."""
    first, asked = runs[0].folder, {row.prompt for row in evaluator.rows(corpus)}
    found = []
    if not corpus.prompts["test"]:
        found.append(f"{first.id} has no held-out prompts: all methods answer prompts that were trained on.")
    others = [run.folder.id for run in runs if run.folder.identity["dataset"] != first.identity["dataset"]]
    if others:
        found.append(f"The prompts are those of {first.id}; {', '.join(others)} had other data.")
    for run in runs[1:]:
        if all(run.config[key] == runs[0].config[key] for key in ("dataset", "seed")):
            continue
        other = load_corpus(run.config)
        kinds = (other.prompts, other.supervised, other.pairs)
        known = {row.prompt for kind in kinds for row in kind["train"]} & asked
        if known:
            found.append(f"{run.folder.id} was trained on {len(known)} of the {len(asked)} prompts of the comparison.")
    return found
