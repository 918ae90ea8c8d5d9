"""Lower bounds on expected rewards that hold with confidence 1 - delta, from n independent scores.

With mean m and sample deviation s of the scores (n - 1 in its divisor), ``E r >= m - a s - b``:

    student_t            a = t_{1-delta, n-1} / sqrt(n)       b = 0
    hoeffding            a = 0                                b = (high - low) sqrt(ln(1 / delta) / (2 n))
    empirical_bernstein  a = sqrt(2 ln(2 / delta) / n)        b = 7 (high - low) ln(2 / delta) / (3 (n - 1))

The first is exact for normal scores and right for many others as n grows; where failures are rare and bad it says too
much.  The other two hold for any scores from low to high (Hoeffding 1963, theorem 2; Maurer and Pontil 2009, theorem
4).  The scores of several answers to one prompt are not independent: n counts prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import t as student
from torch import Tensor

from mora import bounds
from mora.bounds import AtLeastTwo, Inside, Number, Positive
from mora.errors import InputError

Bound = Literal["student_t", "hoeffding", "empirical_bernstein"]
BOUNDS: tuple[Bound, ...] = ("student_t", "hoeffding", "empirical_bernstein")
Limits = Mapping[str, Sequence[Number]]


def terms(bound: Bound, count: int, delta: float, span: float = inf) -> tuple[float, float]:
    """a and b of the bound from ``count`` scores; ``span``, high - low, is in the unit of the scores.

    Raises ValueError for fewer than two scores.
    """
    if count < 2:
        raise ValueError(f"{count} scores have no deviation; at least 2 are needed")
    if bound == "student_t":
        return float(student.ppf(1 - delta, count - 1)) / sqrt(count), 0.0
    if bound == "hoeffding":
        return 0.0, span * sqrt(log(1 / delta) / (2 * count))
    return sqrt(2 * log(2 / delta) / count), 7 * span * log(2 / delta) / (3 * (count - 1))


def least_mean(scores: ArrayLike, bound: Bound, delta: float, span: float = inf) -> float:
    """What the mean behind independent ``scores`` (n,) is at least, with confidence 1 - delta, in their unit."""
    values = np.asarray(scores, dtype=np.float64)
    per_deviation, constant = terms(bound, len(values), delta, span)
    return float(values.mean() - per_deviation * values.std(ddof=1) - constant)


def p_value(scores: ArrayLike, floor: float, bound: Bound, span: float = inf) -> float:
    """The smallest delta at which ``least_mean`` of the scores is at least ``floor``; at most 1.

    A p-value of the hypothesis that the mean is below the floor.
    """
    values = np.asarray(scores, dtype=np.float64)
    count = len(values)
    terms(bound, count, 0.5, span)
    above, deviation = float(values.mean()) - floor, float(values.std(ddof=1))
    if bound == "student_t":
        if deviation == 0:
            return 0.0 if above >= 0 else 1.0
        return float(student.sf(above / deviation * sqrt(count), count - 1))
    if above <= 0:
        return 1.0
    if bound == "hoeffding":
        return exp(-2 * count * (above / span) ** 2)
    linear, square = deviation * sqrt(2 / count), 7 * span / (3 * (count - 1))  # above = linear x + square x^2
    root = (sqrt(linear**2 + 4 * square * above) - linear) / (2 * square)
    return min(2 * exp(-(root**2)), 1.0)


def least_tail_mean(scores: ArrayLike, share: float, delta: float, low: float) -> float:
    """What the mean of the worst ``share`` of all scores (their CVaR) is at least, with confidence 1 - delta.

    By the band of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990): no distribution function is more than
    e = sqrt(ln(1 / delta) / (2 n)) above that of ``scores`` (n,), so at worst e of the mass lies at ``low`` and as much
    is missing at the top (Thomas and Learned-Miller 2019, theorem 4).  Holds for any scores of at least ``low``, and
    for delta of at most 1/2.
    """
    values = np.asarray(scores, dtype=np.float64)
    return _tail_mean(values, share, low, sqrt(log(1 / delta) / (2 * len(values))))


def tail_p_value(scores: ArrayLike, floor: float, share: float, low: float) -> float:
    """The smallest delta up to 1/2 at which ``least_tail_mean`` is at least ``floor``, else 1."""
    values = np.asarray(scores, dtype=np.float64)
    count = len(values)
    near, far = sqrt(log(2) / (2 * count)), 1.0
    if _tail_mean(values, share, low, near) < floor:
        return 1.0
    if _tail_mean(values, share, low, far) >= floor:
        return 0.0  # low itself is no lower than the floor
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _tail_mean(values, share, low, middle) >= floor else (near, middle)
    return exp(-2 * count * near**2)


def _tail_mean(values: np.ndarray, share: float, low: float, moved: float) -> float:
    """The mean of the worst ``share`` where ``moved`` of the mass went from the top to ``low``."""
    left = max(share - moved, 0.0)
    mass = np.diff(np.minimum(np.arange(len(values) + 1) / len(values), left))
    return float(min(moved, share) * low + mass @ np.sort(values)) / share


@dataclass(kw_only=True)
class Confidence:
    """A training constraint on a bound and not on a mean (HC-RLHF, arXiv 2506.08266); the fields are keys of
    ``conf/scalarize/confident.yaml``.

    ``E r - factor (a sigma + b) >= floor``, with a and b of a safety test on so many ``prompts``, an answer to each.
    """

    bound: str
    delta: Inside
    prompts: AtLeastTwo
    factor: Positive
    limits: Limits | None

    def __post_init__(self) -> None:
        bounds.check(self, "scalarize.confidence")
        if self.bound not in BOUNDS:
            raise InputError(f"scalarize.confidence.bound={self.bound}: must be one of {', '.join(BOUNDS)}")

    def terms(self, objective: str) -> tuple[float, float]:
        """What is taken off the mean of an objective: a per deviation, and b in the reward's own units.

        Raises InputError where the bound needs limits and has none.
        """
        where = "scalarize.confidence"
        needs = None if self.bound == "student_t" else (f"{where}.bound={self.bound}", f"{where}.bound=student_t")
        span = span_of(self.limits, objective, where, needs)
        per_deviation, constant = terms(self.bound, self.prompts, self.delta, span)  # type: ignore[arg-type]
        return self.factor * per_deviation, self.factor * constant


def span_of(limits: Limits | None, objective: str, where: str, needs: tuple[str, str] | None) -> float:
    """high - low of an objective's scores by ``where``.limits; infinite where they are not given.

    Raises InputError for limits that are not two rising numbers, and where there are none and a setting ``needs`` them:
    it and what to set instead.
    """
    given = (limits or {}).get(objective)
    if given is None:
        if needs is None:
            return inf
        raise InputError(
            f"{needs[0]} needs the lowest and the highest score of {objective}: set {where}.limits={{{objective}: "
            f"[LOW, HIGH]}}, or {needs[1]}"
        )
    if len(given) != 2 or not given[0] < given[1]:
        raise InputError(f"{where}.limits.{objective}={list(given)}: must be the lowest and the highest score")
    return float(given[1]) - float(given[0])


def pessimistic(
    rewards: Float[Tensor, "B M"],
    mean: Float[Tensor, "B M"],
    deviation: Float[Tensor, "B M"],
    per_deviation: Float[Tensor, " M"],
    constant: Float[Tensor, " M"],
) -> Float[Tensor, "B M"]:
    """Rewards whose mean is ``mean - a deviation - b``, and whose policy gradient is the gradient of that bound.

    ``r - b - a ((r - mean)^2 + deviation^2) / (2 deviation)``: the derivative of a deviation is that of its square
    divided by twice itself.  Where nothing deviates only b is taken off.
    """
    spread = ((rewards - mean) ** 2 + deviation**2) / (2 * deviation)
    return rewards - constant - per_deviation * torch.where(deviation > 0, spread, torch.zeros_like(spread))
