"""Correlations that say NaN, and do not warn, where there is nothing to correlate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

Floats = NDArray[np.float64]


def pearson(first: Floats, second: Floats) -> float:
    """Pearson's correlation of two (n,); NaN when one of them is constant."""
    return float(np.corrcoef(first, second)[0, 1]) if _vary(first, second) else float("nan")


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation of two (n,), mid-ranks for ties; NaN when one of them is constant."""
    return float(spearmanr(first, second).statistic) if _vary(first, second) else float("nan")


def kendall(first: Floats, second: Floats) -> float:
    """Kendall's tau-b of two (n,); NaN when one of them is constant."""
    return float(kendalltau(first, second).statistic) if _vary(first, second) else float("nan")


def mean(values: NDArray[Any]) -> float:
    """The mean of (n,); NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def _vary(first: Floats, second: Floats) -> bool:
    return len(first) > 1 and float(np.ptp(first)) > 0.0 and float(np.ptp(second)) > 0.0
