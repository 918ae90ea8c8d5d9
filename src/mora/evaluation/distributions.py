"""How scores are distributed, as curves: ROC, densities on one grid, risk over coverage.  Arrays in, arrays out.

``better`` and ``worse`` (n,) are the scores of the two answers of each pair, pooled over pairs; ``doubt`` (n,) orders
pairs from the surest to the least sure, and ``credit`` (n,) is 1 for a pair that is ordered right, 1/2 for a tie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REACH = 3.0  # bandwidths that a grid goes beyond the outermost sample
ENTRIES_AT_ONCE = 4_000_000  # of a matrix of grid points and samples; changes memory only


def roc(better: Floats, worse: Floats) -> tuple[Floats, Floats]:
    """The ROC curve of telling ``better`` (n,) from ``worse`` (m,) by a threshold: false and true positive rates (k,).

    A corner per distinct score, from (0, 0) to (1, 1), both ascending; answers of equal scores pass a threshold
    together, so ties are slanted and the area below is that of the rank statistic (Fawcett, 2006).
    Raises ValueError without a score on either side.
    """
    if len(better) == 0 or len(worse) == 0:
        raise ValueError(f"an ROC curve needs scores of both sides, got {len(better)} and {len(worse)}")
    thresholds = np.unique(np.concatenate([better, worse]))
    rates = [
        np.append(0.0, 1 - np.searchsorted(np.sort(side), thresholds[::-1], side="left") / len(side))
        for side in (worse, better)
    ]
    return rates[0], rates[1]


def area(x: Floats, y: Floats) -> float:
    """The area below the line through (x, y) (k,), by trapezoids."""
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def at_rates(curve: tuple[Floats, Floats], grid: Floats) -> Floats:
    """True positive rates (g,) of an ROC curve at the false positive rates ``grid`` (g,), the highest where it rises.

    Curves of several seeds are averaged so, vertically (Fawcett, 2006): their thresholds share no unit.
    """
    x, y = curve
    left = np.searchsorted(x, grid, side="right") - 1  # the last corner at or left of the rate
    right = np.minimum(left + 1, len(x) - 1)
    gap = x[right] - x[left]
    share = np.where(gap > 0, (grid - x[left]) / np.where(gap > 0, gap, 1.0), 0.0)
    return np.asarray(y[left] + share * (y[right] - y[left]))


def scott(sample: Floats) -> float:
    """Bandwidth of a Gaussian kernel by Scott's rule (1992): n^(-1/5) times the standard deviation (divisor n - 1).

    0 for fewer than two values, and for values that are all equal.
    """
    return float(len(sample) ** -0.2 * sample.std(ddof=1)) if len(sample) > 1 else 0.0


def kernel_density(sample: Floats, grid: Floats, bandwidth: float) -> Floats:
    """Gaussian kernel density estimate (g,) of ``sample`` (n,) at ``grid`` (g,); ``bandwidth`` in the sample's unit.

    Raises ValueError for an empty sample and a bandwidth that is not positive.
    """
    if len(sample) == 0 or not bandwidth > 0:
        raise ValueError(f"a density needs samples and a bandwidth above 0, got {len(sample)} and {bandwidth}")
    total = np.zeros(len(grid))
    step = max(1, ENTRIES_AT_ONCE // len(grid))
    for start in range(0, len(sample), step):
        away = (grid[:, None] - sample[start : start + step]) / bandwidth
        total += np.exp(-0.5 * away**2).sum(1)
    return np.asarray(total / (len(sample) * bandwidth * np.sqrt(2 * np.pi)))


def common_grid(samples: Sequence[Floats], bandwidth: float, points: int) -> Floats:
    """``points`` places at even distances from below all samples to above them, by three bandwidths."""
    low, high = min(float(s.min()) for s in samples), max(float(s.max()) for s in samples)
    return np.linspace(low - REACH * bandwidth, high + REACH * bandwidth, points)


def histogram(sample: Floats, edges: Floats) -> Floats:
    """Density (b,) of ``sample`` in the bins between ``edges`` (b + 1,): shares by width, relative to all values."""
    counts, _ = np.histogram(sample, edges)
    return np.asarray(counts / (len(sample) * np.diff(edges)))


def selective_risk(doubt: Floats, credit: Floats) -> Floats:
    """Error rate (n,) of the first 1, 2, ..., n pairs in ascending order of ``doubt`` (n,).

    Equal doubts share the mean credit of their group, so their order cannot matter.
    """
    _, group, sizes = np.unique(doubt, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, credit) / sizes)[group][np.argsort(doubt, kind="stable")]
    return np.asarray(1 - shared.cumsum() / np.arange(1, len(doubt) + 1))


def risk_curve(doubt: Floats, credit: Floats, points: int) -> tuple[Floats, Floats]:
    """Coverages (k,) and the error rates (k,) among so many of the least doubtful pairs, at most ``points`` of them.

    Every one of the n coverages has its risk in :func:`selective_risk`; these are some at even distances, the full
    coverage among them.
    """
    risk = selective_risk(doubt, credit)
    count = len(risk)
    kept = np.unique(np.linspace(1, count, min(points, count)).round().astype(int))
    return kept / count, risk[kept - 1]
