"""Indicators of steering: what a preference gets, against what the set of points could have given it.

Every objective is maximized.  ``points`` is ``(P, M)``: row p is the mean score vector reached at preference p, and
``preferences`` is ``(P, M)`` beside it, or ``(K, M)`` where any weights will do.  Utilities are in score units: they
change when an objective is shifted or scaled, so standardize by frozen statistics first.  A value that is not finite
is refused with ``ValueError``, and so is an empty set.  What a degenerate front is worth stands in each docstring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau

from mora.functional.pareto import finite

Floats = NDArray[np.float64]


def inner_product(points: ArrayLike, preferences: ArrayLike) -> float:
    """Realized utility, the mean that the preferences get: (1/P) sum_p <lam_p, f_p>, dominated points included.

    One point is worth its own utility.
    Raises ``ValueError`` when the shapes differ, when there is no point, or on values that are not finite.
    """
    array, weights = _matched(points, preferences)
    return float((array * weights).sum(1).mean())


def expected_utility(points: ArrayLike, preferences: ArrayLike) -> float:
    """Utility when each weight takes the best point of the whole set: (1/K) sum_k max_p <w_k, f_p>.

    The expected utility metric of Zintgraf et al. (2015), over the weights given (K, M); the points need not belong to
    them.  Dominated points and copies change nothing as long as no weight is negative.  It ignores whether the policy
    would have chosen that point: ``steering_regret`` is the difference.
    Raises ``ValueError`` when M differs, when there is no point or no weight, or on values that are not finite.
    """
    return float(_utilities(points, preferences).max(1).mean())


def steering_regret(points: ArrayLike, preferences: ArrayLike) -> float:
    """What choosing by preference loses: ``expected_utility`` - ``inner_product``, at the same preferences (P, M).

    (1/P) sum_p ( max_q <lam_p, f_q> - <lam_p, f_p> ).  Never negative, and 0 exactly when each preference gets a best
    point of the set for it; so one point, or a policy that ignores its preference, has no regret.  Estimated from means
    it is too large, since the best of noisy points is partly noise: read it with the interval of ``bootstrap``.
    Raises ``ValueError`` when the shapes differ, when there is no point, or on values that are not finite.
    """
    _matched(points, preferences)
    utilities = _utilities(points, preferences)
    return float((utilities.max(1) - np.diag(utilities)).mean())


def max_utility_loss(points: ArrayLike, reference: ArrayLike, preferences: ArrayLike) -> float:
    """Largest loss of any weight against a reference set: max_k ( max_r <w_k, r> - max_p <w_k, f_p> ).

    Zintgraf et al. (2015), with the reference set (R, M) in the place of the unknown optimum and over the weights given
    (K, M).  0 against the set itself; negative where the points are better for every weight.
    Raises ``ValueError`` when M differs, when a set or the weights are empty, or on values that are not finite.
    """
    reached = _utilities(points, preferences).max(1)
    return float((_utilities(reference, preferences, "reference").max(1) - reached).max())


def kendall_tau(points: ArrayLike, preferences: ArrayLike) -> Floats:
    """Steerability per objective (M,): Kendall's tau-b between the weight lam_pj and the score f_pj over the points.

    1: more weight always gives more score; -1: always less.  Where the weight or the score never changes, and for fewer
    than two points, there is no order and the value is 0: a policy that ignores the preference is not steerable.
    Raises ``ValueError`` when the shapes differ, when there is no point, or on values that are not finite.
    """
    array, weights = _matched(points, preferences)
    taus = np.zeros(array.shape[1])
    for objective in range(array.shape[1]):
        scores, levels = array[:, objective], weights[:, objective]
        if np.ptp(scores) > 0 and np.ptp(levels) > 0:
            taus[objective] = kendalltau(levels, scores, variant="b").statistic
    return taus


def monotonicity_violations(points: ArrayLike, preferences: ArrayLike) -> Floats:
    """Share of pairs, per objective (M,), in which its weight rises and its score falls: 0 is best, 1 always wrong.

    Over the pairs of preferences whose weight for that objective differs; an equal score is no violation.  0 where no
    pair differs, one point included, and for a policy that ignores its preference: read it beside ``kendall_tau``.
    Raises ``ValueError`` when the shapes differ, when there is no point, or on values that are not finite.
    """
    array, weights = _matched(points, preferences)
    shares = np.zeros(array.shape[1])
    for objective, (scores, levels) in enumerate(zip(array.T, weights.T, strict=True)):
        rises = levels[:, None] < levels[None, :]  # (P, P): from row to column
        falls = scores[:, None] > scores[None, :]
        shares[objective] = (rises & falls).sum() / max(int(rises.sum()), 1)
    return shares


def _matched(points: ArrayLike, preferences: ArrayLike) -> tuple[Floats, Floats]:
    array, weights = finite(points), finite(preferences, "preferences")
    if array.shape != weights.shape:
        raise ValueError(f"points {array.shape} and preferences {weights.shape} must have the same shape (P, M)")
    if len(array) == 0:
        raise ValueError("steering needs at least one point")
    return array, weights


def _utilities(points: ArrayLike, preferences: ArrayLike, name: str = "points") -> Floats:
    """<w_k, f_p> as (K, P)."""
    array, weights = finite(points, name), finite(preferences, "preferences")
    if len(array) == 0 or len(weights) == 0:
        raise ValueError(f"a utility needs at least one row of {name} and one preference")
    if array.shape[1] != weights.shape[1]:
        raise ValueError(f"{name} {array.shape} and preferences {weights.shape} must have the same number of columns")
    return np.asarray(weights @ array.T)
