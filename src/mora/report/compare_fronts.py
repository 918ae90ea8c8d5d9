"""Fronts of several methods over each other, for one and two objectives, and at matched KL."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes

from mora.records.compare import Comparison
from mora.records.read import Floats
from mora.report.compare_marks import (
    DOTTED,
    bars,
    by_preference,
    cross,
    draw_band,
    entitle,
    front_key,
    marks,
    method_keys,
    point_keys,
    references,
    shown_points,
    spoken,
)
from mora.report.style import INK, MUTED, PAPER, Key, Panel, Plate, method_color, number, objective_color, short

PLANE = (6.2, 4.7)
POINTS = "Points are means over prompts, samples and seeds, bars their intervals. "
ONE_MARK = "A method that is not steered is one policy, hence one mark. "


def units(comparison: Comparison) -> str:
    """What the scores are measured in, as the end of a caption."""
    return f"Scores in {comparison.unit}, 0 is its mean."


def one_mark(comparison: Comparison) -> str:
    """Says why a method has a single mark, where one has."""
    return "" if all(method.steered for method in comparison.methods) else ONE_MARK


def own_view(comparison: Comparison) -> tuple[Floats, Floats]:
    """The least and the greatest score (M,) of a figure of methods at their own KL, with bars, seeds and bands."""
    width, found = len(comparison.objectives), []
    for method in comparison.methods:
        rows, _ = shown_points(method)
        bar = np.nan_to_num(method.margins[rows])
        found += [method.scores[rows] - bar, method.scores[rows] + bar, method.by_seed.reshape(-1, width)]
        found += [surface for surface in method.band.surfaces] if method.band and width == 2 else []
    low, high = view(comparison, found)
    z, room = comparison.reference_point, 0.2 * (high - low)
    if width == 2 and np.isfinite(z).all() and (z > low - room).all():  # a little more shows the reference point
        low = np.minimum(low, z - 0.15 * room)
    return low, high


def view(comparison: Comparison, found: list[Floats]) -> tuple[Floats, Floats]:
    """The least and the greatest score (M,) of a figure that shows what was ``found`` (n, M) and the references.

    The world's exact front widens the view by half of it on either side at most, if most of it is seen then.
    """
    width = len(comparison.objectives)
    every = np.vstack([np.empty((0, width)), *found, *[scores[None] for scores, _ in references(comparison)]])
    every = every[np.isfinite(every).all(1)]
    if len(every) == 0:
        return np.zeros(width), np.ones(width)
    low, high = every.min(0), every.max(0)
    room, front = 0.5 * (high - low), exact_points(comparison)
    near = front[((front > low - room) & (front < high + room)).all(1)]
    if 2 * len(near) > len(front):
        low, high = np.minimum(low, near.min(0)), np.maximum(high, near.max(0))
    margin = 0.05 * np.maximum(high - low, 1e-6)
    return low - margin, high + margin


def exact_points(comparison: Comparison) -> Floats:
    """The world's exact front (F, M), which figures of two and three objectives show; none for more, or unknown."""
    width = len(comparison.objectives)
    return comparison.world.front if comparison.world and width < 4 else np.empty((0, width))


def exact_front(axes: Axes, comparison: Comparison, pair: tuple[int, int]) -> None:
    """The world's exact front in the plane of two objectives: a line for two, points for more."""
    plane = len(comparison.objectives) == 2
    front = exact_points(comparison)[:, list(pair)]
    front = front[np.lexsort(front.T[::-1])]
    axes.plot(*front.T, color=MUTED, linewidth=1.2 if plane else 0.0, linestyle=DOTTED, zorder=1,
              marker="" if plane else ".", markersize=2.5)  # fmt: skip


def keys_in(comparison: Comparison, limits: tuple[Floats, Floats]) -> list[Key]:
    """The key of a figure of points, with the exact front where some of it lies within ``limits``."""
    front = exact_points(comparison)
    seen = ((front >= limits[0]) & (front <= limits[1])).all(1).any()
    return [*point_keys(comparison), *([front_key(comparison)] if seen else [])]


def bound(axes: Axes, limits: tuple[Floats, Floats], pair: tuple[int, int]) -> None:
    """The frame of two objectives, from the least and the greatest score (M,) in view."""
    low, high = limits
    axes.set_xlim(low[pair[0]], high[pair[0]])
    axes.set_ylim(low[pair[1]], high[pair[1]])


# --- two objectives --------------------------------------------------------------------------------------------------


def plane_plate(comparison: Comparison) -> Plate:
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
        + one_mark(comparison)
        + ("z is the reference point of the hypervolume. " if _z_in_view(comparison) else "")
        + units(comparison)
    )  # fmt: skip
    panel = Panel(draw=partial(_draw_plane, comparison=comparison), alt=f"{spoken(comparison)}.", size=PLANE)
    return Plate(name="fronts", title="Fronts over each other", caption=caption, panels=[panel], columns=1,
                 key=keys_in(comparison, own_view(comparison)))  # fmt: skip


def _z_in_view(comparison: Comparison) -> bool:
    low, high = own_view(comparison)
    z = comparison.reference_point
    return bool((np.isfinite(z) & (z > low) & (z < high)).all())


