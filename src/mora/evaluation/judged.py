"""What runs answered, judged by one scorer in one unit: the cells that a comparison is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.errors import InputError, reading
from mora.files import read_lines, read_object
from mora.functional.comparison import win_rate
from mora.functional.mixing import geometric_path
from mora.types import Sampled

Floats = NDArray[np.float64]
EXPONENTS = np.linspace(0.0, 1.0, 11)  # of the geometric mixtures between reference policy (0) and policy (1)
Judge = Callable[[Sequence[str], Sequence[str], Sampled], Floats]  # prompts, responses (B), which ended -> (B, M)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one run answered: X prompts, N times each, first by its reference policy, then at each of P preferences."""

    run: str
    steered: bool  # False: the same answers at every preference
    prompts: tuple[str, ...]  # X
    texts: NDArray[np.object_]  # (1 + P, X, N)
    kl: Floats  # (1 + P, X, N) nats: log-ratios of policy to reference policy
    reference_ratios: Floats  # (P, X, N) the same of the reference policy's answers, under the policy of a preference
    tokens: Floats  # (1 + P, X, N)
    ended: Floats  # (1 + P, X, N), 0 where an answer was cut off at the limit
    valid: Floats | None  # (1 + P, X, N), 0 or 1; None where no grammar is known


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Answers and their scores by the judge, in the judge's own unit."""

    answers: Answers
    scores: Floats  # (1 + P, X, N, M)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Per objective (M,): the mean and deviation of the reference policies' answers, frozen for one comparison."""

    mean: Floats
    std: Floats
    answers: int
    constant: tuple[int, ...]  # objectives in which all reference answers score alike: their deviation is taken as 1

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Unit:
        """Over the reference answers of all runs, every run with the same weight."""
        pooled = np.concatenate([one.scores[0].reshape(-1, one.scores.shape[-1]) for one in judged])
        deviation = pooled.std(0)
        constant = deviation <= 1e-9 * np.maximum(1.0, np.abs(pooled.mean(0)))
        return cls(
            mean=pooled.mean(0),
            std=np.where(constant, 1.0, deviation),
            answers=len(pooled),
            constant=tuple(np.flatnonzero(constant).tolist()),
        )

    def __call__(self, scores: Floats) -> Floats:
        """Scores (..., M) in this unit."""
        return np.asarray((scores - self.mean) / self.std)

    def undone(self, scores: Floats) -> Floats:
        """Scores (..., M) in the judge's own unit."""
        return np.asarray(scores * self.std + self.mean)


@dataclass(frozen=True)
class Columns:
    """Where things stand in the last axis of cells (S, P, X, C), for M objectives."""

    objectives: int

    @property
    def scores(self) -> slice:
        """Standardized scores, M."""
        return slice(0, self.objectives)

    @property
    def reference(self) -> slice:
        """Those of the run's reference policy on the same prompt, M."""
        return slice(self.objectives, 2 * self.objectives)

    @property
    def wins(self) -> slice:
        """Win rate against the reference policy per objective, M."""
        return slice(2 * self.objectives, 3 * self.objectives)

    @property
    def kl(self) -> int:
        """KL to the reference policy, nats."""
        return 3 * self.objectives

    @property
    def win(self) -> int:
        """Win rate by utility at the preference."""
        return 3 * self.objectives + 1

    @property
    def worst(self) -> int:
        """The lowest standardized score of an answer."""
        return 3 * self.objectives + 2

    @property
    def measured(self) -> slice:
        """All of these; what follows belongs to the mixtures between reference policy and policy, at G exponents."""
        return slice(0, 3 * self.objectives + 3)

    @property
    def path_kl(self) -> slice:
        """Their KL, G."""
        return slice(self.measured.stop, self.measured.stop + len(EXPONENTS))

    @property
    def path_effective(self) -> slice:
        """Their effective number of answers, G."""
        return slice(self.path_kl.stop, self.path_kl.stop + len(EXPONENTS))

    @property
    def path_scores(self) -> slice:
        """Their standardized scores, G times M."""
        return slice(self.path_effective.stop, self.path_effective.stop + len(EXPONENTS) * self.objectives)


