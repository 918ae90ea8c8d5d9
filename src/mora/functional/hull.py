"""What score vectors can be reached when the KL costs nothing: the hull of the pure responses.

A policy may mix responses, so the scores that it reaches in expectation on one prompt are the convex hull of the
responses' scores.  ``points`` is (P, M), one row per response, in score units, and every objective is maximized.
Arrays of numpy go in and come out; linear programs are solved by HiGHS to 1e-10 (Huangfu and Hall, 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, linprog
from scipy.sparse import csr_array

from mora.functional.pareto import non_dominated

Floats = NDArray[np.float64]

MARGIN = 1e-9  # of each objective's range: a point that stands out by less does not stand out
TIE = 1e-12  # of the largest value: utilities that differ by less are equal
PRECISION = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def hull_front(points: ArrayLike) -> NDArray[np.int64]:
    """Indices, ascending, of the points that are Pareto optimal vertices of the convex hull of all points.

    These are the points that no mixture of the others equals or dominates, or, which is the same, the only maximizers
    of <w, r> for some w > 0: what linear preferences can reach, ends of flat faces included and their insides not.  One
    linear program per non-dominated point decides whether a w >= 0 sets it apart from the rest, by at least 1e-9 of the
    objectives' ranges.  Of equal points the first is kept; the set may be flat, a line or one point.
    Raises ``ValueError`` on values that are not finite.
    """
    candidates = non_dominated(points)
    if len(candidates) == 0:
        return candidates
    scores = np.asarray(points, dtype=np.float64)[candidates]
    spans = np.ptp(scores, axis=0)
    scores = scores / np.where(spans > 0, spans, 1.0)
    kept = list(range(len(scores)))
    for index in reversed(range(len(scores))):  # a point inside may go at once: the rest spans the same hull
        others = [other for other in kept if other != index]
        if others and _separation(scores[index] - scores[others]) <= MARGIN:
            kept = others
    return candidates[kept]


def _separation(differences: Floats) -> float:
    """Largest least <w, difference> (P, M) over weights w of the simplex."""
    count, objectives = differences.shape
    found = linprog(
        np.append(np.zeros(objectives), -1.0),
        A_ub=np.hstack([-differences, np.ones((count, 1))]),
        b_ub=np.zeros(count),
        A_eq=np.append(np.ones(objectives), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * objectives + [(None, None)],
        options=PRECISION,
    )
    return -float(_solved(found).fun)


def linear_free_optimum(points: ArrayLike, preferences: ArrayLike) -> Floats:
    """The vertex of :func:`hull_front` that maximizes <w, r>, (K, M), for each of the preferences (K, M).

    Of vertices that tie, the one with the largest sum of scores, then the first.  Raises ``ValueError`` unless the
    weights are >= 0 and one is above 0.
    """
    weights = np.asarray(preferences, dtype=np.float64)
    if not ((weights >= 0).all() and weights.any(-1).all()):
        raise ValueError(f"preferences need weights >= 0 and one above 0, got {weights.tolist()}")
    vertices = np.asarray(points, dtype=np.float64)[hull_front(points)]
    values = weights @ vertices.T  # (K, vertices)
    slack = TIE * np.abs(weights) @ np.abs(vertices).max(0)
    best = values >= values.max(-1, keepdims=True) - slack[:, None]
    return np.asarray(vertices[np.where(best, vertices.sum(-1), -np.inf).argmax(-1)])


def tchebycheff_free_optimum(
    points: ArrayLike, preference: ArrayLike, *, ideal: ArrayLike
) -> tuple[float, Floats, Floats]:
    """Maximum over mixtures p (P,) of the points of ``min_i w_i (<p, r_i> - z_i)``: value, expectation (M,), mixture.

    Of several optima the one with the largest sum of all objectives, so that the expectation lies on the front.
    Raises ``ValueError`` like :func:`weighted_gaps`.
    """
    scores = np.asarray(points, dtype=np.float64)
    gaps = weighted_gaps(scores[None], preference, ideal)[..., np.asarray(preference) > 0]
    value, policy = best_minimum(gaps, scores.sum(-1)[None], allowed=np.ones((1, len(scores)), dtype=bool))
    return value, policy[0] @ scores, policy[0]


def weighted_gaps(rewards: ArrayLike, preference: ArrayLike, ideal: ArrayLike) -> Floats:
    """``w_i (r_i - z_i)``, (X, Y, M), the terms of a Tchebycheff utility; never above 0.

    Raises ``ValueError`` when a reward exceeds the ideal, where the minimum would favor small weights; unless the
    weights are >= 0 and one is above 0; and when the shapes differ in M.
    """
    scores, weights, best = (np.asarray(a, dtype=np.float64) for a in (rewards, preference, ideal))
    if not (scores.ndim == 3 and weights.shape == best.shape == scores.shape[-1:]):
        raise ValueError(f"rewards {scores.shape}, preference {weights.shape} and ideal {best.shape} differ in M")
    if not ((weights >= 0).all() and weights.any()):
        raise ValueError(f"a preference needs weights >= 0 and one above 0, got {weights.tolist()}")
    above = ~(scores <= best).all((0, 1))
    if above.any():
        index = int(above.argmax())
        raise ValueError(
            f"Tchebycheff needs an ideal above every reward: objective {index} reaches "
            f"{scores[..., index].max():.6g}, its ideal is {best[index]:.6g}"
        )
    return np.asarray(weights * (scores - best))


def best_minimum(terms: ArrayLike, then: ArrayLike, *, allowed: ArrayLike) -> tuple[float, Floats]:
    """Maximum over policies (X, Y) of the least ``E terms_i``, and a policy that reaches it.

    ``terms`` is (X, Y, K), E the mean over prompts of the expectation over responses; of several such policies one with
    the largest ``E then``, (X, Y).  ``allowed`` (X, Y) marks the responses that a policy may give.
    """
    scores, usable = np.asarray(terms, dtype=np.float64), np.asarray(allowed)
    prompt, response = np.nonzero(usable)
    count, size = len(usable), len(prompt)
    totals = np.asarray(then, dtype=np.float64)[prompt, response] / count
    least = np.vstack([-scores[prompt, response] / count, np.ones(scores.shape[-1])]).T  # t - E terms <= 0
    rows = csr_array((np.ones(size), (prompt, np.arange(size))), shape=(count, size + 1))

    def solve(costs: Floats, bottom: float | None) -> Floats:
        bounds = [(0.0, None)] * size + [(bottom, None)]
        found = linprog(
            costs,
            A_ub=least,
            b_ub=np.zeros(len(least)),
            A_eq=rows,
            b_eq=np.ones(count),
            bounds=bounds,
            options=PRECISION,
        )
        return np.asarray(_solved(found).x)

    value = float(solve(np.append(np.zeros(size), -1.0), None)[-1])
    policy = np.zeros(usable.shape)
    policy[prompt, response] = solve(np.append(-totals, 0.0), value)[:-1].clip(min=0.0)
    return value, policy / policy.sum(-1, keepdims=True)


def refuse_lone_floors(ref_logps: Floats, rewards: Floats, floors: Floats) -> None:
    """Raise ValueError when a floor (M,) lies above what policies on the support of ``ref_logps`` (X, Y) can expect."""
    if rewards.shape != (*ref_logps.shape, *floors.shape) or not np.isfinite(rewards).all():
        raise ValueError(f"rewards {rewards.shape} must be finite and (X, Y, M) = {(*ref_logps.shape, *floors.shape)}")
    best = np.where((ref_logps > -np.inf)[..., None], rewards, -np.inf).max(1).mean(0)
    for index in np.flatnonzero(~(floors <= best + 1e-12 * np.abs(best))):
        raise ValueError(
            f"infeasible: floor {floors[index]:.6g} of objective {index} is above {best[index]:.6g}, its largest "
            "attainable expectation"
        )


def refuse_joint_floors(ref_logps: Floats, slacks: Floats, *, tolerance: float) -> None:
    """Raise ValueError when no policy keeps the expectation of all slacks (X, Y, K) at 0, less a ``tolerance``."""
    least, _ = best_minimum(slacks, slacks.sum(-1), allowed=ref_logps > -np.inf)
    if least < -tolerance:
        raise ValueError(f"infeasible: the floors cannot hold together; at best one is missed by {-least:.3g} ranges")


def _solved(found: OptimizeResult) -> OptimizeResult:
    if found.status != 0:
        raise RuntimeError(f"a linear program was not solved: {found.message}")
    return found
