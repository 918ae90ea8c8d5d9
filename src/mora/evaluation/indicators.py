"""The indicators of a front, each with the name of its definition, and the reference point of a single run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.dataset.corpus import Corpus
from mora.functional.pareto import (
    hypervolume,
    spacing,
    spacing_schott,
    span,
    sparsity,
    sparsity_per_objective,
)
from mora.functional.steering import (
    expected_utility,
    inner_product,
    kendall_tau,
    monotonicity_violations,
    steering_regret,
)

Floats = NDArray[np.float64]
LEARNED_REFERENCE = -2.0  # reference point of learned rewards, in standard deviations of the reference policy


Indicator = Callable[[Floats, Floats, ArrayLike], float]  # of points (P, M) at preferences (P, M), above z (M,)

SMOOTH: dict[str, tuple[Indicator, str]] = {
    "hypervolume": (
        lambda points, grid, z: hypervolume(points, z),
        "exact volume above the reference point, strict dominance",
    ),
    "inner_product": (
        lambda points, grid, z: inner_product(points, grid),
        "realized utility: mean over preferences of <preference, score>, all points",
    ),
    "expected_utility": (
        lambda points, grid, z: expected_utility(points, grid),
        "utility when each preference takes the best point of the front",
    ),
    "steering_regret": (
        lambda points, grid, z: steering_regret(points, grid),
        "what choosing by preference loses: expected utility less the inner product",
    ),
}
"""Indicators that are smooth enough functions of mean scores to have an interval."""


def reference_points(corpus: Corpus, scorers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One reference point per scorer, by a rule that no result enters."""
    count = len(corpus.objectives)
    points = {}
    for name in scorers:
        if name == "gold":
            assert corpus.true_scores is not None
            points[name] = {"values": list(corpus.true_scores.floor), "rule": "the worst score that there can be"}
        else:
            rule = f"{-LEARNED_REFERENCE:g} standard deviations below the reference policy's mean reward"
            points[name] = {"values": [LEARNED_REFERENCE] * count, "rule": rule}
    return points


def indicators(points: Sequence[Sequence[float]], grid: Floats, reference_point: Sequence[float]) -> dict[str, Any]:
    """Indicators of a front with the name of each definition."""
    scores = np.asarray(points, dtype=np.float64)
    definitions = {name: (of(scores, grid, reference_point), text) for name, (of, text) in SMOOTH.items()}
    definitions |= {
        "sparsity": (sparsity(scores), "mean squared distance of consecutive non-dominated points"),
        "sparsity_per_objective": (
            sparsity_per_objective(scores),
            "sum over objectives of squared gaps, each sorted separately, per gap (PGMORL)",
        ),
        "spacing": (spacing(scores), "standard deviation (1/n) of Euclidean nearest-neighbor distances"),
        "spacing_schott": (spacing_schott(scores), "Schott 1995: city-block distances, 1/(n-1)"),
    }
    table: dict[str, Any] = {name: {"value": value, "definition": text} for name, (value, text) in definitions.items()}
    table["kendall_tau"] = {
        "value": kendall_tau(scores, grid).tolist(),
        "definition": "tau-b between an objective's weight and its score over the preferences",
    }
    table["monotonicity_violations"] = {
        "value": monotonicity_violations(scores, grid).tolist(),
        "definition": "share of pairs of preferences in which an objective's weight rises and its score falls",
    }
    table["span"] = {
        "value": span(scores).tolist(),
        "definition": "largest less smallest score over the non-dominated points",
    }
    return table
