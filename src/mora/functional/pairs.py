"""Judgments of pairs against their labels: arrays in, numbers out.

Throughout, ``difference`` (n,) is the score of answer 1 minus that of answer 0, ``label`` (n,) the probability that
answer 1 is better (0, 1, or a fraction; 1/2 is a tie) and ``probability`` (n,) the model's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def credits(difference: Floats, label: Floats) -> Floats:
    """1 where the answer that the label favors scores higher, 0 where it scores lower, 1/2 for equal scores (n,).

    A label of 1/2 favors no answer: NaN.  So is a difference or a label that is NaN.
    """
    agreement = np.sign(difference) * np.sign(label - 0.5)
    return np.where(label == 0.5, np.nan, 0.5 + 0.5 * agreement)


def log_loss(log_probability_1: Floats, log_probability_0: Floats, label: Floats) -> float:
    """``-mean(q log P(1 wins) + (1 - q) log P(0 wins))`` in nats; guessing costs ln 2."""
    return float(-(label * log_probability_1 + (1 - label) * log_probability_0).mean())


def brier(probability: Floats, label: Floats) -> float:
    """``mean (p - q)^2`` (Brier 1950); guessing costs 1/4 on hard labels."""
    return float(((probability - label) ** 2).mean())


def equal_mass(values: Floats, count: int) -> list[NDArray[np.int64]]:
    """Indices of at most ``count`` bins of equally many values, in ascending order of the values; none is empty."""
    order = np.argsort(values, kind="stable")
    return np.array_split(order, min(count, len(order))) if len(order) else []
