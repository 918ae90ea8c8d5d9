"""Figures of a comparison of reward models with a panel for each method: its scores, and gold beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mora.records.read import Floats
from mora.records.rewards import Drawn, RewardComparison
from mora.report.style import MUTED, Key, Panel, Plate, number, objective_color, short

SMALL = (2.75, 2.15)  # inches, of one of many panels
COLUMNS = 4
SHOWN_DENSITY = 0.004  # of the highest: where no density is higher, the score axis is cut


# --- densities -------------------------------------------------------------------------------------------------------


def density_plates(comparison: RewardComparison) -> list[Plate]:
    """Scores of better and worse answers: a figure per objective, a panel per method."""
    plates = []
    for index, objective in enumerate(comparison.objectives):
        drawn = comparison.drawn.get(objective)
        if drawn is None:
            continue
        color = objective_color(index)
        plates.append(
            Plate(
                name=f"scores-{index}",
                title=f"Scores of better and worse answers: {objective}",
                caption="Histogram and Gaussian kernel density of the scores of both answers of every pair, in "
                "standard deviations of the method’s own scores, all seeds together; the same axes and bandwidth "
                f"({number(drawn.bandwidth, 2)}) everywhere. How far the two lie apart over all prompts says less than "
                "the margins within pairs.",
                panels=[
                    Panel(
                        draw=partial(_draw_sides, drawn=drawn, name=name, color=color),
                        alt=_apart(comparison, row, objective),
                        size=SMALL,
                    )
                    for row, name in enumerate(comparison.names)
                ],
                columns=min(COLUMNS, max(2, len(comparison.names))),
                key=[
                    Key(label="better answer", color=color, line="-"),
                    Key(label="worse answer", color=MUTED, line="-"),
                ],
            )
        )
    return plates


def _apart(comparison: RewardComparison, row: int, objective: str) -> str:
    entries = comparison.methods[row].metrics[objective]
    said = ", ".join(f"{comparison.metrics[k].title} {number(entries[k].value, 2)}" for k in ("auc", "d_pooled"))
    return f"{comparison.names[row]}, {objective}: scores of better and worse answers; {said}."


def shown_span(drawn: Drawn, sides: Sequence[str]) -> tuple[float, float]:
    """The part of the score axis outside of which no density of any method reaches what can be seen."""
    heights = np.array([curves.densities[side].density for curves in drawn.methods.values() for side in sides])
    seen = np.flatnonzero((heights > SHOWN_DENSITY * heights.max()).any(0))
    return float(drawn.grid[seen[0]]), float(drawn.grid[seen[-1]])


def _draw_sides(axes: Axes, *, drawn: Drawn, name: str, color: str) -> None:
    curves = drawn.methods[name]
    for side, shade in (("worse", MUTED), ("better", color)):
        shape = curves.densities[side]
        axes.stairs(shape.histogram, drawn.edges, fill=True, color=shade, alpha=0.22, linewidth=0, zorder=1)
        axes.plot(drawn.grid, shape.density, color=shade, linewidth=1.5, zorder=3)
    highest = max(float(c.densities[s].histogram.max()) for c in drawn.methods.values() for s in ("better", "worse"))
    axes.set_xlim(*shown_span(drawn, ("better", "worse")))
    axes.set_ylim(0, 1.04 * highest)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_title(short(name, 26))
    axes.set_xlabel("score (own std)")


# --- gold ------------------------------------------------------------------------------------------------------------


def gold_plates(comparison: RewardComparison) -> list[Plate]:
    """Scores against gold scores: a figure per objective, a panel per method."""
    plates = []
    for index, objective in enumerate(comparison.objectives):
        drawn = comparison.drawn.get(objective)
        if drawn is None or not all(len(curves.gold) for curves in drawn.methods.values()):
            continue
        panels = [
            Panel(
                draw=partial(_draw_gold, points=drawn.methods[name].gold, name=name, color=objective_color(index)),
                alt=f"{name}: reward against gold score of {objective}, correlation "
                f"{number(comparison.methods[row].metrics[objective]['gold_pearson'].value, 2)}.",
                size=SMALL,
            )
            for row, name in enumerate(comparison.names)
        ]
        plates.append(
            Plate(
                name=f"gold-{index}",
                title=f"Reward against gold: {objective}",
                caption="A point per held-out answer, first seed of each method, in the method’s own unit.",
                panels=panels,
                columns=min(COLUMNS, max(2, len(panels))),
            )
        )
    return plates


def _draw_gold(axes: Axes, *, points: Floats, name: str, color: str) -> None:
    axes.scatter(points[:, 1], points[:, 0], s=9, c=color, alpha=0.4, linewidths=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(short(name, 26))
    axes.set_xlabel("gold score")
    axes.set_ylabel("reward")