def _draw_plane(axes: Axes, *, comparison: Comparison) -> None:
    exact_front(axes, comparison, (0, 1))
    for index, method in enumerate(comparison.methods):
        rows, dominated = shown_points(method)
        if method.band and method.steered:
            draw_band(axes, index, method.band.surfaces)
        order = by_preference(comparison.preferences, rows)
        if len(method.by_seed) > 1:
            for seed in method.by_seed:
                axes.plot(*seed[order].T, color=method_color(index), linewidth=0.6, alpha=0.45, zorder=2,
                          marker="" if len(order) > 1 else ".", markersize=3)  # fmt: skip
        axes.plot(*method.scores[order].T, color=method_color(index), linewidth=1.4, alpha=0.9, zorder=3)
        across, along = method.margins[rows].T
        bars(axes, index, *method.scores[rows].T, across=across, along=along)
        for hollow in (False, True):
            marks(axes, index, *method.scores[rows[dominated == hollow]].T, hollow=hollow)
    cross(axes, comparison, (0, 1))
    if _z_in_view(comparison):
        z = comparison.reference_point
        axes.scatter(z[:1], z[1:], marker="+", s=50, c=INK, linewidths=1.2, zorder=5)
        axes.annotate("z", (z[0], z[1]), xytext=(5, 4), textcoords="offset points", fontsize=9, color=INK)
    bound(axes, own_view(comparison), (0, 1))
    entitle(axes, comparison, (0, 1))


# --- one objective ---------------------------------------------------------------------------------------------------


def line_plate(comparison: Comparison) -> Plate:
    """One objective: a row per method."""
    name = comparison.objectives[0]
    said = "; ".join(f"{method.name} {number(float(method.scores[0, 0]), 2)}" for method in comparison.methods)
    seeded = any(len(method.by_seed) > 1 for method in comparison.methods)
    keys = [Key(label="reference policy", color=INK, marker="X")] if references(comparison) else []
    return Plate(
        name="fronts",
        title="What each method reaches",
        caption=POINTS + ("Small strokes: single seeds. " if seeded else "") + units(comparison),
        panels=[
            Panel(
                draw=partial(_draw_rows, comparison=comparison),
                alt=f"Score of {name}: {said}.",
                size=(6.2, 1.3 + 0.42 * len(comparison.methods)),
            )
        ],
        columns=1,
        key=[*method_keys(comparison), *keys],
    )


def _draw_rows(axes: Axes, *, comparison: Comparison) -> None:
    for index, method in enumerate(comparison.methods):
        rows, _ = shown_points(method)
        scores, places = method.scores[rows, 0], np.full(len(rows), float(index))
        bars(axes, index, scores, places, across=method.margins[rows, 0])
        if len(method.by_seed) > 1:
            seeds = method.by_seed[:, rows, 0].ravel()
            axes.scatter(seeds, np.full(len(seeds), float(index)), marker="|", s=80, c=method_color(index),
                         linewidths=1.0, zorder=3)  # fmt: skip
        marks(axes, index, scores, places)
    for scores, color in references(comparison):
        axes.axvline(scores[0], color=color, linewidth=0.9, linestyle=DOTTED, zorder=1)
        axes.scatter(scores[:1], [len(comparison.methods) - 0.4], marker="X", s=60, c=color, edgecolors=PAPER,
                     linewidths=0.8, zorder=6, clip_on=False)  # fmt: skip
    axes.set_yticks(range(len(comparison.methods)), [short(name, 22) for name in comparison.names])
    axes.set_ylim(len(comparison.methods) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.set_xlabel(comparison.objectives[0], color=objective_color(0), fontweight="bold")


# --- at matched KL ---------------------------------------------------------------------------------------------------


def matched_plate(comparison: Comparison, pairs: list[tuple[int, int]]) -> Plate | None:
    """The points when every method may spend the same KL, in each pair of objectives; None where none is known."""
    if not any(np.isfinite(method.matched).all(1).any() for method in comparison.methods):
        return None
    names = comparison.objectives
    panels = [
        Panel(
            draw=partial(_draw_matched, comparison=comparison, pair=pair),
            alt=f"{names[pair[0]]} against {names[pair[1]]} at matched KL.",
            size=PLANE if len(pairs) == 1 else (4.0, 3.6),
        )
        for pair in pairs
    ]
    keys = keys_in(comparison, _matched_view(comparison)) if len(pairs) == 1 else point_keys(comparison)
    lead = " Thin lines lead to the points at each method's own KL." if len(pairs) == 1 else ""
    return Plate(
        name="fronts-matched-kl",
        title="Fronts at matched KL",
        caption="What each method reaches when none may spend more KL than the budget of its preference: one that does "
        "is mixed with its reference policy, π_ref^(1−a) π^a, until it does not; an optimum stays one on that way."
        f"{lead} {units(comparison)}",
        panels=panels,
        columns=min(len(panels), 3),
        key=[key for key in keys if not key.hollow],
    )


def _matched_view(comparison: Comparison) -> tuple[Floats, Floats]:
    return view(comparison, [method.matched for method in comparison.methods])


def _draw_matched(axes: Axes, *, comparison: Comparison, pair: tuple[int, int]) -> None:
    columns, plane = list(pair), len(comparison.objectives) == 2
    if plane:
        exact_front(axes, comparison, pair)
    for index, method in enumerate(comparison.methods):
        color, finite = method_color(index), np.isfinite(method.matched).all(1)
        rows = by_preference(comparison.preferences, np.flatnonzero(finite & np.isfinite(method.scores).all(1)))
        own, matched = method.scores[rows][:, columns], method.matched[rows][:, columns]
        if plane:
            for ends in np.stack([own, matched], 2):
                axes.plot(*ends, color=color, linewidth=0.6, alpha=0.3, zorder=2)
            axes.plot(*matched.T, color=color, linewidth=1.4, alpha=0.9, zorder=3)
        marks(axes, index, *matched.T, size=46 if plane else 26)
    cross(axes, comparison, pair)
    bound(axes, _matched_view(comparison), pair)
    entitle(axes, comparison, pair)
