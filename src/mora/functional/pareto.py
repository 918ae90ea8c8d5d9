"""Indicators of a set of score vectors: how good, how wide and how even it is.

Every objective is maximized.  ``points`` is ``(P, M)``, one score vector per row, in any order.  Arrays of numpy go in;
a number, or an array whose shape depends on M alone, comes out.  A value that is not finite is refused with
``ValueError``: a front with a hole in it has no indicator.  What a degenerate front is worth stands in each docstring.
What depends on the preference of a point is in ``steering``.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]


def finite(points: ArrayLike, name: str = "points") -> Floats:
    """``points`` as a (P, M) array of doubles; an empty list is (0, 0).

    Raises ``ValueError`` for another number of axes, and names the first row that holds a value that is not finite.
    """
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
    array = finite(points)
    return array[non_dominated(array)]


def non_dominated(points: ArrayLike) -> NDArray[np.int64]:
    """Indices of the rows that no other row dominates, ascending; of equal rows only the first is kept.

    a dominates b when a_i >= b_i for all i and a_i > b_i for some i, with no tolerance.
    Raises ``ValueError`` on values that are not finite.
    """
    array = finite(points)
    at_least = np.ones((len(array), len(array)), dtype=bool)  # (P, P): row a is nowhere worse than column b
    for scores in array.T:
        at_least &= scores[:, None] >= scores[None, :]
    dominates = at_least & ~at_least.T
    earlier_twin = np.triu(at_least & at_least.T, k=1)
    return np.flatnonzero(~(dominates | earlier_twin).any(0))


def hypervolume(points: ArrayLike, reference_point: ArrayLike) -> float:
    """Exact volume of the union of the boxes between ``reference_point`` (M,) and each point.

    HV(F; z) = volume of { u : z <= u <= f for some f in F }  (Zitzler and Thiele, 1999), by pymoo on -F and -z.
    Points that are not above z in every objective contribute nothing; an empty set is worth 0, and so is a single point
    that lies on z.  Dominated points and copies change nothing.
    The unit is the product of the units of the objectives, and the ranking of two sets may depend on z: compare values
    only at one shared reference point.  The cost grows steeply with M: at M = 6 a hundred points take milliseconds, a
    thousand about a second.
    Raises ``ValueError`` on values that are not finite and on a reference point of another length.
    """
    array, reference = finite(points), finite(np.atleast_2d(reference_point), "reference_point")[0]
    if len(array) == 0:
        return 0.0
    if len(reference) != array.shape[1]:
        raise ValueError(f"reference_point has {len(reference)} values, the points have {array.shape[1]}")
    front = array[(array > reference).all(1)]  # pymoo leaves out dominated points by itself
    if len(front) == 0:
        return 0.0
    return float(HV(ref_point=-reference)(-front))


def igd_plus(points: ArrayLike, reference_front: ArrayLike) -> float:
    """Mean distance from a known front (R, M) to the set, counting only what is missing: lower is better.

    IGD+ = 1/R sum_r min_p || max(r - f_p, 0) ||_2  (Ishibuchi et al., 2015), by pymoo on negated scores.
    0 exactly when every row of the reference is equaled or dominated by a point; adding a point never makes it worse,
    so it is weakly Pareto compliant.
    In score units over all M, so scale the objectives alike; every row of ``reference_front`` counts once, as given.
    Raises ``ValueError`` when M differs, when either set is empty, or on values that are not finite.
    """
    array, reference = finite(points), finite(reference_front, "reference_front")
    if len(array) == 0 or len(reference) == 0 or array.shape[1] != reference.shape[1]:
        raise ValueError(f"points {array.shape} and reference_front {reference.shape} need rows, and as many columns")
    return float(IGDPlus(-reference)(-array))


def span(points: ArrayLike) -> Floats:
    """How far the front reaches, per objective (M,): largest minus smallest score over the non-dominated points.

    In score units.  0 where the front is one point, or several equal ones: there is nothing to choose.
    Raises ``ValueError`` when there is no point or on values that are not finite.
    """
    front = _front(points)
    if len(front) == 0:
        raise ValueError("span needs at least one point")
    return np.asarray(np.ptp(front, axis=0))


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
    return _nearest_deviation(points, metric="euclidean", missing=0)


def spacing_schott(points: ArrayLike) -> float:
    """Spacing as defined by Schott (1995): city-block distances and 1/(n-1) under the root; 0 is evenly spaced.

    Over the n non-dominated points; fewer than three points are worth 0, which then says nothing.
    """
    return _nearest_deviation(points, metric="cityblock", missing=1)


def _nearest_deviation(points: ArrayLike, metric: Literal["euclidean", "cityblock"], missing: int) -> float:
    front = _front(points)
    if len(front) < 3:
        return 0.0
    distances = cdist(front, front, metric)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(1).std(ddof=missing))


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
