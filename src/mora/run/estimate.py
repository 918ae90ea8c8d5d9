"""What a command will take on this machine, told before its first stage: tokens, time and memory of each stage.

Paces are those of a few timed passes of the model that a stage starts from.  An estimate is rough by design: it tells
an hour from a night.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from transformers import PreTrainedModel

from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.evaluation.grid import preference_grid
from mora.functional.thinning import evenly
from mora.model.backbones import Layout
from mora.model.generate import Sampling, generate
from mora.reward import TrainedKind
from mora.run.build import build
from mora.run.plan import Stage
from mora.runtime.context import total_steps
from mora.runtime.devices import Runtime
from mora.runtime.memory import GIB
from mora.runtime.reward_start import layout_of
from mora.types import Prompts

LARGE = 10**7  # parameters from which on a stage is estimated; a smaller model is trained in minutes
ROWS, DRAWN = 8, 6  # sequences of a timed pass, and tokens that are sampled after a first one
TOGETHER = 32  # answers that are sampled together while a pace is taken, at most: more cost less each
MEASURED = 100  # rows whose lengths are measured


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage does, in tokens over all processes."""

    steps: int
    sampled: float  # tokens of answers, at most
    alone: float = 0.0  # the same of answers that every process samples for itself, those that standardize rewards
    read: float  # tokens of prompts and answers that pass the model without gradient
    trained: float  # the same with gradient


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds per token on this process; ``trained`` is that of a frozen model with an adapter."""

    sampled: float
    read: float
    trained: float

    def seconds(self, work: Work, processes: int, *, whole: bool) -> float:
        """How long ``work`` takes; the gradients of all weights (``whole``) cost another forward pass."""
        trained = self.trained + (self.read if whole else 0.0)
        shared = self.sampled * work.sampled + self.read * work.read + trained * work.trained
        return shared / processes + self.sampled * work.alone


def work_of(stage: Stage, corpus: Corpus, encoder: Encoder) -> Work | None:
    """What a stage does, by the settings that algorithms have in common; None for one that has others.

    Answers that are sampled count with their longest length.
    """
    algo, rollout = stage.config["algo"], stage.config["algo"].get("rollout")
    answers = 0 if stage.config["model"]["encoder"] else algo.get("reference_prompts", 0)
    alone = float(answers * algo.get("reference_samples", 0) * encoder.max_response)
    if stage.rows == "prompts" and isinstance(rollout, Mapping) and isinstance(algo.get("steps"), int):
        answers = rollout["prompts"] * rollout["samples"]
        length = _mean_length(corpus, "prompts", encoder) + encoder.max_response
        trained = algo["steps"] * answers * algo.get("epochs", 1) * length
        everything = algo["steps"] * answers + _evaluated(stage, corpus)
        sampled, read = everything * encoder.max_response, 2 * everything * length
        alone = alone if stage.config["reward"]["origin"] == "rules" else 0.0  # a reward model has its units
        return Work(steps=algo["steps"], sampled=sampled, alone=alone, read=read, trained=trained)
    if "batch_size" not in algo or stage.rows not in ("supervised", "pairs"):
        return None
    rows = len(getattr(corpus, stage.rows)["train"])
    steps = total_steps(steps=algo.get("steps"), epochs=algo.get("epochs"), rows=rows, batch_size=algo["batch_size"])
    trained = steps * min(algo["batch_size"], rows) * _mean_length(corpus, stage.rows, encoder)
    if stage.rows == "pairs" and _frozen(stage):
        once = rows * _mean_length(corpus, stage.rows, encoder)  # features, unless another run left them
        return Work(steps=steps, sampled=0.0, alone=alone, read=alone + once, trained=0.0)
    if stage.rows == "pairs":
        trained *= prod(_layout(stage).counts(len(corpus.objectives), build(stage.config["reward"]).shape.members))
    return Work(steps=steps, sampled=0.0, alone=alone, read=alone, trained=trained)


def _mean_length(corpus: Corpus, kind: str, encoder: Encoder) -> float:
    """Tokens of a row: of a prompt, of a prompt and its answer, or of both sequences of a pair."""
    rows = evenly(getattr(corpus, kind)["train"], MEASURED)
    lengths = [
        sum(len(encoder.prompt(row.prompt)) + len(encoder.response_of(row, side)) for side in range(len(row.responses)))
        or len(encoder.prompt(row.prompt))
        for row in rows
    ]
    return sum(lengths) / max(len(lengths), 1)


def _evaluated(stage: Stage, corpus: Corpus) -> int:
    """Answers that an evaluation with so many ``prompts`` and ``samples`` draws."""
    evaluation = stage.config["evaluation"]
    if not {"prompts", "samples"} <= evaluation.keys() or evaluation["measures"] != stage.produces:
        return 0
    answers = min(evaluation["prompts"], len(corpus.prompts[corpus.asked])) * evaluation["samples"]
    if "preferences" not in evaluation:
        return int(answers)  # of the reference policy
    steered = stage.config["preference"].get("weights") is None
    asked, names = evaluation["preferences"], corpus.objectives
    floored = [name for name in stage.config["scalarize"].get("floors", {}) if asked is None]
    points = len(preference_grid(asked, [name for name in names if name not in floored])) if steered else 1
    return int((points + 1) * answers)


def paced(model: PreTrainedModel, runtime: Runtime) -> Pace:
    """Times a few passes of a model, which is left as it was."""
    length, device = 64, model.device
    ids = torch.full((ROWS, length), 3, device=device)
    mask = torch.ones_like(ids)
    writes = model.get_output_embeddings() is not None  # an encoder neither writes nor has a cache
    options = {"use_cache": False} if writes else {}

    def trained() -> None:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        with runtime.autocast():
            output = model(inputs_embeds=embedded, attention_mask=mask, **options)
        (output.logits.float().logsumexp(-1) if writes else output.last_hidden_state.float()).mean().backward()

    @torch.no_grad()
    def read() -> None:
        with runtime.autocast():
            model(input_ids=ids, attention_mask=mask, **options)

    count = min(runtime.sample_batch or TOGETHER, TOGETHER)
    asked = torch.full((count, 8), 3, device=device)
    rows = torch.arange(count, device=device)
    prompts = Prompts(ids=asked, mask=torch.ones_like(asked).bool(), row_ids=rows, texts=[""] * count)

    def sampled(tokens: int) -> None:
        with runtime.autocast():
            generate(
                model,
                prompts,
                sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0),
                seed=0,
                step=0,
                max_new_tokens=tokens,
                ends=[-1],
                pad=0,
            )

    model.eval()
    kept = [parameter.requires_grad for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        forward, back = _seconds(read, device), _seconds(trained, device)
        drawn = _seconds(partial(sampled, 1 + DRAWN), device) - _seconds(partial(sampled, 1), device) if writes else 0.0
    finally:
        for parameter, flag in zip(model.parameters(), kept, strict=True):
            parameter.requires_grad_(flag)
    tokens = ROWS * length
    return Pace(
        sampled=max(drawn, 0.0) / (count * DRAWN),  # without the pass over the prompts
        read=forward / tokens,
        trained=back / tokens,
    )


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The shorter of two runs: the first one warms up."""
    found = []
    for _ in range(2):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - begin)
    return min(found)


