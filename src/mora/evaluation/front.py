"""The front that one policy traces as its preference moves: scores, KL and indicators on held-out prompts.

Every preference answers the same prompts with the same random numbers, so that differences along the front are not
noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora import bounds
from mora.bounds import Count, Inside, Natural, NonNegative, PositiveShare, Share
from mora.dataset import collate
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.evaluation import Run
from mora.evaluation.grid import preference_grid
from mora.evaluation.indicators import indicators, reference_points
from mora.evaluation.intervals import check_resamples, per_prompt, with_intervals
from mora.files import json_line, record_json, record_lines
from mora.functional.kl import sequence_kl
from mora.functional.risk import mean
from mora.functional.stats import clustered_stderr
from mora.functional.thinning import evenly
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.records import front as records
from mora.records.read import record
from mora.reward.scorer import Scorer
from mora.runtime.sampling import decode, sample_rows
from mora.types import Row, Sampled, Sequences

Floats = NDArray[np.float64]
EVALUATION = -1  # the step that random draws of an evaluation are keyed by: never one of training


@dataclass(kw_only=True)
class Front:
    """``evaluation=front``; the fields are the keys of ``conf/evaluation/front.yaml``."""

    preferences: list[list[Share]] | None
    prompts: Count
    samples: Count
    batch_size: Count
    temperature: NonNegative
    top_p: PositiveShare
    top_k: Natural
    resamples: Natural
    level: Inside

    def __post_init__(self) -> None:
        bounds.check(self, "evaluation")
        check_resamples(self.resamples)

    def rows(self, corpus: Corpus) -> list[Row]:
        """The prompts that are asked: held-out ones where there are any."""
        return evenly(corpus.prompts[corpus.asked], self.prompts)

    def protocol(self, corpus: Corpus, *, seed: int) -> str:
        """A hash of what is asked and how: two fronts of the same protocol share prompts and random numbers."""
        asked = {
            "prompts": [row.prompt for row in self.rows(corpus)],
            "preferences": preference_grid(self.preferences, corpus.objectives).tolist(),
            "samples": self.samples,
            "sampling": self.sampling,
            "max_response": corpus.max_response,
            "measured": ["kl", "log_ratios"],
            "seed": seed,
        }
        return hashlib.sha256(json_line(asked).encode()).hexdigest()

    @property
    def sampling(self) -> dict[str, float]:
        """How answers are drawn, as the tables say it."""
        return {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}

    def measure_run(self, run: Run) -> str:
        """Write ``front.json`` and ``samples.jsonl`` of a policy.  Raises InputError where nothing scores answers."""
        table, samples = run.front(self)
        if table["judge"] is None:
            raise InputError(
                f"{run.folder.path}: nothing scores its answers; compare it with runs that have a reward model: "
                "evaluation=compare evaluation.judge=REWARD_RUN"
            )
        write_front(run.folder.tables, table, samples)
        return "front"

    def measure(
        self,
        policy: Policy,
        encoder: Encoder,
        corpus: Corpus,
        scorers: Mapping[str, Scorer],
        *,
        seed: int,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The tables ``front.json`` and ``samples.jsonl``, without their head.

        A policy that is not steered answers alike at every preference: it is asked once, and ``samples.jsonl`` holds
        its answers once, at the first preference; those of a plain model, which is its own reference policy, without.
        """
        rows = self.rows(corpus)
        grid = preference_grid(self.preferences, corpus.objectives)
        points: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        asked: list[Batch] = []
        scores: dict[str, list[Floats]] = {name: [] for name in scorers}
        different = 1 + (len(grid) if policy.steered else int(policy.trained))
        for number, preference in enumerate((None, *grid)):
            if number < different:
                answers = self._answers(policy, encoder, corpus, scorers, rows, preference, seed)
                asked = answers["asked"] if preference is None else asked
                samples += _samples(preference, answers)
            if number < different and preference is not None:
                _add_ratios(samples, _log_ratios(policy, asked, preference))
            points.append(_point(preference, answers))
            for name in scorers:
                scores[name].append(answers[name])
        table = {
            "objectives": list(corpus.objectives),
            "steered": policy.steered,
            "protocol": self.protocol(corpus, seed=seed),
            "split": corpus.asked,
            "prompts": len(rows),
            "samples_per_prompt": self.samples,
            "seed": seed,
            "sampling": self.sampling,
            "max_response": encoder.max_response,
            "reference": points[0],
            "points": points[1:],
            "world": known_world(corpus, grid),
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
                resamples=self.resamples if corpus.asked == "test" else 0,  # an interval is one for new prompts
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
        scorers: Mapping[str, Scorer],
        rows: Sequence[Row],
        preference: Floats | None,
        seed: int,
    ) -> dict[str, Any]:
        """Answers of all prompts at one preference (None: the reference policy), scored."""
        device = next(policy.parameters()).device
        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)
        found: dict[str, list[Any]] = {"prompts": [], "texts": [], "kl": [], "tokens": [], "asked": []}
        batches = []
        per_batch = max(self.batch_size // self.samples, 1)
        for start in range(0, len(rows), per_batch):
            prompts, _ = sample_rows(rows[start : start + per_batch], self.samples, encoder, device)
            weights = _rows_of(preference, len(prompts.texts), device)
            with nullcontext() if preference is not None else policy.off():
                tokens, response = policy.generate(
                    prompts,
                    weights,
                    sampling=sampling,
                    seed=seed,
                    step=EVALUATION,
                    max_new_tokens=encoder.max_response,
                    ends=encoder.ends,
                    pad=encoder.pad,
                )
            asked = collate.sequences(prompts, tokens, response, weights)
            reference = policy.reference(asked)
            if weights is None:
                kl = torch.zeros(len(reference), device=device)
                found["asked"].append(Batch(sequences=asked, reference=reference))
            else:
                kl = sequence_kl(policy.logps(asked), reference, response)
            found["prompts"] += prompts.texts
            texts, sampled = decode(tokens, response, encoder)
            found["texts"] += texts
            batches.append(sampled)
            found["kl"] += kl.tolist()
            found["tokens"] += response.sum(-1).tolist()
        known = Sampled.joined(batches)
        found["ended"] = list(known.ended)
        found["clusters"] = [i // self.samples for i in range(len(found["texts"]))]
        for name, scorer in scorers.items():
            scored = scorer.score if scorer.standardized else scorer.raw
            belief = scored(found["prompts"], found["texts"], known)
            found[name] = mean(belief).double().cpu().numpy()  # type: ignore[assignment]
        if corpus.world is not None:
            found["valid"] = list(corpus.world.valid(found["prompts"], found["texts"], known.ended))
        found["scorers"] = list(scorers)
        return found


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Answers of the reference policy, kept as tokens so that the policy can be asked how likely they are to it."""

    sequences: Sequences
    reference: Tensor  # (B, T) log-probabilities by the reference policy


@torch.no_grad()
def _log_ratios(policy: Policy, batches: Sequence[Batch], preference: Floats) -> list[float]:
    """log pi(y|x) - log pi_ref(y|x) at a preference of each answer of the reference policy, in nats."""
    found: list[float] = []
    for batch in batches:
        asked = batch.sequences
        weights = _rows_of(preference, len(asked.ids), asked.ids.device)
        logps = policy.logps(replace(asked, preference=weights))
        found += sequence_kl(logps, batch.reference, asked.response).tolist()
    return found


def _add_ratios(samples: list[dict[str, Any]], ratios: Sequence[float]) -> None:
    """Append one log-ratio to each of the reference policy's answers, which stand first in ``samples``."""
    for row, ratio in zip(samples, ratios, strict=False):
        row.setdefault("log_ratios", []).append(ratio)


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
    point["ended"] = float(np.mean(answers["ended"]))
    point["valid"] = float(np.mean(answers["valid"])) if "valid" in answers else None
    point["distinct"] = len(set(zip(answers["prompts"], answers["texts"], strict=True))) / len(answers["texts"])
    point["tokens"] = float(np.mean(answers["tokens"]))
    return point


def _samples(preference: Floats | None, answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every answer, as rows of ``samples.jsonl``."""
    rows = []
    numbers: dict[str, int] = {}
    for i, (prompt, text) in enumerate(zip(answers["prompts"], answers["texts"], strict=True)):
        numbers[prompt] = numbers.get(prompt, -1) + 1
        row = {"preference": None if preference is None else preference.tolist(), "prompt": prompt, "response": text}
        row |= {"sample": numbers[prompt], "kl": answers["kl"][i], "tokens": answers["tokens"][i]}
        row["ended"] = answers["ended"][i]
        row |= {"valid": bool(answers["valid"][i])} if "valid" in answers else {}
        rows.append(row | {name: answers[name][i].tolist() for name in answers["scorers"]})
    return rows


def known_world(corpus: Corpus, grid: Floats) -> dict[str, Any] | None:
    """The exact front, the best point per preference without a KL term, and the floor; None without a world."""
    if corpus.world is None:
        return None
    world = corpus.world
    return {"front": world.front().tolist(), "best": world.best(grid).tolist(), "floor": list(world.floor)}


def write_front(tables: Path, table: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    """Write both; ``front.json`` comes last and goes first, so that it never stands beside other answers."""
    if table["judge"] is not None:  # else nothing scores the answers, and no page is drawn of them
        record(table, records.Front, str(tables / "front.json"))
    (tables / "front.json").unlink(missing_ok=True)
    record_lines(tables / "samples.jsonl", samples)
    record_json(tables / "front.json", table)
