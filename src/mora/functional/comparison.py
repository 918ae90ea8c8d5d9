"""Sets of points against each other: one reference point for all, and what a ranking owes to it.

Every objective is maximized.  Points are rows of score vectors (P, M); values that are not finite are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.functional.pareto import finite, hypervolume, non_dominated

Floats = NDArray[np.float64]
Winner = Literal["A", "B", "equal", "depends on the reference point"]

TIE = 1e-12  # relative difference of two volumes that are the same but for rounding


def pooled_reference_point(fronts: Sequence[ArrayLike], *, margin: float) -> Floats:
    """One reference point (M,) for all runs of a comparison: below the worst pooled point by a share of the range.

    z_j = min_j - margin * (max_j - min_j), over the points of all ``fronts`` (each (P_r, M)), dominated ones too, so
    that with ``margin`` > 0 every point adds to the volume of its own run; 0.1 is common.  An objective in which all
    pooled points are equal gets z_j = min_j - 1: it multiplies every volume by the same 1 and ranks nothing.
    The point depends on which runs are pooled: keep it beside the volumes, and treat it as fixed in intervals.
    Raises ``ValueError`` when there is no point, when M differs, when ``margin`` < 0, or on values that are not finite.
    """
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    pooled = _pooled(fronts)
    return np.asarray(pooled.min(0) - np.where(np.ptp(pooled, axis=0) > 0, margin * np.ptp(pooled, axis=0), 1.0))


@dataclass(frozen=True, kw_only=True)
class ReferenceSweep:
    """The hypervolumes of N sets over R reference points."""

    distances: Floats  # (R,) from the nadir outward, in ranges of the pooled front
    reference_points: Floats  # (R, M)
    hypervolumes: Floats  # (R, N)

    def winner(self, a: int, b: int) -> Winner:
        """Which of the sets ``a`` and ``b`` the hypervolume favors, by their numbers.

        "A" or "B" is ahead at some reference points and behind at none (volumes within 1e-12 of each other are even);
        "equal" when they are even at all of them.
        """
        pair = self.hypervolumes[:, [a, b]]
        gaps = pair[:, 0] - pair[:, 1]
        gaps[np.abs(gaps) <= TIE * pair.max(1)] = 0.0
        ahead, behind = bool((gaps > 0).any()), bool((gaps < 0).any())
        if ahead and behind:
            return "depends on the reference point"
        return "A" if ahead else "B" if behind else "equal"


def reference_sweep(fronts: Sequence[ArrayLike], *, reach: float, steps: int) -> ReferenceSweep:
    """Hypervolumes of all sets wherever a sensible reference point may be put: does the ranking owe anything to it?

    The reference points go from the nadir of the pooled non-dominated set, objective by objective its worst value,
    outward in ``steps`` equal steps by up to ``reach`` times its range.  An objective with no range keeps one distance
    of 1.  The sweep looks at no point beyond ``reach``, and it says nothing of noise: for that see ``bootstrap``.
    Raises ``ValueError`` when there is no point, when M differs, when ``reach`` <= 0 or ``steps`` < 1, or on values
    that are not finite.
    """
    if not reach > 0 or steps < 1:
        raise ValueError(f"need reach > 0 and at least 1 step, got {reach=}, {steps=}")
    pooled = _pooled(fronts)
    front = pooled[non_dominated(pooled)]
    ranges = np.ptp(front, axis=0)
    distances = np.linspace(0.0, reach, steps + 1)
    references = front.min(0) - np.where(ranges > 0, distances[:, None] * ranges, 1.0)
    volumes = np.array([[hypervolume(points, z) for points in fronts] for z in references])
    return ReferenceSweep(distances=distances, reference_points=references, hypervolumes=volumes)


def win_rate(values: ArrayLike, reference: ArrayLike) -> Floats:
    """How often an answer is better than one of the reference policy to the same prompt: (..., X) in 0 to 1.

    Over all pairs of the N ``values`` (..., X, N) and the K ``reference`` values (..., X, K) of each prompt, a tie
    counts half: the Mann-Whitney estimate of P(u > u_ref) + P(u = u_ref) / 2 (1947).
    Raises ``ValueError`` when there is no answer, when the prompts differ in number, or on values that are not finite.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.shape[:-1] != theirs.shape[:-1] or 0 in ours.shape or 0 in theirs.shape:
        raise ValueError(f"values {ours.shape} and reference {theirs.shape} must have the same prompts and an answer")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("values and reference must be finite")
    gaps = ours[..., :, None] - theirs[..., None, :]
    return np.asarray(((gaps > 0) + 0.5 * (gaps == 0)).mean((-2, -1)))


def attainment_bands(fronts: ArrayLike, levels: Sequence[float]) -> list[Floats]:
    """Empirical attainment surfaces of repeated runs with two objectives, one array (K_l, 2) per level.

    ``fronts`` is (S, P, 2), the points of S runs.  A run attains a vector that one of its points equals or dominates.
    The surface of level l is the set of vectors that at least l * S runs attain, given by its non-dominated corners in
    ascending order of the first objective (Grunert da Fonseca, Fonseca and Hall, 2001).  Level 0.5 is the median front,
    0.25 and 0.75 bound the middle half of runs; a higher level is attained more often and lies lower.  With one run
    each level is its own non-dominated front.
    Raises ``ValueError`` for another shape, without a run or a point, for a level outside (0, 1], or on values that are
    not finite.
    """
    array = np.asarray(fronts, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 2 or 0 in array.shape:
        raise ValueError(f"fronts must be (S, P, 2) with at least one run and one point, got shape {array.shape}")
    if not all(0 < level <= 1 for level in levels):
        raise ValueError(f"levels must lie in (0, 1], got {list(levels)}")
    firsts = np.unique(finite(array.reshape(-1, 2))[:, 0])
    reaches = array[:, :, 0, None] >= firsts  # (S, P, K)
    seconds = np.where(reaches, array[:, :, 1, None], -np.inf).max(1)  # (S, K): best second objective at that first one
    ranked = -np.sort(-seconds, axis=0)
    surfaces = []
    for level in levels:
        heights = ranked[ceil(level * len(array) - TIE) - 1]
        below = np.append(heights[1:], -np.inf)  # heights fall: a corner is where the next one is lower
        surfaces.append(np.stack([firsts, heights], axis=1)[heights > below])
    return surfaces


def _pooled(fronts: Sequence[ArrayLike]) -> Floats:
    arrays = [finite(front, f"front {number}") for number, front in enumerate(fronts)]
    if not arrays or any(len(array) == 0 for array in arrays) or len({array.shape[1] for array in arrays}) > 1:
        raise ValueError(f"fronts need points of the same objectives, got shapes {[array.shape for array in arrays]}")
    return np.concatenate(arrays)