def estimate(
    stage: Stage, model: PreTrainedModel, pace: Pace, encoder: Encoder, corpus: Corpus, *, processes: int
) -> str | None:
    """A line about ``stage``, which starts from ``model``; None where its algorithm has settings of its own.

    Its memory is that of weights, gradients and AdamW's moments; activations come on top.
    """
    work = work_of(stage, corpus, encoder)
    if work is None:
        return None
    adapter = build(stage.config["adapter"]) if "adapter" in stage.identity else None
    trunks = 1
    if stage.rows == "pairs":
        trunks, _ = _layout(stage).counts(len(corpus.objectives), build(stage.config["reward"]).shape.members)
    whole = adapter.whole if adapter is not None else stage.rows != "pairs" or not _layout(stage).adapted
    seconds = pace.seconds(work, processes, whole=whole)
    count = sum(parameter.numel() for parameter in model.parameters())
    held = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if whole and not (stage.rows == "pairs" and _frozen(stage)):
        held = 16 * count * trunks + (held if adapter is not None else 0)  # the reference policy is a frozen copy
    passes = ("trained", work.trained) if work.trained else ("read", work.read)
    amounts = (("sampled", work.sampled + work.alone), passes)
    counts = ", ".join(f"{_number(amount)} tokens {verb}" for verb, amount in amounts if amount)
    memory = f"{held / GIB:.1f} GiB of weights and optimizer"
    return f"{stage.algo}: {work.steps} steps, {counts}: about {_spoken(seconds)}; {memory}"


def _frozen(stage: Stage) -> bool:
    """Whether a reward model is heads alone, on a trunk that stays as it is."""
    return bool(stage.config["algo"].get("freeze_trunk")) or not isinstance(build(stage.config["reward"]), TrainedKind)


def _layout(stage: Stage) -> Layout:
    algo = stage.config["algo"]
    return layout_of(build(stage.config["reward"]), algo.get("sharing", "trunk"), build(algo.get("lora", {})))


def _spoken(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _number(amount: float) -> str:
    for unit, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if amount >= unit:
            return f"{amount / unit:.3g}{name}"
    return f"{amount:.0f}"
