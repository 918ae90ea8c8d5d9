"""Indicators of a front: how good, how steerable and how even a set of score vectors is.

Every objective is maximized.  ``points`` is ``(P, M)``: row p is the mean score vector reached at preference p.  Arrays
of numpy go in; a number, or an array whose shape depends on M alone, comes out.  A value that is not finite is refused
with ``ValueError``: a front with a hole in it has no indicator.  What a degenerate front is worth stands in each
docstring.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.indicators.hv import HV
from scipy.stats import kendalltau

Floats = NDArray[np.float64]


def _points(points: ArrayLike, name: str = "points") -> Floats:
    array = np.asarray(points, dtype=np.float64)
    if array.shape == (0,):  # an empty list
        return array.reshape(0, 0)
    if array.ndim != 2:
        raise ValueError(f"{name} must be a (P, M) matrix, got shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{name} must be finite; row {row} is {array[row].tolist()}")
    return array


def _front(points: ArrayLike) -> Floats:
    array = _points(points)
    return array[non_dominated(array)]


def non_dominated(points: ArrayLike) -> NDArray[np.int64]:
    """Indices of the rows that no other row dominates, ascending; of equal rows only the first is kept.

    a dominates b when a_i >= b_i for all i and a_i > b_i for some i, with no tolerance.
    Raises ``ValueError`` on values that are not finite.
    """
    array = _points(points)
    at_least = (array[:, None, :] >= array[None, :, :]).all(-1)  # (P, P): row a is nowhere worse than column b
    dominates = at_least & ~at_least.T
    earlier_twin = np.triu(at_least & at_least.T, k=1)
    return np.flatnonzero(~(dominates | earlier_twin).any(0))


def hypervolume(points: ArrayLike, reference_point: ArrayLike) -> float:
    """Exact volume of the union of the boxes between ``reference_point`` (M,) and each point.

    HV(F; z) = volume of { u : z <= u <= f for some f in F }  (Zitzler and Thiele, 1999), by pymoo on -F and -z.
    Points that are not above z in every objective contribute nothing; an empty set is worth 0.
    The unit is the product of the units of the objectives, and the ranking of two sets may depend on z: compare values
    only at one shared reference point.  The cost grows steeply with M; up to M = 6 a hundred points take milliseconds.
    Raises ``ValueError`` on values that are not finite and on a reference point of another length.
    """
    array, reference = _points(points), _points(np.atleast_2d(reference_point), "reference_point")[0]
    if len(array) == 0:
        return 0.0
    if len(reference) != array.shape[1]:
        raise ValueError(f"reference_point has {len(reference)} values, the points have {array.shape[1]}")
    above = array[(array > reference).all(1)]
    if len(above) == 0:
        return 0.0
    front = above[non_dominated(above)]
    return float(HV(ref_point=-reference)(-front))


def inner_product(points: ArrayLike, preferences: ArrayLike) -> float:
    """Mean utility that the preferences realize: (1/P) sum_p <lam_p, f_p>, over all points, dominated ones too.

    In score units; it changes when an objective is shifted or scaled, so standardize by frozen statistics first.
    Raises ``ValueError`` when the shapes differ, when there is no point, or on values that are not finite.
    """
    array, weights = _matched(points, preferences)
    if len(array) == 0:
        raise ValueError("inner_product needs at least one point")
    return float((array * weights).sum(1).mean())


def sparsity(points: ArrayLike) -> float:
    """Mean squared distance of consecutive front points: 1/(n-1) sum_i ||f_(i) - f_(i+1)||^2; lower is denser.

    f_(1..n) are the non-dominated points in ascending lexicographic order.  Equals ``sparsity_per_objective`` at M = 2
    and is never below it; some papers divide by M in addition.  A front of fewer than two points is worth 0, so a
    collapsed front looks perfect: read it beside the hypervolume.
    """
    front = _front(points)
    if len(front) < 2:
        return 0.0
    ordered = front[np.lexsort(front.T[::-1])]
    return float((np.diff(ordered, axis=0) ** 2).sum(1).mean())


def sparsity_per_objective(points: ArrayLike) -> float:
    """Sparsity as defined with PGMORL: 1/(n-1) sum_j sum_i (s_j(i) - s_j(i+1))^2; lower is denser.

    s_j is objective j of the n non-dominated points, sorted for each objective separately (Xu et al., 2020).  A front
    of fewer than two points is worth 0.
    """
    front = _front(points)
    if len(front) < 2:
        return 0.0
    return float((np.diff(np.sort(front, axis=0), axis=0) ** 2).sum() / (len(front) - 1))


def spacing(points: ArrayLike) -> float:
    """Spread of nearest-neighbor distances: sqrt(1/n sum_i (d_i - mean d)^2), d_i = min_j ||f_i - f_j||_2.

    Over the n non-dominated points; 0 is evenly spaced.  Fewer than three points are worth 0, which then says nothing.
    """
    return _nearest_deviation(points, order=2, missing=0)


def spacing_schott(points: ArrayLike) -> float:
    """Spacing as defined by Schott (1995): city-block distances and 1/(n-1) under the root; 0 is evenly spaced.

    Over the n non-dominated points; fewer than three points are worth 0, which then says nothing.
    """
    return _nearest_deviation(points, order=1, missing=1)


def _nearest_deviation(points: ArrayLike, order: int, missing: int) -> float:
    front = _front(points)
    if len(front) < 3:
        return 0.0
    distances = np.linalg.norm(front[:, None] - front[None, :], ord=order, axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(1).std(ddof=missing))


def kendall_tau(points: ArrayLike, preferences: ArrayLike) -> Floats:
    """Steerability per objective (M,): Kendall's tau-b between the weight lam_pj and the score f_pj over the points.

    1: more weight always gives more score; -1: always less.  Where the weight or the score never changes, and for fewer
    than two points, there is no order and the value is 0: a policy that ignores the preference is not steerable.
    Raises ``ValueError`` when the shapes differ or on values that are not finite.
    """
    array, weights = _matched(points, preferences)
    taus = np.zeros(array.shape[1])
    for objective in range(array.shape[1]):
        scores, levels = array[:, objective], weights[:, objective]
        if len(array) > 1 and np.ptp(scores) > 0 and np.ptp(levels) > 0:
            taus[objective] = kendalltau(levels, scores, variant="b").statistic
    return taus


def _matched(points: ArrayLike, preferences: ArrayLike) -> tuple[Floats, Floats]:
    array, weights = _points(points), _points(preferences, "preferences")
    if array.shape != weights.shape:
        raise ValueError(f"points {array.shape} and preferences {weights.shape} must have the same shape (P, M)")
    return array, weights


def simplex_lattice(objectives: int, divisions: int) -> Floats:
    """All preferences (P, M) whose weights are multiples of 1/divisions; P = C(divisions + M - 1, M - 1).

    In ascending lexicographic order: for two objectives from (0, 1) to (1, 0).
    """
    if objectives < 1 or divisions < 1:
        raise ValueError(f"objectives ({objectives}) and divisions ({divisions}) must be at least 1")
    slots = divisions + objectives - 1
    bars = np.array(list(combinations(range(slots), objectives - 1)), dtype=np.int64)
    bars = bars.reshape(comb(slots, objectives - 1), objectives - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, slots)))
    return (np.diff(edges, axis=1) - 1) / divisions


def default_grid(objectives: int) -> Floats:
    """The preferences (P, M) a front is evaluated at unless others are named.

    M = 1: the one preference.  M = 2: 11 points, steps of 0.1.  M >= 3: the finest simplex lattice of at most 21 points
    (M up to 6; the vertices beyond), and its center when the lattice does not hold it; so vertices and center are
    always included.
    """
    if objectives <= 2:
        return simplex_lattice(objectives, 10 if objectives == 2 else 1)
    divisions = 1
    while comb(divisions + objectives, objectives - 1) <= 21:
        divisions += 1
    lattice = simplex_lattice(objectives, divisions)
    center = np.full((1, objectives), 1 / objectives)
    return lattice if divisions % objectives == 0 else np.concatenate([lattice, center])
