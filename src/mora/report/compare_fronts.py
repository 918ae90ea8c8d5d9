"""Fronts of several methods over each other, at their own KL and at matched KL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from mora.records.compare import Comparison, Method
from mora.records.read import Floats
from mora.report import compare_views as views
from mora.report import marks
from mora.report.compare_views import Limits
from mora.report.marks import Look, Pair, Rows, method_look
from mora.report.style import (
    PAPER,
    Panel,
    Plate,
    method_color,
    number,
    objective_color,
    preference_colors,
    short,
)

PLANE = (6.2, 4.7)
PAIRS = {3: (3.9, 3.5), 4: (3.4, 3.0), 5: (3.0, 2.7)}  # sizes of panels, by the number of objectives
SMALL_PAIR = (2.8, 2.5)
POINTS = "Points are means over prompts, samples and seeds, bars their intervals. "


def front_plates(comparison: Comparison) -> list[Plate]:
    """The plates that suit the number of objectives."""
    count = len(comparison.objectives)
    if count == 1:
        return [_line_plate(comparison)]
    if count == 2:
        return [_plane_plate(comparison)]
    return [(_space_plate if count == 3 else _parallel_plate)(comparison), _pairs_plate(comparison)]


def matched_plates(comparison: Comparison) -> list[Plate]:
    """The fronts at matched KL, for two and three objectives; none where no point is known."""
    count = len(comparison.objectives)
    known = any(np.isfinite(method.matched).all(1).any() for method in comparison.methods)
    return [_matched_plate(comparison)] if known and count in (2, 3) else []


# --- one objective ---------------------------------------------------------------------------------------------------


def _line_plate(comparison: Comparison) -> Plate:
    """One objective: a row per method."""
    name = comparison.objectives[0]
    said = "; ".join(f"{method.name} {number(float(method.scores[0, 0]), 2)}" for method in comparison.methods)
    seeded = any(len(method.by_seed) > 1 for method in comparison.methods)
    size = (6.2, 1.3 + 0.42 * len(comparison.methods))
    return Plate(
        name="fronts",
        title="What each method reaches",
        caption=POINTS + ("Small strokes: single seeds. " if seeded else "") + views.units(comparison),
        panels=[Panel(draw=partial(_draw_rows, comparison=comparison), alt=f"Score of {name}: {said}.", size=size)],
        columns=1,
        key=[key for key in views.point_keys(comparison) if not key.hollow],
    )


def _draw_rows(axes: Axes, *, comparison: Comparison) -> None:
    for index, method in enumerate(comparison.methods):
        rows, _ = views.shown_points(method)
        places = np.column_stack([method.scores[rows, 0], np.full(len(rows), float(index))])
        marks.points(axes, places, method_look(index), errors=np.insert(method.margins[rows], 1, 0.0, axis=1))
        if len(method.by_seed) > 1:
            seeds = method.by_seed[:, rows, 0].ravel()
            axes.scatter(seeds, np.full(len(seeds), float(index)), marker="|", s=80, c=method_color(index),
                         linewidths=1.0, zorder=3)  # fmt: skip
    for scores, color in views.references(comparison):
        axes.axvline(scores[0], color=color, linewidth=0.9, linestyle=marks.DOTTED, zorder=1)
        axes.scatter(scores[:1], [len(comparison.methods) - 0.4], marker="X", s=60, c=color, edgecolors=PAPER,
                     linewidths=0.8, zorder=6, clip_on=False)  # fmt: skip
    axes.set_yticks(range(len(comparison.methods)), [short(name, 22) for name in comparison.names])
    axes.set_ylim(len(comparison.methods) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.set_xlabel(comparison.objectives[0], color=objective_color(0), fontweight="bold")


# --- two objectives at a time ----------------------------------------------------------------------------------------


def _plane_plate(comparison: Comparison) -> Plate:
    """Two objectives: all methods in one plane."""
    share = f"{100 * comparison.level:.3g} %"
    banded = any(method.band for method in comparison.methods)
    seeded = any(len(method.by_seed) > 1 for method in comparison.methods)
    caption = (
        f"{POINTS}A line joins a method's points in the order of their preferences; a hollow mark is dominated by "
        "another point of its method. "
        + (f"Shaded: between the attainment surfaces that bound {share} of the resampled fronts; dashed: what half of "
           "them attain. " if banded else "")
        + ("Thin lines: single seeds. " if seeded else "")
        + views.one_mark(comparison)
        + ("z is the reference point of the hypervolume. " if views.z_in_view(comparison) else "")
        + views.units(comparison)
    )  # fmt: skip
    panel = Panel(draw=partial(_draw_pair, comparison=comparison, pair=(0, 1)), alt=f"{views.spoken(comparison)}.",
                  size=PLANE)  # fmt: skip
    return Plate(name="fronts", title="Fronts over each other", caption=caption, panels=[panel], columns=1,
                 key=views.point_keys(comparison, views.own_limits(comparison)))  # fmt: skip


def _pairs_plate(comparison: Comparison) -> Plate:
    count = len(comparison.objectives)
    return Plate(
        name="fronts-pairs",
        title="Fronts in pairs of objectives",
        caption=f"{POINTS}A hollow mark is dominated in all {count} objectives by another point of its method. "
        f"{views.one_mark(comparison)}{views.units(comparison)}",
        panels=_pair_panels(comparison, "all methods", PAIRS.get(count, SMALL_PAIR), matched=False),
        columns=3 if count < 5 else 5,
        key=views.point_keys(comparison, views.own_limits(comparison)),
    )


def _matched_plate(comparison: Comparison) -> Plate:
    plane = len(comparison.objectives) == 2
    panels = _pair_panels(comparison, "at matched KL", PLANE if plane else (4.0, 3.6), matched=True)
    lead = " Thin lines lead to the points at each method's own KL." if plane else ""
    keys = views.point_keys(comparison, views.matched_limits(comparison) if plane else None)
    return Plate(
        name="fronts-matched-kl",
        title="Fronts at matched KL",
        caption="What each method reaches when none may spend more KL than the budget of its preference: one that does "
        "is mixed with its reference policy, π_ref^(1−a) π^a, until it does not; an optimum stays one on that way."
        f"{lead} {views.units(comparison)}",
        panels=panels,
        columns=min(len(panels), 3),
        key=[key for key in keys if not key.hollow],
    )


def _pair_panels(comparison: Comparison, said: str, size: tuple[float, float], *, matched: bool) -> list[Panel]:
    names = comparison.objectives
    return [
        Panel(
            draw=partial(_draw_pair, comparison=comparison, pair=(x, y), matched=matched),
            alt=f"{names[x]} against {names[y]}{' ' if matched else ', '}{said}.",
            size=size,
        )
        for x, y in combinations(range(len(names)), 2)
    ]


def _draw_pair(axes: Axes, *, comparison: Comparison, pair: Pair, matched: bool = False) -> None:
    """All methods in two objectives, at their own KL or ``matched``; lines where these are all there are."""
    columns, count = list(pair), len(comparison.objectives)
    if count == 2 or not matched:
        marks.exact_front(axes, views.exact_points(comparison), pair)
    for index, method in enumerate(comparison.methods):
        rows, hollow = views.shown_points(method)
        if matched:
            rows = np.flatnonzero(np.isfinite(method.matched).all(1) & np.isfinite(method.scores).all(1))
            hollow = np.zeros(len(rows), dtype=bool)
        scores = (method.matched if matched else method.scores)[:, columns]
        if count == 2:
            _draw_lines(axes, index, method, scores, marks.by_preference(comparison.preferences, rows), matched=matched)
        size = 46.0 if count == 2 else (30.0 if count < 5 else 20.0) * (1.0 if method.steered or matched else 1.8)
        errors = None if matched else method.margins[rows][:, columns]
        marks.points(axes, scores[rows], method_look(index), errors=errors, hollow=hollow, size=size)
    for reference, color in views.references(comparison):
        marks.cross(axes, reference[columns], color)
    if count == 2 and not matched and views.z_in_view(comparison):
        marks.origin(axes, comparison.reference_point)
    low, high = views.matched_limits(comparison) if matched else views.own_limits(comparison)
    axes.set(xlim=(low[pair[0]], high[pair[0]]), ylim=(low[pair[1]], high[pair[1]]))
    marks.entitle(axes, comparison.objectives, pair)


def _draw_lines(axes: Axes, index: int, method: Method, scores: Floats, order: Rows, *, matched: bool) -> None:
    """What joins the points (P, 2) of a method, in their ``order`` (n,): where it came from, bands and seeds."""
    color = method_color(index)
    axes.plot(*scores[order].T, color=color, linewidth=1.4, alpha=0.9, zorder=3)
    if matched:
        for ends in np.stack([method.scores[order], scores[order]], 2):
            axes.plot(*ends, color=color, linewidth=0.6, alpha=0.3, zorder=2)
        return
    if method.band and method.steered:
        marks.draw_band(axes, color, method.band.surfaces)
    for seed in method.by_seed if len(method.by_seed) > 1 else ():
        axes.plot(*seed[order].T, color=color, linewidth=0.6, alpha=0.45, zorder=2,
                  marker="" if len(order) > 1 else ".", markersize=3)  # fmt: skip


# --- three objectives, and more --------------------------------------------------------------------------------------


def _space_plate(comparison: Comparison) -> Plate:
    return Plate(
        name="fronts",
        title="Fronts over each other",
        caption="One sheet per method: its points, joined where their preferences are neighbors, so the sheet is the "
        f"image of the triangle of preferences. {views.one_mark(comparison)}{views.units(comparison)}",
        panels=[
            Panel(
                draw=partial(_draw_space, comparison=comparison, azimuth=azimuth),
                alt=f"Fronts in three dimensions, seen from {azimuth} degrees. {views.spoken(comparison)}.",
                projection="3d",
                size=(5.4, 4.6),
            )
            for azimuth in (38, 68)
        ],
        columns=2,
        key=views.point_keys(comparison, views.own_limits(comparison)),
    )


def _draw_space(axes: Axes3D, *, comparison: Comparison, azimuth: float) -> None:
    marks.space(axes, comparison.objectives, views.exact_points(comparison), azimuth=azimuth)
    for index, method in enumerate(comparison.methods):
        rows, dominated = views.shown_points(method)
        marks.sheet(axes, method.scores, comparison.preferences, method_look(index), rows=rows, hollow=dominated,
              size=34 if method.steered else 70)  # fmt: skip
    for scores, color in views.references(comparison):
        marks.cross_in_space(axes, scores, color)
    low, high = views.own_limits(comparison)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))


def _parallel_plate(comparison: Comparison) -> Plate:
    limits = _reach(comparison)
    return Plate(
        name="fronts",
        title="What each preference reaches, method by method",
        caption="A panel per method on the same axes, which run from the lowest to the highest score of any method. A "
        "line per preference: heavy lines put all weight on the objective of their color, gray is a balanced "
        f"preference, dashes are the reference policy. {views.units(comparison)}",
        panels=[
            Panel(
                draw=partial(_draw_parallel, comparison=comparison, index=index, limits=limits),
                alt=f"Parallel coordinates of {method.name}.",
                size=(max(4.6, 1.05 * len(comparison.objectives)), 3.3),
            )
            for index, method in enumerate(comparison.methods)
        ],
        columns=2,
    )


def _reach(comparison: Comparison) -> Limits:
    """The lowest and the highest mean score (M,) of methods and references."""
    found = np.vstack([scores for m in comparison.methods for scores in (m.scores, m.reference.scores[None])])
    found = found[np.isfinite(found).all(1)]
    if len(found) == 0:
        return np.zeros(found.shape[1]), np.ones(found.shape[1])
    return found.min(0), found.max(0)


def _draw_parallel(axes: Axes, *, comparison: Comparison, index: int, limits: Limits) -> None:
    method, color = comparison.methods[index], method_look(index)
    rows, _ = views.shown_points(method)
    weights = comparison.preferences[rows]
    colors: Sequence[str] = preference_colors(weights) if method.steered else [method_color(index)] * len(rows)
    marks.parallel(axes, comparison.objectives, method.scores[rows], Look(colors, color.marker), limits=limits,
             reference=method.reference.scores, heavy=(weights.max(1) > 0.999) & method.steered)  # fmt: skip
    axes.set_title(short(method.name), color=method_color(index))
