"""How sure a mean is, when several answers belong to one prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def clustered_stderr(values: ArrayLike, clusters: ArrayLike) -> Floats:
    """Standard error of the mean over rows when the rows of one cluster (one prompt) are not independent.

    sqrt( G/(G-1) * sum_g ( sum_{i in g} (x_i - mean) )^2 ) / n, with G clusters and n rows (Liang and Zeger, 1986, with
    the small-sample factor).  One row per cluster gives s/sqrt(n) of the ordinary sample deviation s.
    ``values`` is (n,) or (n, M), ``clusters`` (n,) any labels; the result is () or (M,), in the unit of the values.
    A single cluster cannot tell: the result is NaN.  Raises ``ValueError`` when the lengths differ or are 0.
    """
    rows, labels = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if len(rows) == 0 or labels.shape != rows.shape[:1]:
        raise ValueError(f"values {rows.shape} and clusters {labels.shape} need the same, positive number of rows")
    _, index = np.unique(labels, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return np.full(rows.shape[1:], np.nan)
    sums = np.zeros((count, *rows.shape[1:]))
    np.add.at(sums, index, rows - rows.mean(0))
    return np.asarray(np.sqrt(count / (count - 1) * (sums**2).sum(0)) / len(rows))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], ArrayLike], prompts: int, *, samples: int, level: float, seed: int
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval (Efron, 1979) of a statistic of ``prompts`` prompts: its low and its high end.

    ``statistic`` takes indices of prompts (prompts,), drawn with replacement, and returns a number or an array; it is
    called ``samples`` times.  Resampling whole prompts keeps the answers of a prompt, at all preferences, together.
    ``level`` is the coverage, for example 0.95.  The draws are a function of ``seed``.
    Raises ``ValueError`` when ``level`` is outside (0, 1) or a count is below 1.
    """
    if not 0.0 < level < 1.0 or prompts < 1 or samples < 1:
        raise ValueError(f"need 0 < level < 1 and counts of at least 1, got {level=}, {prompts=}, {samples=}")
    generator = np.random.default_rng(seed)
    draws = np.stack(
        [np.asarray(statistic(generator.integers(0, prompts, prompts)), dtype=np.float64) for _ in range(samples)]
    )
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low), np.asarray(high)
