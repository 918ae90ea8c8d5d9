"""Fronts of several methods over each other, for three and more objectives, and the plates for any number of them."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from mora.records.compare import Comparison, Method
from mora.records.read import Floats
from mora.report.compare_fronts import (
    POINTS,
    bound,
    exact_front,
    exact_points,
    keys_in,
    line_plate,
    matched_plate,
    one_mark,
    own_view,
    plane_plate,
    units,
)
from mora.report.compare_marks import SIZES, bars, cross, entitle, marks, references, shown_points, spoken
from mora.report.fronts_many import lattice_edges
from mora.report.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    Panel,
    Plate,
    method_color,
    method_marker,
    number,
    objective_color,
    preference_colors,
    short,
)

PAIR_SIZE = {3: (3.9, 3.5), 4: (3.4, 3.0), 5: (3.0, 2.7)}
SMALL_PAIR = (2.8, 2.5)


def front_plates(comparison: Comparison) -> list[Plate]:
    """The plates that suit the number of objectives."""
    count = len(comparison.objectives)
    if count == 1:
        return [line_plate(comparison)]
    if count == 2:
        return [plane_plate(comparison)]
    return [(_space_plate if count == 3 else _parallel_plate)(comparison), _pairs_plate(comparison)]


def matched_plates(comparison: Comparison) -> list[Plate]:
    """The fronts at matched KL, for two and three objectives."""
    count = len(comparison.objectives)
    found = matched_plate(comparison, list(combinations(range(count), 2))) if count in (2, 3) else None
    return [found] if found else []


# --- pairs of objectives ---------------------------------------------------------------------------------------------


def _pairs_plate(comparison: Comparison) -> Plate:
    count, names = len(comparison.objectives), comparison.objectives
    size = PAIR_SIZE.get(count, SMALL_PAIR)
    panels = [
        Panel(
            draw=partial(_draw_pair, comparison=comparison, pair=pair),
            alt=f"{names[pair[0]]} against {names[pair[1]]}, all methods.",
            size=size,
        )
        for pair in combinations(range(count), 2)
    ]
    return Plate(
        name="fronts-pairs",
        title="Fronts in pairs of objectives",
        caption=f"{POINTS}A hollow mark is dominated in all {count} objectives by another point of its method. "
        f"{one_mark(comparison)}{units(comparison)}",
        panels=panels,
        columns=3 if count < 5 else 5,
        key=keys_in(comparison, own_view(comparison)),
    )


def _draw_pair(axes: Axes, *, comparison: Comparison, pair: tuple[int, int]) -> None:
    columns, size = list(pair), 30.0 if len(comparison.objectives) < 5 else 20.0
    exact_front(axes, comparison, pair)
    for index, method in enumerate(comparison.methods):
        rows, dominated = shown_points(method)
        scores, errors = method.scores[rows][:, columns], method.margins[rows][:, columns]
        bars(axes, index, *scores.T, across=errors[:, 0], along=errors[:, 1])
        for hollow in (False, True):
            larger = 1.0 if method.steered else 1.8
            marks(axes, index, *scores[dominated == hollow].T, hollow=hollow, size=size * larger)
    cross(axes, comparison, pair)
    bound(axes, own_view(comparison), pair)
    entitle(axes, comparison, pair)


# --- three objectives ------------------------------------------------------------------------------------------------


def _space_plate(comparison: Comparison) -> Plate:
    return Plate(
        name="fronts",
        title="Fronts over each other",
        caption="One sheet per method: its points, joined where their preferences are neighbors, so the sheet is the "
        f"image of the triangle of preferences. {one_mark(comparison)}{units(comparison)}",
        panels=[
            Panel(
                draw=partial(_draw_space, comparison=comparison, azimuth=azimuth),
                alt=f"Fronts in three dimensions, seen from {azimuth} degrees. {spoken(comparison)}.",
                projection="3d",
                size=(5.4, 4.6),
            )
            for azimuth in (38, 68)
        ],
        columns=2,
        key=keys_in(comparison, own_view(comparison)),
    )


def _draw_space(axes: Axes3D, *, comparison: Comparison, azimuth: int) -> None:
    axes.computed_zorder = False
    axes.view_init(elev=22, azim=azimuth)
    if len(front := exact_points(comparison)):
        axes.scatter(*front.T, s=5, c=MUTED, alpha=0.5, linewidths=0, depthshade=False)
    edges = lattice_edges(comparison.preferences)
    for index, method in enumerate(comparison.methods):
        _draw_sheet(axes, index, method, edges if method.steered else [])
    for scores, color in references(comparison):
        axes.scatter(*scores[:, None], marker="X", s=64, c=color, edgecolors=PAPER, depthshade=False, zorder=6)
    low, high = own_view(comparison)
    limits = (axes.set_xlim, axes.set_ylim, axes.set_zlim)
    labels = (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel)
    for place, axis in enumerate((axes.xaxis, axes.yaxis, axes.zaxis)):
        limits[place](low[place], high[place])
        labels[place](comparison.objectives[place], color=objective_color(place), fontweight="bold")
        axis.pane.set(facecolor="none", edgecolor=GRID)
        axis.line.set_color(MUTED)
    axes.set_box_aspect(None, zoom=0.92)


def _draw_sheet(axes: Axes3D, index: int, method: Method, edges: list[tuple[int, int]]) -> None:
    """The points of a method, and the lines and triangles between neighbors."""
    rows, dominated = shown_points(method)
    color, marker, there = method_color(index), method_marker(index), set(rows.tolist())
    joined = [edge for edge in edges if there.issuperset(edge)]
    near = set(joined)
    corners = [c for c in combinations(sorted(there), 3) if all(edge in near for edge in combinations(c, 2))]
    sides, sheet = [method.scores[list(e)] for e in joined], [method.scores[list(c)] for c in corners]
    if sheet:
        axes.add_collection3d(Poly3DCollection(sheet, facecolors=color, alpha=0.10, linewidths=0))
    if sides:
        axes.add_collection3d(Line3DCollection(sides, colors=color, linewidths=0.8, alpha=0.7))
    for hollow in (False, True):
        points = method.scores[rows[dominated == hollow]]
        if len(points):
            axes.scatter(*points.T, marker=marker, s=(34 if method.steered else 70) * SIZES[marker],
                         c=PAPER if hollow else color, edgecolors=color if hollow else PAPER,
                         linewidths=1.2 if hollow else 0.4, depthshade=False, zorder=3)  # fmt: skip


# --- more objectives -------------------------------------------------------------------------------------------------


def _parallel_plate(comparison: Comparison) -> Plate:
    low, high = _reach(comparison)
    panels = [
        Panel(
            draw=partial(_draw_parallel, comparison=comparison, index=index, low=low, high=high),
            alt=f"Parallel coordinates of {method.name}.",
            size=(max(4.6, 1.05 * len(comparison.objectives)), 3.3),
        )
        for index, method in enumerate(comparison.methods)
    ]
    return Plate(
        name="fronts",
        title="What each preference reaches, method by method",
        caption="A panel per method on the same axes, which run from the lowest to the highest score of any method. A "
        "line per preference: heavy lines put all weight on the objective of their color, gray is a balanced "
        f"preference, dashes are the reference policy. {units(comparison)}",
        panels=panels,
        columns=2,
    )


def _reach(comparison: Comparison) -> tuple[Floats, Floats]:
    """The lowest and the highest mean score (M,) of methods and references."""
    found = np.vstack([scores for m in comparison.methods for scores in (m.scores, m.reference.scores[None])])
    found = found[np.isfinite(found).all(1)]
    if len(found) == 0:
        return np.zeros(found.shape[1]), np.ones(found.shape[1])
    return found.min(0), found.max(0)


def _draw_parallel(axes: Axes, *, comparison: Comparison, index: int, low: Floats, high: Floats) -> None:
    method, places = comparison.methods[index], np.arange(len(comparison.objectives))

    def scale(row: Floats) -> Floats:
        return np.asarray((row - low) / np.maximum(high - low, 1e-12))

    colors = preference_colors(comparison.preferences)
    for row in shown_points(method)[0]:
        alone = comparison.preferences[row].max() > 0.999 and method.steered
        axes.plot(places, scale(method.scores[row]), color=colors[row] if method.steered else method_color(index),
                  linewidth=2.4 if alone else 1.0, alpha=1.0 if alone else 0.75, marker=method_marker(index),
                  markersize=5 if alone else 3, zorder=3 if alone else 2)  # fmt: skip
    axes.plot(places, scale(method.reference.scores), color=INK, linewidth=1.5, linestyle=(0, (4, 2)), zorder=4)
    for place in places:
        axes.axvline(float(place), color=GRID, linewidth=1.0, zorder=0)
        for value, height, side in ((high[place], 1.05, "bottom"), (low[place], -0.05, "top")):
            axes.annotate(number(float(value), 2), (place, height), ha="center", va=side, fontsize=7.5, color=MUTED)
    axes.set_xticks(places, [short(name, 14) for name in comparison.objectives], fontweight="bold")
    for tick, label in enumerate(axes.get_xticklabels()):
        label.set_color(objective_color(tick))
    axes.set_yticks([])
    axes.set_ylim(-0.16, 1.16)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(short(method.name), color=method_color(index))
