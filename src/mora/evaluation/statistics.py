"""The statistics of a comparison: numbers of the mean cells (P, C) of one method, each with its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora.evaluation.indicators import SMOOTH, Indicator
from mora.evaluation.judged import Columns
from mora.functional.mixing import at_kl_budget
from mora.functional.pareto import igd_plus
from mora.functional.steering import max_utility_loss

Floats = NDArray[np.float64]
Named = dict[str, tuple[Callable[[Floats], float], str]]
RANKING = ("hypervolume", "inner_product")


@dataclass(frozen=True)
class OfPoints:
    """A statistic of points (P, M) that are made of cells: ``points`` takes many cells (..., P, C) at once."""

    points: Callable[[Floats], Floats]
    of: Callable[[Floats], float]

    def __call__(self, cells: Floats) -> float:
        """The statistic of one set of cells (P, C)."""
        return self.of(self.points(cells))


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What a comparison holds fixed for all methods, in its unit."""

    columns: Columns
    grid: Floats  # (P, M) preferences
    z: Floats  # (M,) reference point
    pooled: Floats  # (K, M) non-dominated points of all methods
    front: Floats | None  # (K, M) the exact front, where it is known
    budget: Floats  # (P,) nats that matched KL grants


def granted_kl(spent: Sequence[Floats], errors: Sequence[Floats], *, errors_below: float) -> Floats:
    """Nats per preference (P,) that matched KL allows methods with mean KL and standard error (P,) each.

    At each preference the least of KL - ``errors_below`` * error over the methods that have left their reference policy
    (KL above 0 somewhere), at least 0; 0 everywhere when none has.  Below every KL, all methods are mixed with their
    reference policies at an exponent that varies smoothly from resample to resample.  At a measured KL itself that of
    the method would be 1 as measured and below 1 in half of the resamples, and intervals would not cover.
    """
    low = [kl - errors_below * error for kl, error in zip(spent, errors, strict=True) if (kl > 0).any()]
    return np.min(low, axis=0).clip(min=0.0) if low else np.zeros(len(spent[0]))


def ranking(fixed: Fixed) -> Named:
    """The two that verdicts are given on."""
    return {name: entry for name, entry in _of_points(fixed).items() if name in RANKING}


def _of_points(fixed: Fixed) -> Named:
    def of_cells(indicator: Indicator) -> Callable[[Floats], float]:
        return lambda cells: indicator(cells[:, fixed.columns.scores], fixed.grid, fixed.z)

    return {name: (of_cells(indicator), text) for name, (indicator, text) in SMOOTH.items()}


def smooth(fixed: Fixed) -> Named:
    """All that have an interval."""
    columns, scores, grid = fixed.columns, fixed.columns.scores, fixed.grid
    known = fixed.pooled if fixed.front is None else fixed.front
    whose = "the pooled front of the methods compared" if fixed.front is None else "the world's exact front"

    def column(place: int) -> Callable[[Floats], float]:
        return lambda cells: float(cells[:, place].mean())

    return _of_points(fixed) | {
        "max_utility_loss": (
            lambda cells: max_utility_loss(cells[:, scores], fixed.pooled, grid),
            "most that any preference loses against the pooled front of the methods compared",
        ),
        "igd_plus": (
            lambda cells: igd_plus(cells[:, scores], known),
            f"mean over {whose} of the distance to the nearest point, counting only what is missing",
        ),
        "worst_utility": (
            lambda cells: float((cells[:, scores] * grid).sum(1).min()),
            "lowest utility of any preference",
        ),
        "worst_objective": (
            column(columns.worst),
            "mean over answers of the lowest of their scores, mean over preferences",
        ),
        "win_rate": (
            column(columns.win),
            "share of pairs of answers to a prompt in which the policy's has more utility than the reference "
            "policy's, ties half, mean over preferences",
        ),
        "kl": (column(columns.kl), "mean over preferences of the KL to the policy that the run started from, nats"),
    }


def matched(cells: Floats, fixed: Fixed, budget: Floats | float) -> Floats:
    """Scores (..., P, M) of the geometric mixtures of policy and reference policy that spend ``budget`` nats."""
    kl, scores = cells[..., fixed.columns.path_kl], cells[..., fixed.columns.path_scores]
    return at_kl_budget(kl, scores.reshape(*kl.shape, fixed.columns.objectives), budget)


def effective(cells: Floats, fixed: Fixed) -> Floats:
    """Effective number of answers per prompt (P,) behind the scores at matched KL."""
    kl = cells[:, fixed.columns.path_kl]
    return at_kl_budget(kl, cells[:, fixed.columns.path_effective][..., None], fixed.budget)[..., 0]


def at_budget(fixed: Fixed, budget: Floats | float) -> Named:
    """The ranking statistics of points that are held to a KL budget."""

    def of_points(indicator: Indicator) -> OfPoints:
        return OfPoints(
            lambda cells: matched(cells, fixed, budget), lambda points: indicator(points, fixed.grid, fixed.z)
        )

    return {name: (of_points(SMOOTH[name][0]), f"{SMOOTH[name][1]}; of the points at matched KL") for name in RANKING}
