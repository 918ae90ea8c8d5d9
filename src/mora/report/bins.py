"""Bins of pairs as figures show them: none of so few pairs that its mark says nothing, and each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mora.functional.stats import share_interval
from mora.report.style import Z95, Floats

Bin = Mapping[str, Any]
LEAST_PAIRS = 20  # behind a mark: the interval of a share of fewer is wider than 0.4
JOINED = f"Bars are 95 % intervals, pairs taken as independent; bins of fewer than {LEAST_PAIRS} pairs are joined."


def pooled(bins: Sequence[Bin], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The bins, neighbors joined until each has ``LEAST_PAIRS`` or is the only one: ``count`` and means of ``keys``.

    A mean is NaN where that of one of the joined bins is.
    """
    fewest = min((row["count"] for row in bins), default=LEAST_PAIRS)
    groups = max(len(bins) // math.ceil(LEAST_PAIRS / max(fewest, 1)), 1) if bins else 0
    found = []
    for places in np.array_split(np.arange(len(bins)), groups) if groups else []:
        rows = [bins[i] for i in places]
        count = sum(row["count"] for row in rows)
        found.append({"count": count, **{key: sum(row["count"] * row[key] for row in rows) / count for key in keys}})
    return found


def intervals(axes: Axes, places: Sequence[float] | Floats, rows: Sequence[Bin], color: str) -> None:
    """A thin bar at each of ``places`` for the interval of the accuracy of one of ``rows``."""
    ends = [share_interval(row["accuracy"], float(row["count"]), Z95) for row in rows]
    axes.vlines(places, [low for low, _ in ends], [high for _, high in ends], color=color, linewidth=0.9, alpha=0.45)
