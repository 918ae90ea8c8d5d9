"""A safety test: where on the simplex floors under expected scores are kept, as a figure, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from mora.records.read import Floats
from mora.records.safety import Safety, SafetyPoint, safety_notes, verdict
from mora.report import marks
from mora.report.marks import DASHED, Look, Rows
from mora.report.markup import fill
from mora.report.style import GRID, INK, Panel, Plate, objective_color

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


def safety_plates(table: Safety | None) -> list[Plate]:
    """Bounds along the weight where two objectives steer, a triangle where three do; none else."""
    if table is None or len(table.points) < 2:
        return []
    preferences = np.array([point.preference for point in table.points])
    moving = np.flatnonzero(np.ptp(preferences, axis=0) > 0)
    if len(moving) not in (2, 3):
        return []
    names = list(table.points[0].constraints)
    draw = _draw_line if len(moving) == 2 else _draw_triangle
    panels = [
        Panel(
            draw=partial(draw, table=table, name=name, weights=preferences[:, moving], moving=moving),
            alt=f"The floor under {name} is kept at {_kept(table.points, name)} of {len(table.points)} preferences.",
            size=(4.8, 3.6),
        )
        for name in names
    ]
    caption = "Filled marks: the floor (dashes) is kept; hollow ones: that is not certified. "
    if len(moving) == 2:
        caption += "A mark is the mean score of the test, its line goes down to what the expected score is at least. "
        caption += "" if table.between is None else f"Shaded: kept too, if {table.between.assumption}. "
    return [Plate(name="safety", title="Where floors are kept", caption=caption + f"{table.definition}.",
                  panels=panels, columns=3)]  # fmt: skip


def safety_section(table: Safety | None, plates: Sequence[Plate]) -> str:
    """The part of the page; empty without a table."""
    if table is None:
        return ""
    said = verdict(table)
    return fill(
        "safety.html",
        safety=table,
        plates=plates,
        verdict=said[:1].upper() + said[1:],
        definition=table.definition[:1].upper() + table.definition[1:],
        notes=safety_notes(table),
        bound="DKW" if table.worst < 1 else table.bound.replace("_", " "),
    )


def _kept(points: Sequence[SafetyPoint], name: str) -> int:
    return sum(point.constraints[name].holds for point in points)


def _draw_line(axes: Axes, *, table: Safety, name: str, weights: Floats, moving: Rows) -> None:
    tested = [point.constraints[name] for point in table.points]
    color = objective_color(table.objectives.index(name))
    for start, end in [] if table.between is None else table.between.intervals:
        axes.axvspan(start, end, color=GRID, zorder=0)
    axes.axhline(tested[0].floor, color=INK, linewidth=1.0, linestyle=DASHED, zorder=1)
    places = np.column_stack([weights[:, 0], [one.mean for one in tested]])
    below = np.array([[one.mean - one.least for one in tested], [0.0] * len(tested)]).clip(min=0.0)
    marks.bars(axes, places, Look(color), yerr=below)
    marks.points(axes, places, Look(color), hollow=np.array([not one.holds for one in tested]), clip=False)
    axes.set_xlabel(f"weight on {table.objectives[int(moving[0])]}")
    axes.set_ylabel(f"score of {name}")
    axes.set_xlim(-0.03, 1.03)
    axes.set_title(name)


def _draw_triangle(axes: Axes, *, table: Safety, name: str, weights: Floats, moving: Rows) -> None:
    axes.fill(*CORNERS.T, facecolor="none", edgecolor=GRID, linewidth=1.2)
    hollow = np.array([not point.constraints[name].holds for point in table.points])
    color = objective_color(table.objectives.index(name))
    marks.points(axes, weights @ CORNERS, Look(color), hollow=hollow, size=90)
    for place, rise, index in zip(CORNERS, (-16, -16, 12), moving, strict=True):
        axes.annotate(table.objectives[int(index)], tuple(place), xytext=(0, rise), textcoords="offset points",
                      ha="center", va="center", fontweight="bold", color=objective_color(int(index)))  # fmt: skip
    axes.set_aspect("equal")
    axes.margins(0.2)
    axes.axis("off")
    axes.set_title(name)
