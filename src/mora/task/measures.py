"""Numbers that describe columns: summaries, histograms, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.functional.correlation import pearson, spearman

Floats = NDArray[np.float64]
QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
FEW = 12  # distinct values up to which a histogram has a bar for each


def summary(values: Sequence[float]) -> dict[str, float] | None:
    """Number, mean, standard deviation (of the n values themselves), quantiles and extremes; None of nothing."""
    if not values:
        return None
    array = np.asarray(values, dtype=float)
    inner = dict(zip(QUANTILES, np.quantile(array, list(QUANTILES.values())).tolist(), strict=True))
    return {
        "n": len(array),
        "mean": float(array.mean()),
        "std": float(array.std()),
        "min": float(array.min()),
        **inner,
        "max": float(array.max()),
    }


def histogram(values: Sequence[float], bins: int) -> dict[str, list[float]] | None:
    """Counts per value where there are few of them, else in ``bins`` of equal width; None of nothing."""
    if not values:
        return None
    array = np.asarray(values, dtype=float)
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) <= FEW:
        return {"values": distinct.tolist(), "counts": counts.tolist()}
    counts, edges = np.histogram(array, bins=bins)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def described(values: Sequence[float], bins: int) -> dict[str, Any] | None:
    """Summary and histogram; None of nothing."""
    said = summary(values)
    return None if said is None else {"summary": said, "histogram": histogram(values, bins)}


def agreement_rate(first: Floats, second: Floats) -> float:
    """The share of places (n,) in which two have the same value; NaN of nothing."""
    return float((first == second).mean()) if len(first) else float("nan")


def kappa(first: Floats, second: Floats) -> float:
    """Cohen's kappa of two (n,) of categories: agreement beyond what their frequencies alone would give.

    NaN where both always say the same one thing, and of nothing.
    """
    if not len(first):
        return float("nan")
    kinds = np.union1d(first, second)
    by_chance = float(sum((first == kind).mean() * (second == kind).mean() for kind in kinds))
    return float("nan") if by_chance == 1.0 else (agreement_rate(first, second) - by_chance) / (1.0 - by_chance)


def label_matrix(columns: Sequence[Floats]) -> dict[str, list[list[float]]]:
    """How often objectives (M columns of n, NaN where undecided) prefer the same answer, where both decide: (M, M)."""
    return _matrix(columns, {"rate": agreement_rate, "kappa": kappa})


def rating_matrix(columns: Sequence[Floats]) -> dict[str, list[list[float]]]:
    """Correlations of objectives (M columns of n, NaN where not rated), over rows rated on both: (M, M)."""
    return _matrix(columns, {"pearson": pearson, "spearman": spearman})


def _matrix(columns: Sequence[Floats], measures: dict[str, Any]) -> dict[str, list[list[float]]]:
    table: dict[str, list[list[float]]] = {name: [] for name in ("n", *measures)}
    for first in columns:
        both = [~np.isnan(first) & ~np.isnan(second) for second in columns]
        table["n"].append([int(mask.sum()) for mask in both])
        for name, measure in measures.items():
            row = [measure(first[mask], second[mask]) for second, mask in zip(columns, both, strict=True)]
            table[name].append(row)
    return table
