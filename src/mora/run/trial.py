"""Trying the base model before the first stage: whether it can do what each stage of the plan will ask of it.

A policy that cannot be adapted is told now, and not after its reward model was trained for hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from mora.model.adapter import AdapterKind, linear_targets
from mora.model.agreement import (
    check_adapter,
    check_encoder,
    check_modes,
    check_policy,
    check_span,
    check_targets,
    check_trunk,
)
from mora.model.capacity import check_lengths
from mora.model.load import ModelSpec, load_causal, load_tokenizer
from mora.run.build import build, load_corpus
from mora.run.estimate import LARGE, Pace, estimate, paced
from mora.run.plan import Stage
from mora.runtime.console import say
from mora.runtime.devices import Runtime
from mora.settings.identity import canonical_json

MADE = (96, (0, 1, 2))  # tokens of a model that is made to be tried, and its first, end and padding token


def try_models(stages: Sequence[Stage], runtime: Runtime) -> None:
    """Ask the model that each stage starts from, loaded once, for all that the stages need.

    Says what a stage with a large model will take.  A stage that has begun was tried when it did.  Raises InputError as
    the checks of ``mora.model.agreement`` do.
    """
    new = [stage for stage in stages if not (stage.path / "checkpoints").is_dir()]
    tried = dict.fromkeys(_tried(stage) for stage in new)
    for one in tried:
        mine = [stage for stage in new if _tried(stage) == one]
        model = _loaded(_source(mine[0]), mine[0], runtime)
        for stage in mine:
            _try(model, stage)
        if sum(parameter.numel() for parameter in model.parameters()) >= LARGE:
            pace = paced(model, runtime)
            for line in filter(None, (_estimate(model, pace, stage, runtime) for stage in mine)):
                say(f"on this machine, roughly: {line}")
        for stage in mine:  # last, as it changes the model
            _try_adapter(model, stage)
        del model  # before the next one is loaded


def _source(stage: Stage) -> str | None:
    """The policy that a stage starts from, where it is there; None for the base model, which has the same code."""
    path = stage.upstream.get("policy")
    return path if path is not None and ("policy" not in stage.runs or Path(path).is_dir()) else None


def _tried(stage: Stage) -> tuple[str | None, str]:
    """The model that a stage is tried with: stages of other models may stand in one plan."""
    return _source(stage), canonical_json(stage.config["model"])


def _loaded(source: str | None, stage: Stage, runtime: Runtime) -> PreTrainedModel:
    spec: ModelSpec = build(stage.config["model"])
    if source is not None:
        model = load_causal(source, spec)
    elif spec.path is not None:
        model = spec.loaded()
    else:
        model = spec.made(*MADE, seed=0)
    if spec.quantization is None or spec.path is None:
        model.to(runtime.device)  # type: ignore[arg-type]
    return model


def _try(model: PreTrainedModel, stage: Stage) -> None:
    """What a stage does with the model as it is."""
    algo, reward, data = (stage.config[section] for section in ("algo", "reward", "dataset"))
    name = _source(stage) or stage.config["model"]["path"] or "model.config"
    check_lengths(model, data["max_prompt"], data["max_response"], name)
    check_span(model, name)
    check_modes(model)
    if stage.config["model"]["encoder"]:
        check_encoder(model.base_model, name)
    if "adapter" in stage.identity:
        check_policy(model)
    if stage.produces == "reward" and stage.rows == "pairs":
        trunk: Any = model.base_model
        if "lora" in (algo.get("sharing"), reward.get("sharing")):
            targets = linear_targets(trunk, algo["lora"]["targets"], head=False, key="algo.lora.targets")
            check_targets(trunk, targets, key="algo.lora.targets", by_row=False)
        check_trunk(trunk)


def _estimate(model: PreTrainedModel, pace: Pace, stage: Stage, runtime: Runtime) -> str | None:
    spec: ModelSpec = build(stage.config["model"])
    corpus, source = load_corpus(stage.config), _source(stage)
    if source is None:
        tokenizer = spec.tokenizer(corpus.tokenizer_texts(), tokens=corpus.tokens)
    else:
        tokenizer = load_tokenizer(source, template_date=spec.template_date)
    return estimate(stage, model, pace, corpus.encoder(tokenizer), corpus, processes=runtime.world_size)


def _try_adapter(model: PreTrainedModel, stage: Stage) -> None:
    if "adapter" not in stage.identity:
        return
    settings: AdapterKind = build(stage.config["adapter"])
    if not settings.whole:
        check_adapter(model, settings, stage.config["objectives"]["names"], key="adapter.targets")
