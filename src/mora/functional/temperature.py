"""One temperature for margins: how far a difference of scores can be trusted as a log-odds."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

LEAST_LOGITS = 1e-3  # mean |margin| / T at the highest temperature: no fewer than a million pairs could tell it from 0
MOST_LOGITS = 1e2  # mean |margin| / T at the lowest temperature: certain by any count
STEPS = 100
TOLERANCE = 1e-12  # relative change of 1 / T that ends the search


def fit_temperature(margins: Float[Tensor, "*n"], labels: Float[Tensor, "*m"]) -> float:
    """T > 0 that minimizes the Bradley-Terry negative log-likelihood of labels at ``margins / T``.

    ``margins`` (n,) are score differences, answer 1 less answer 0; ``labels`` (n,) the probabilities that answer 1 is
    better.  T has the unit of the margins (Guo et al., 2017, for two classes and no intercept).  The loss is convex in
    1 / T, where Newton's steps are taken within a bracket of the root of its slope; fp64.

    T stays where the mean of ``|margins| / T`` is within [1e-3, 100] logits, so it scales with the margins.  The lower
    T of the two ends is the answer when every pair is right and the likelihood has no maximum (T -> 0); the higher when
    the margins carry nothing or point the wrong way (T -> infinity).  Margins that are all 0 give 1.
    Raises ValueError for shapes other than two equal (n,) with n > 0, margins that are not finite, and labels outside
    [0, 1].
    """
    if margins.ndim != 1 or margins.shape != labels.shape or len(margins) == 0:
        raise ValueError(f"margins {tuple(margins.shape)} and labels {tuple(labels.shape)} must be (n,), n > 0")
    if not bool(margins.isfinite().all()):
        raise ValueError("margins must be finite numbers")
    if not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ValueError("labels must be probabilities, within [0, 1]")
    margins, labels = margins.detach().double(), labels.detach().double()
    scale = float(margins.abs().mean())
    if scale == 0:
        return 1.0
    return scale / _inverse_temperature(margins / scale, labels)


def at_a_bound(margins: Float[Tensor, " n"], temperature: float) -> str | None:
    """What it means that a fitted ``temperature`` stopped at the end of its range, in words; None inside of it."""
    size = float(margins.double().abs().mean()) / temperature
    if 0 < size <= LEAST_LOGITS * (1 + 1e-6):
        return "its scores say nothing about the pairs that it was calibrated on: the temperature is at its upper bound"
    if size >= MOST_LOGITS * (1 - 1e-6):
        return "it is right on every pair that it was calibrated on: the temperature is at its lower bound"
    return None


def _inverse_temperature(margins: Float[Tensor, " n"], labels: Float[Tensor, " n"]) -> float:
    """1 / T within [LEAST_LOGITS, MOST_LOGITS], for margins of mean absolute value 1."""
    low, high = LEAST_LOGITS, MOST_LOGITS
    if _slope(margins, labels, low)[0] >= 0:
        return low
    if _slope(margins, labels, high)[0] <= 0:
        return high
    inverse = 1.0
    for _ in range(STEPS):
        slope, curvature = _slope(margins, labels, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        following = step if low <= step <= high else math.sqrt(low * high)
        if abs(following - inverse) <= TOLERANCE * inverse:
            return following
        inverse = following
    return inverse


def _slope(margins: Float[Tensor, " n"], labels: Float[Tensor, " n"], inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood by 1 / T."""
    wins, losses = (margins * inverse).sigmoid(), (margins * -inverse).sigmoid()
    slope = ((1 - labels) * wins - labels * losses) * margins  # wins - labels, without cancellation
    return float(slope.mean()), float((wins * losses * margins.square()).mean())
