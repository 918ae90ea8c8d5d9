"""Which of several expected rewards are above their floors, said of all together with confidence 1 - delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mora.functional.confidence import Bound, least_mean, least_tail_mean, p_value, tail_p_value
from mora.functional.stats import holm

Floats = NDArray[np.float64]
Correction = Literal["holm", "union"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Is the mean behind these independent ``scores`` (n,) at least ``floor``?  With ``worst`` below 1 that of the
    worst share of them.

    ``limits`` are the lowest and the highest score there can be; infinite where none are known.
    """

    scores: Floats
    floor: float
    limits: tuple[float, float] = (-np.inf, np.inf)
    worst: float = 1.0

    def least(self, bound: Bound, delta: float) -> float:
        """What the mean is at least, with confidence 1 - delta."""
        low, high = self.limits
        if self.worst < 1:
            return least_tail_mean(self.scores, self.worst, delta, low)
        return least_mean(self.scores, bound, delta, high - low)

    def p_value(self, bound: Bound) -> float:
        """The smallest delta at which that is at least the floor."""
        low, high = self.limits
        if self.worst < 1:
            return tail_p_value(self.scores, self.floor, self.worst, low)
        return p_value(self.scores, self.floor, bound, high - low)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was found: ``least`` holds of all questions together, ``holds`` says yes to this one.

    ``p`` is that of the question alone, ``p_adjusted`` after the correction for all of them.
    """

    mean: float  # of the scores, or of the worst share of them
    deviation: float
    least: float
    p: float
    p_adjusted: float
    holds: bool


def answers(questions: Sequence[Question], *, bound: Bound, delta: float, correction: Correction) -> list[Answer]:
    """An answer to each question; with probability 1 - delta no ``holds`` is wrong, and no ``least`` is.

    ``least`` shares delta evenly among the questions (union bound).  ``holds`` follows Holm's correction (1979) or the
    union bound; the first says yes at least as often.
    """
    alone = [question.p_value(bound) for question in questions]
    each = delta / len(questions)
    together = holm(alone) if correction == "holm" else np.minimum(np.array(alone) * len(questions), 1.0)
    return [
        Answer(
            mean=float(np.sort(q.scores)[: max(round(q.worst * len(q.scores)), 1)].mean()),
            deviation=float(q.scores.std(ddof=1)),
            least=q.least(bound, each),
            p=p,
            p_adjusted=float(adjusted),
            holds=bool(adjusted <= delta),
        )
        for q, p, adjusted in zip(questions, alone, together, strict=True)
    ]


def intervals(weights: Floats, holds: NDArray[np.bool_], reach: Floats, *, monotone: bool) -> list[tuple[float, float]]:
    """Where between tested weights (P,) of the first of two objectives a statement holds too: parts of [0, 1].

    Around a point where it holds, as far as ``reach`` (P,) goes; with ``monotone`` also between two neighbors where it
    holds, since an expectation that only rises or only falls is nowhere lower than at one of them.
    """
    order = np.argsort(weights)
    parts = [(max(weights[i] - reach[i], 0.0), min(weights[i] + reach[i], 1.0)) for i in order if holds[i]]
    if monotone:
        parts += [
            (float(weights[i]), float(weights[j]))
            for i, j in zip(order[:-1], order[1:], strict=True)
            if holds[i] and holds[j]
        ]
    merged: list[tuple[float, float]] = []
    for start, end in sorted(parts):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((float(start), float(end)))
    return merged
