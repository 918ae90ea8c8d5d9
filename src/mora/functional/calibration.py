"""Whether stated probabilities are met: the error as measured, what chance alone makes of it, and the error without it.

Throughout, ``probability`` (n,) is the model's that answer 1 is better, ``label`` (n,) that of the label (0, 1, or a
fraction), ``prompts`` (n,) labels of the clusters that pairs come in.  Confidence is max(p, 1 - p), so the order of the
two answers does not matter; right is the probability that the label gives to the answer that the model favors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from mora.functional.pairs import equal_mass

Floats = NDArray[np.float64]
NO_ERROR = {"value": None, "interval": None, "squared": None}  # of too little, or of NaN


def calibration(probability: Floats, label: Floats, prompts: ArrayLike, *, bins: int, level: float) -> dict[str, Any]:
    """Calibration over at most ``bins`` equal-mass bins by confidence, and the bins.

    ``ece = sum_b n_b |accuracy_b - confidence_b| / n``, which noise alone lifts above 0, ``ece_if_calibrated`` its
    expectation were every confidence met (:func:`expected_ece`; None with labels that are fractions), and ``error`` the
    root of the debiased squared error (:func:`squared_error`): ``value`` and ``interval`` of coverage ``level``, with
    the square itself, which may be negative, as ``squared``; both roots stop at 0.  None with a single prompt.
    Without a pair, or where a probability or a label is NaN, the ``ece`` is NaN.
    """
    if not len(probability):
        return {"ece": float("nan"), "ece_if_calibrated": None, "error": dict(NO_ERROR), "bins": []}
    confidence, right = _read(probability, label)
    parts = equal_mass(confidence, bins)
    rows = [
        {"confidence": float(confidence[i].mean()), "accuracy": float(right[i].mean()), "count": len(i)} for i in parts
    ]
    error = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(probability)
    hard = bool(np.isin(label, (0.0, 1.0)).all())
    return {
        "ece": error,
        "ece_if_calibrated": expected_ece(confidence, parts) if hard else None,
        "error": squared_error(probability, label, prompts, bins=bins).entry(level),
        "bins": rows,
    }


def expected_ece(confidence: Floats, bins: list[NDArray[np.int64]]) -> float:
    """Expected calibration error over ``bins`` (places) of pairs that are right with probability ``confidence`` (n,).

    Exact: the number right of a bin is Poisson-binomial.  .027 for 2,000 pairs in 15 bins whose
    probabilities spread evenly over 0 to 1.
    """
    total = 0.0
    for places in bins:
        chances = np.ones(1)
        for share in confidence[places]:
            chances = np.convolve(chances, (1 - share, share))
        total += float(chances @ np.abs(np.arange(len(chances)) - confidence[places].sum()))
    return total / len(confidence)


@dataclass(frozen=True, kw_only=True)
class SquaredError:
    """A debiased squared calibration error, and the same without each prompt: what its interval is made of."""

    value: float
    without: Floats  # (G,)

    def entry(self, level: float) -> dict[str, Any]:
        """``value`` and ``interval`` as roots that stop at 0, and ``squared``; None with a single prompt.

        The interval is the delete-one-prompt jackknife's with Student's t (Efron and Stein, 1981), wide where the error
        is 0.
        """
        count = len(self.without)
        if count < 2 or not np.isfinite(self.value):
            return dict(NO_ERROR)
        error = sqrt((count - 1) / count * float(((self.without - self.without.mean()) ** 2).sum()))
        reach = float(student.ppf((1 + level) / 2, count - 1)) * error
        low, middle, high = (sqrt(max(self.value + side * reach, 0.0)) for side in (-1, 0, 1))
        return {"value": middle, "interval": [low, high], "squared": self.value}


def squared_error(probability: Floats, label: Floats, prompts: ArrayLike, *, bins: int) -> SquaredError:
    """``sum_b n_b e_b / n`` with e_b an unbiased estimate of a bin's squared (accuracy - confidence).

    e_b is the mean of d_i d_j over the pairs i, j of the bin from different prompts, d = right - confidence: their
    noise is independent, so nothing is to be subtracted.  With a pair to a prompt this is the debiased estimate of
    Kumar, Liang and Ma (2019, "Verified uncertainty calibration") with the bin's own variance of d.  A bin of
    one prompt says nothing and is left out.  NaN when all are.
    """
    confidence, right = _read(probability, label)
    _, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    parts = equal_mass(confidence, bins)
    sums, counts = np.zeros((2, int(cluster.max(initial=-1)) + 1, len(parts)))
    for column, places in enumerate(parts):
        np.add.at(sums[:, column], cluster[places], right[places] - confidence[places])
        np.add.at(counts[:, column], cluster[places], 1.0)
    whole = [sums.sum(0), (sums**2).sum(0), counts.sum(0), (counts**2).sum(0)]
    parts_of = [sums, sums**2, counts, counts**2]
    with np.errstate(invalid="ignore"):  # inf - inf, and 0 / 0 where every bin is left out
        without = _debiased(*(total - own for total, own in zip(whole, parts_of, strict=True)))
        return SquaredError(value=float(_debiased(*whole)), without=without)


def _debiased(total: Floats, squares: Floats, count: Floats, own: Floats) -> Floats:
    """Sums over prompts of d, its square within prompts, n and n^2, each (..., bins), to the error (...)."""
    pairs = count**2 - own
    weights = np.where(pairs > 0, count, 0.0)
    of_bins = np.where(pairs > 0, total**2 - squares, 0.0) / np.where(pairs > 0, pairs, 1.0)
    return np.asarray((weights * of_bins).sum(-1) / weights.sum(-1))


def _read(probability: Floats, label: Floats) -> tuple[Floats, Floats]:
    """Confidence and right (n,)."""
    even = np.where(np.isnan(label), label, 0.5)
    right = np.where(probability > 0.5, label, np.where(probability < 0.5, 1 - label, even))
    return np.maximum(probability, 1 - probability), right