def judge_answers(answers: Answers, judge: Judge) -> Judged:
    """Ask the judge about every answer, by its text and whether it ended; those of a policy that is not steered once.

    All runs are judged by texts alike, since tokens of several policies may be of several tokenizers.
    Raises InputError for a score that is not finite.
    """
    alike = (answers.texts[1] == answers.texts[0]) & (answers.ended[1] == answers.ended[0])
    asked = answers.texts if answers.steered else answers.texts[: 1 if alike.all() else 2]
    shape = asked.shape
    prompts = np.broadcast_to(np.array(answers.prompts, dtype=object)[None, :, None], shape)
    ended = Sampled(ended=tuple((answers.ended[: len(asked)] > 0).ravel().tolist()))
    found = judge(prompts.ravel().tolist(), asked.ravel().tolist(), ended)
    scores = np.asarray(found, dtype=np.float64).reshape(*shape, -1)
    odd = np.argwhere(~np.isfinite(scores).all(-1))
    if len(odd):
        where = tuple(odd[0])
        raise InputError(
            f"{answers.run}: the judge gives {scores[where].tolist()} for the answer {str(asked[where])[:60]!r} to the "
            f"prompt {prompts[where][:60]!r}; scores must be finite numbers"
        )
    if not answers.steered:
        scores = np.concatenate(
            [scores[:1], np.broadcast_to(scores[-1:], (*answers.texts[1:].shape, scores.shape[-1]))]
        )
    return Judged(answers=answers, scores=scores)


def cells(judged: Judged, unit: Unit, grid: Floats) -> Floats:
    """What a run got (P, X, C), means over the N answers to each prompt; see ``Columns``.

    Utilities are <preference, standardized scores>; the win rate is over all pairs of answers to the same prompt.
    """
    scores = unit(judged.scores)
    own, reference = scores[1:], scores[0]  # (P, X, N, M), (X, N, M)
    utility = np.einsum("pxnm,pm->pxn", own, grid)
    base = np.einsum("xnm,pm->pxn", reference, grid)
    wins = [win_rate(own[..., j], np.broadcast_to(reference[..., j], own.shape[:-1])) for j in range(own.shape[-1])]
    answers = judged.answers
    path = geometric_path(
        answers.kl[1:], answers.reference_ratios, own, np.broadcast_to(reference, own.shape), EXPONENTS
    )
    return np.concatenate(
        [
            own.mean(2),
            np.broadcast_to(reference.mean(1), (*own.shape[:2], own.shape[-1])),
            np.stack(wins, axis=-1),
            judged.answers.kl[1:].mean(2)[..., None],
            win_rate(utility, base)[..., None],
            own.min(-1).mean(2)[..., None],
            path.kl,
            path.effective,
            path.values.reshape(*own.shape[:2], -1),
        ],
        axis=-1,
    )


def read_answers(tables: Path, grid: Floats) -> Answers:
    """The answers of ``samples.jsonl`` beside ``front.json``, at the preferences ``grid`` (P, M).

    Raises InputError when some are missing.
    """
    table, path = read_object(tables / "front.json", ["samples_per_prompt", "steered"]), tables / "samples.jsonl"
    rows = read_lines(path)
    with reading(path, "a list of answers", "measure the run again"):
        prompts = tuple(dict.fromkeys(row["prompt"] for row in rows))
        shape = (1 + len(grid), len(prompts), int(table["samples_per_prompt"]))
    places = {tuple(preference): 1 + p for p, preference in enumerate(grid.tolist())}
    number = {prompt: x for x, prompt in enumerate(prompts)}
    found: dict[str, Any] = {name: np.full(shape, np.nan) for name in ("kl", "tokens", "ended", "valid")}
    texts = np.full(shape, None, dtype=object)
    plain = not table["steered"] and all(row.get("preference") is None for row in rows)  # its own reference policy
    ratios = np.zeros(shape)[1:] if plain else np.full(shape, np.nan)[1:]
    with reading(path, "a list of the answers that front.json counts", "measure the run again"):
        for row in rows:
            preference = row["preference"]
            place = 0 if preference is None else places[tuple(preference)]
            where = (place, number[row["prompt"]], row["sample"])
            texts[where] = row["response"]
            for name in found:
                found[name][where] = row.get(name, np.nan)
            if preference is None and not plain:
                ratios[:, number[row["prompt"]], row["sample"]] = row["log_ratios"]
    if not table["steered"]:
        only = 0 if plain else 1
        texts[1:] = texts[only]
        for numbers in found.values():
            numbers[1:] = numbers[only]
    if any(text is None for text in texts.ravel()):
        raise InputError(f"{path} lacks answers that front.json beside it counts; measure the run again")
    kept = {name: found[name] for name in ("kl", "tokens", "ended")} | {"log_ratios": ratios}
    for name, numbers in kept.items():
        if not np.isfinite(numbers).all():
            raise InputError(f"{path}: {name} of an answer is no number; measure the run again")
    valid = found["valid"]
    return Answers(
        run=str(table["run"]),
        steered=bool(table["steered"]),
        prompts=prompts,
        texts=texts,
        kl=found["kl"],
        reference_ratios=ratios,
        tokens=found["tokens"],
        ended=found["ended"],
        valid=None if np.isnan(valid).any() else valid,
    )
