"""How sure a number is, and what may be said of a difference: errors, intervals, p-values, verdicts.

Numpy only, and nothing random.  The intervals come from ``bootstrap``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]
Verdict = Literal["A > B", "B > A", "undecided"]


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


def share_interval(share: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of ``count`` independent cases; it never leaves [0, 1].

    ``quantile`` is that of the normal distribution, or of Student's t where the count was estimated.
    """
    spread = quantile**2 / count
    middle = (share + spread / 2) / (1 + spread)
    reach = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def clustered_share_interval(
    share: float, standard_error: float, clusters: int, degrees_of_freedom: float, level: float
) -> tuple[float, float]:
    """Wilson's interval of a share of cases in clusters, by their effective number.

    As many independent cases as have this standard error, share (1 - share) / se^2 (Kish, 1965), at Student's t; as
    many as there are ``clusters`` where nothing varied, and the error says nothing.
    """
    varies = share * (1 - share) > 0 and standard_error > 0
    count = share * (1 - share) / standard_error**2 if varies else float(clusters)
    return share_interval(share, count, float(student.ppf((1 + level) / 2, degrees_of_freedom)))


def share_of_margin(share: float, margin: float, clusters: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a share in [0, 1] whose symmetric interval would be share +- ``margin``.

    With ``margin`` = q se and share (1 - share) / se^2 effective cases, q^2 over the cases is margin^2 / (share (1 -
    share)).  Where nothing varied, that of ``clusters`` independent cases at Student's t.
    """
    if margin > 0 and 0 < share < 1:
        return share_interval(share, share * (1 - share), margin)
    return clustered_share_interval(share, 0.0, clusters, float(max(clusters - 1, 1)), level)


def share_within(share: float, standard_error: float, clusters: int, level: float) -> list[float] | None:
    """The interval [low, high] of a share of cases in so many ``clusters`` (prompts); None for one: it cannot tell."""
    if clusters < 2:
        return None
    return list(clustered_share_interval(share, standard_error, clusters, float(clusters - 1), level))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval around a statistic, from ``center`` - q * ``standard_error`` to ``center`` + q * it.

    q is Student's quantile at ``degrees_of_freedom`` for a two-sided coverage of ``level``.  ``estimate`` is the
    statistic as measured, ``center`` the same less its estimated bias.  All in the unit of the statistic; the ends are
    not cut at values that it cannot take.  A standard error of 0 means that no resample moved the statistic.
    """

    estimate: float
    center: float
    standard_error: float
    degrees_of_freedom: float
    level: float

    @property
    def low(self) -> float:
        """The low end."""
        return self.center - self._half_width

    @property
    def high(self) -> float:
        """The high end."""
        return self.center + self._half_width

    @property
    def _half_width(self) -> float:
        return float(student.ppf((1 + self.level) / 2, self.degrees_of_freedom)) * self.standard_error


def p_value(interval: Interval, value: float) -> float:
    """Two-sided p-value of the hypothesis that the statistic is ``value``, by the t distribution of the interval.

    It is below 1 - level exactly when the interval leaves ``value`` out, so the two never disagree.  With a standard
    error of 0: 1 at the center, else 0.
    """
    distance = abs(interval.center - value)
    if interval.standard_error == 0:
        return float(distance == 0)
    return float(2 * student.sf(distance / interval.standard_error, interval.degrees_of_freedom))


def holm(p_values: ArrayLike) -> Floats:
    """P-values (K,) adjusted for K comparisons, in the order given (Holm, 1979).

    The i-th smallest becomes max over j <= i of min(1, (K - j + 1) p_(j)).  Calling a difference where the adjusted
    value is at most alpha makes one false call or more with probability alpha at the most, however the comparisons
    depend on each other.  No comparison gives an empty array.
    Raises ``ValueError`` for values outside [0, 1], NaN included, and for more than one axis.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values must be a vector within [0, 1], got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    steps = np.minimum(values[order] * np.arange(len(values), 0, -1), 1.0)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def verdict(difference: Interval, adjusted_p_value: float | None = None) -> Verdict:
    """What the interval of statistic(A) - statistic(B) lets one say, where more of the statistic is better.

    A call at 1 - level: without ``adjusted_p_value`` exactly when the interval leaves out 0; with the value that
    ``holm`` gave this comparison, exactly when that is at most 1 - level, for all comparisons together.
    "undecided" is no claim that the two are equal.
    """
    value = p_value(difference, 0.0) if adjusted_p_value is None else adjusted_p_value
    if value > 1 - difference.level:
        return "undecided"
    return "A > B" if difference.center > 0 else "B > A"
