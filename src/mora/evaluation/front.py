"""The front that one policy traces as its preference moves: scores, KL and indicators on held-out prompts.

Every preference answers the same prompts with the same random numbers, so that differences along the front are not
noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.evaluation.grid import preference_grid
from mora.evaluation.intervals import check, per_prompt, with_intervals
from mora.functional.kl import sequence_kl
from mora.functional.pareto import (
    hypervolume,
    spacing,
    spacing_schott,
    span,
    sparsity,
    sparsity_per_objective,
)
from mora.functional.risk import mean
from mora.functional.stats import clustered_stderr
from mora.functional.steering import (
    expected_utility,
    inner_product,
    kendall_tau,
    monotonicity_violations,
    steering_regret,
)
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.reward.panel import Panel
from mora.runtime.rollout import decode, sample_rows
from mora.types import Row

Floats = NDArray[np.float64]
EVALUATION = -1  # the step that random draws of an evaluation are keyed by: never one of training
LEARNED_REFERENCE = -2.0  # reference point of learned rewards, in standard deviations of the reference policy


@dataclass(kw_only=True)
class Front:
    """``evaluation=front``; the fields are the keys of ``conf/evaluation/front.yaml``."""

    preferences: list[list[float]] | None
    prompts: int
    samples: int
    batch_size: int
    temperature: float
    top_p: float
    top_k: int
    shown_prompts: int
    resamples: int
    level: float

    def __post_init__(self) -> None:
        check(level=self.level, resamples=self.resamples)

    def measure(
        self, policy: Policy, encoder: Encoder, corpus: Corpus, scorers: Mapping[str, Panel], *, seed: int
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The tables ``front.json`` and ``samples.jsonl``, without their head."""
        rows = evenly(corpus.prompts["test"] or corpus.prompts["train"], self.prompts)
        grid = preference_grid(self.preferences, corpus.objectives)
        points, samples = [], []
        scores: dict[str, list[Floats]] = {name: [] for name in scorers}
        for preference in (None, *grid):
            answers = self._answers(policy, encoder, corpus, scorers, rows, preference, seed)
            points.append(_point(preference, answers))
            for name in scorers:
                scores[name].append(answers[name])
            samples += _samples(preference, answers, evenly(rows, self.shown_prompts))
        table = {
            "objectives": list(corpus.objectives),
            "prompts": len(rows),
            "samples_per_prompt": self.samples,
            "seed": seed,
            "sampling": {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k},
            "reference": points[0],
            "points": points[1:],
            "world": _world(corpus, grid),
        }
        references = reference_points(corpus, list(scorers))
        table["reference_point"] = references
        table["indicators"] = {
            name: with_intervals(
                indicators([p[name] for p in points[1:]], grid, references[name]["values"]),
                per_prompt(scores[name][1:], self.samples),
                grid,
                references[name]["values"],
                level=self.level,
                resamples=self.resamples,
                seed=seed,
            )
            for name in scorers
        }
        return table, samples

    @torch.no_grad()
    def _answers(
        self,
        policy: Policy,
        encoder: Encoder,
        corpus: Corpus,
        scorers: Mapping[str, Panel],
        rows: Sequence[Row],
        preference: Floats | None,
        seed: int,
    ) -> dict[str, Any]:
        """Answers of all prompts at one preference (None: the reference policy), scored."""
        device = next(policy.parameters()).device
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)
        found: dict[str, list[Any]] = {"prompts": [], "texts": [], "kl": [], "tokens": []}
        per_batch = max(self.batch_size // self.samples, 1)
        for start in range(0, len(rows), per_batch):
            prompts, _ = sample_rows(rows[start : start + per_batch], self.samples, encoder, device)
            weights = _rows_of(preference, len(prompts.texts), device)
            tokens, response = policy.generate(
                prompts,
                weights,
                sampling=sampling,
                seed=seed,
                step=EVALUATION,
                max_new_tokens=encoder.max_response,
                eos=encoder.eos,
                pad=encoder.pad,
            )
            ids, mask = torch.cat([prompts.ids, tokens], 1), torch.cat([prompts.mask, response], 1)
            reference = policy.reference(ids, mask, response=tokens.shape[1])
            if weights is None:
                kl = torch.zeros(len(ids), device=device)
            else:
                logps = policy(ids, mask, weights, response=tokens.shape[1], with_values=False).logps
                kl = sequence_kl(logps, reference, response)
            found["prompts"] += prompts.texts
            found["texts"] += decode(tokens, response, encoder)
            found["kl"] += kl.tolist()
            found["tokens"] += response.sum(-1).tolist()
        found["clusters"] = [i // self.samples for i in range(len(found["texts"]))]
        for name, panel in scorers.items():
            scored = panel.score if panel.standardized else panel.raw
            found[name] = mean(scored(found["prompts"], found["texts"])).double().cpu().numpy()  # type: ignore[assignment]
        if corpus.world is not None:
            found["valid"] = list(corpus.world.valid(found["prompts"], found["texts"]))
        found["scorers"] = list(scorers)
        return found


def evenly(rows: Sequence[Row], count: int) -> list[Row]:
    """At most ``count`` rows at even distances: neighbors in a file are often alike."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _rows_of(preference: Floats | None, count: int, device: torch.device) -> Tensor | None:
    if preference is None:
        return None
    return torch.as_tensor(preference, dtype=torch.float32, device=device).expand(count, -1)


def _point(preference: Floats | None, answers: Mapping[str, Any]) -> dict[str, Any]:
    clusters = answers["clusters"]
    point: dict[str, Any] = {"preference": None if preference is None else preference.tolist()}
    for name in answers["scorers"]:
        point[name] = answers[name].mean(0).tolist()
        point[f"{name}_stderr"] = clustered_stderr(answers[name], clusters).tolist()
    kl = np.asarray(answers["kl"], dtype=np.float64)
    point["kl"], point["kl_stderr"] = float(kl.mean()), float(clustered_stderr(kl[:, None], clusters)[0])
    point["valid"] = float(np.mean(answers["valid"])) if "valid" in answers else None
    point["distinct"] = len(set(zip(answers["prompts"], answers["texts"], strict=True))) / len(answers["texts"])
    point["tokens"] = float(np.mean(answers["tokens"]))
    return point


def _samples(preference: Floats | None, answers: Mapping[str, Any], shown: Sequence[Row]) -> list[dict[str, Any]]:
    """Every answer to the shown prompts, as rows of ``samples.jsonl``."""
    wanted = {row.prompt for row in shown}
    rows = []
    numbers: dict[str, int] = {}
    for i, (prompt, text) in enumerate(zip(answers["prompts"], answers["texts"], strict=True)):
        if prompt not in wanted:
            continue
        numbers[prompt] = numbers.get(prompt, -1) + 1
        row = {"preference": None if preference is None else preference.tolist(), "prompt": prompt, "response": text}
        row |= {name: answers[name][i].tolist() for name in answers["scorers"]}
        rows.append(row | {"kl": answers["kl"][i], "sample": numbers[prompt]})
    return rows


def _world(corpus: Corpus, grid: Floats) -> dict[str, Any] | None:
    if corpus.world is None:
        return None
    world = corpus.world
    return {"front": world.front().tolist(), "best": world.best(grid).tolist(), "floor": list(world.floor)}


def reference_points(corpus: Corpus, scorers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One reference point per scorer, by a rule that no result enters."""
    count = len(corpus.objectives)
    points = {}
    for name in scorers:
        if name == "gold":
            assert corpus.world is not None
            points[name] = {"values": list(corpus.world.floor), "rule": "the worst score that the world can give"}
        else:
            rule = f"{-LEARNED_REFERENCE:g} standard deviations below the reference policy's mean reward"
            points[name] = {"values": [LEARNED_REFERENCE] * count, "rule": rule}
    return points


def indicators(points: Sequence[Sequence[float]], grid: Floats, reference_point: Sequence[float]) -> dict[str, Any]:
    """Indicators of a front with the name of each definition."""
    scores = np.asarray(points, dtype=np.float64)
    definitions = {
        "hypervolume": (
            hypervolume(scores, reference_point),
            "exact volume above the reference point, strict dominance",
        ),
        "inner_product": (inner_product(scores, grid), "mean over preferences of <preference, score>, all points"),
        "expected_utility": (expected_utility(scores, grid), "the same with the best point of the front for each"),
        "steering_regret": (
            steering_regret(scores, grid),
            "what choosing by preference loses: expected utility less the inner product",
        ),
        "sparsity": (sparsity(scores), "mean squared distance of consecutive non-dominated points"),
        "sparsity_per_objective": (
            sparsity_per_objective(scores),
            "sum over objectives of squared gaps, each sorted separately, per gap (PGMORL)",
        ),
        "spacing": (spacing(scores), "standard deviation (1/n) of Euclidean nearest-neighbor distances"),
        "spacing_schott": (spacing_schott(scores), "Schott 1995: city-block distances, 1/(n-1)"),
    }
    table: dict[str, Any] = {name: {"value": value, "definition": text} for name, (value, text) in definitions.items()}
    table["kendall_tau"] = {
        "value": kendall_tau(scores, grid).tolist(),
        "definition": "tau-b between an objective's weight and its score over the preferences",
    }
    table["monotonicity_violations"] = {
        "value": monotonicity_violations(scores, grid).tolist(),
        "definition": "share of pairs of preferences in which an objective's weight rises and its score falls",
    }
    table["span"] = {
        "value": span(scores).tolist(),
        "definition": "largest less smallest score over the non-dominated points",
    }
    return table
