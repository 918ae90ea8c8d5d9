"""What figures of policies share: how points, staircases, sheets and parallel coordinates look, and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection
from numpy.typing import NDArray

from mora.records.read import Floats
from mora.report.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    Key,
    Line,
    method_color,
    method_marker,
    number,
    objective_color,
    preference_colors,
    short,
)

Rows = NDArray[np.intp]
Pair = tuple[int, int]  # two objectives, by their places
SAME = 1e-9  # scores that differ by less are those of one policy
DOTTED, DASHED = (0, (1, 1.6)), (0, (4, 2))
SIZES = {"o": 1.0, "s": 0.85, "^": 1.05, "D": 0.72, "v": 1.05, "P": 1.15, "h": 1.1}  # areas that look alike


@dataclass(frozen=True)
class Look:
    """How the points of one policy look: a color for all or one for each, a shape, and the rim of full marks."""

    colors: str | Sequence[str]
    marker: str = "o"
    rim: str = PAPER

    def among(self, rows: Rows) -> Any:
        """The colors of the points ``rows`` (n,)."""
        return self.colors if isinstance(self.colors, str) else [self.colors[row] for row in rows]


def method_look(index: int) -> Look:
    """The look of a compared method."""
    return Look(method_color(index), method_marker(index))


def preference_look(preferences: Floats) -> Look:
    """The look of points (P,) that are told apart by their preferences (P, M)."""
    return Look(preference_colors(preferences), rim=INK)


class Named(Protocol):
    """Whatever compares methods that have names."""

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names in their order."""


def method_keys(comparison: Named, *, line: Line = "") -> list[Key]:
    """One entry per method, in their order."""
    return [
        Key(label=name, color=method_color(i), marker=method_marker(i), line=line)
        for i, name in enumerate(comparison.names)
    ]


# --- points ----------------------------------------------------------------------------------------------------------


def points(axes: Axes, places: Floats, look: Look, *, errors: Floats | None = None, hollow: Any = False,
           size: float = 46.0, clip: bool = True) -> None:  # fmt: skip
    """Marks at places (n, 2), all or some of them ``hollow``, with bars of half widths ``errors`` (n, 2).

    ``size`` is in square points.
    """
    if errors is not None:
        bars(axes, places, look, xerr=errors[:, 0], yerr=errors[:, 1])
    for hole, rows in _full_and_hollow(hollow, len(places)):
        colors = look.among(rows)
        x, y = places[rows].T
        axes.scatter(x, y, marker=look.marker, s=size * SIZES[look.marker], c=PAPER if hole else colors,
                     edgecolors=colors if hole else look.rim, linewidths=1.4 if hole else 0.6, zorder=5,
                     clip_on=clip)  # fmt: skip


def _full_and_hollow(hollow: Any, count: int) -> list[tuple[bool, Rows]]:
    """Whether they are hollow and the rows (n,), of those that are not and of those that are, as far as there are."""
    every = np.broadcast_to(np.asarray(hollow, dtype=bool), (count,))
    return [(hole, rows) for hole in (False, True) if len(rows := np.flatnonzero(every == hole))]


def bars(axes: Axes, places: Floats, look: Look, **lengths: Floats) -> None:
    """Intervals at places (n, 2): half widths (n,) or lengths (2, n), ``xerr`` and ``yerr``; unknown ones are 0."""
    if len(places):
        known: Any = {side: np.nan_to_num(values) for side, values in lengths.items()}
        colors: Any = look.colors
        x, y = places.T
        axes.errorbar(x, y, **known, fmt="none", ecolor=colors, elinewidth=1.0, alpha=0.6, zorder=4)


def cross(axes: Axes, point: Floats, color: str = INK) -> None:
    """A reference policy at a point (2,), below the marks of policies that may be the same."""
    axes.scatter(point[:1], point[1:], marker="X", s=76, c=color, edgecolors=PAPER, linewidths=0.8, zorder=4.5)


def origin(axes: Axes, z: Floats) -> None:
    """The reference point (2,) of a hypervolume."""
    axes.scatter(z[:1], z[1:], marker="+", s=50, c=INK, linewidths=1.2, zorder=5)
    axes.annotate("z", (z[0], z[1]), xytext=(5, 4), textcoords="offset points", fontsize=9, color=INK)


def name_marks(axes: Axes, **labels: str) -> None:
    """Legend entries for points, by what they are: ``reached="policy"``."""
    looks: dict[str, Any] = {
        "reached": {"marker": "o", "markersize": 6.5, "markeredgecolor": INK, "markeredgewidth": 0.6},
        "dominated": {"marker": "o", "markersize": 6.5, "markerfacecolor": PAPER, "markeredgewidth": 1.6},
        "best": {"marker": "D", "markersize": 5.5, "markerfacecolor": PAPER, "markeredgewidth": 1.3},
        "reference": {"marker": "X", "markersize": 7.5, "markerfacecolor": INK, "markeredgecolor": PAPER},
        "front": {"linewidth": 1.2, "linestyle": DOTTED},
    }
    for name, label in labels.items():
        axes.plot([], [], label=label, **{"color": MUTED, "linewidth": 0.0} | looks[name])


def exact_front(axes: Axes, front: Floats, pair: Pair) -> None:
    """The exact front (F, M) of a synthetic task, in two objectives: a line for M of two, points for more."""
    plane, points = front.shape[1] == 2, front[:, list(pair)]
    points = points[np.lexsort(points.T[::-1])]
    axes.plot(*points.T, color=MUTED, linewidth=1.2 if plane else 0.0, linestyle=DOTTED, zorder=1,
              marker="" if plane else ".", markersize=3)  # fmt: skip


def by_preference(preferences: Floats, rows: Rows) -> Rows:
    """Those ``rows`` (n,) of preferences in ascending order of their weights."""
    return rows[np.lexsort(preferences[rows].T[::-1])]


def entitle(axes: Axes, objectives: Sequence[str], pair: Pair, unit: str = "") -> None:
    """The names of two objectives along the axes, in their colors, with the ``unit`` of their scores."""
    x, y = pair
    axes.set_xlabel(f"{objectives[x]}{unit}", color=objective_color(x), fontweight="bold")
    axes.set_ylabel(f"{objectives[y]}{unit}", color=objective_color(y), fontweight="bold")


def weights_label(preference: Floats, objectives: Sequence[str]) -> str:
    """A preference by the names that have weight: ``0.3 cure + 0.7 care``, ``cure alone`` or ``balanced``."""
    named = [(w, o) for w, o in zip(preference, objectives, strict=True) if w > SAME]
    if len(named) == 1:
        return f"{short(named[0][1], 14)} alone"
    if len(named) == len(preference) and np.ptp(preference) < 1e-6:
        return "balanced"
    return " + ".join(f"{w:.2g} {short(o, 14)}" for w, o in named)


# --- staircases ------------------------------------------------------------------------------------------------------


def attained(corners: Floats, x: Floats, floor: float) -> Floats:
    """The height (n,) up to which corners (C, 2) of an attainment surface dominate at ``x`` (n,); else ``floor``."""
    reach = np.where(corners[None, :, 0] >= x[:, None], corners[None, :, 1], floor)
    return np.asarray(np.maximum(reach.max(1, initial=floor), floor))


def draw_band(axes: Axes, color: str, surfaces: Sequence[Floats]) -> None:
    """The area between the surfaces of the least and the greatest level, and the middle surface as a line.

    Staircases run a little beyond the outermost corners, though they have no end there.
    """
    full = [surface for surface in surfaces if len(surface)]
    if not full:
        return
    corners = np.vstack(full)
    low, high = corners.min(0), corners.max(0)
    tail = np.maximum(0.06 * (high - low), SAME)
    edges = np.unique(np.concatenate([[low[0] - tail[0]], corners[:, 0]]))
    middles, floor = (edges[:-1] + edges[1:]) / 2, low[1] - tail[1]
    steps = [np.repeat(attained(surface, middles, floor), 2) for surface in full]
    x = np.repeat(edges, 2)[1:-1]
    axes.fill_between(x, steps[-1], steps[0], color=color, alpha=0.16, linewidth=0, zorder=1)
    central = full[len(full) // 2]
    ends = np.append(np.repeat(attained(central, middles, floor), 2), floor)
    inside = np.append(x, x[-1]) <= central[:, 0].max()
    stairs = np.column_stack([np.append(x, x[-1])[inside], ends[inside]])
    stairs = np.vstack([stairs, [central[:, 0].max(), floor]])
    axes.plot(*stairs.T, color=color, linewidth=0.9, alpha=0.75, linestyle=(0, (3, 1.5)), zorder=2)


# --- sheets in space -------------------------------------------------------------------------------------------------


def lattice_edges(preferences: Floats) -> list[Pair]:
    """Neighbors among preferences (P, M): they differ in two weights only, by the smallest step there is."""
    steps = {}
    for a, b in combinations(range(len(preferences)), 2):
        change = np.abs(preferences[a] - preferences[b])
        if (change > 1e-9).sum() == 2:
            steps[a, b] = float(change.max())
    return [pair for pair, step in steps.items() if step < 1.01 * min(steps.values())]


def sheet(axes: Axes3D, scores: Floats, preferences: Floats, look: Look, *, rows: Rows, hollow: Any = False,
          size: float = 34.0) -> None:  # fmt: skip
    """The points ``rows`` (n,) of scores (P, 3), joined by lines and triangles where preferences are neighbors."""
    edges = [edge for edge in lattice_edges(preferences) if {*rows.tolist()}.issuperset(edge)]
    near = set(edges)
    faces = [list(c) for c in combinations(sorted(rows.tolist()), 3) if all(e in near for e in combinations(c, 2))]
    one = isinstance(look.colors, str)
    shades: Any = look.colors if one else [preference_colors(preferences[f].mean(0)[None])[0] for f in faces]
    if faces:
        sides = [scores[face] for face in faces]
        axes.add_collection3d(Poly3DCollection(sides, facecolors=shades, alpha=0.1 if one else 0.35, linewidths=0))
    if edges:
        lines, color = [scores[list(edge)] for edge in edges], shades if one else MUTED
        axes.add_collection3d(Line3DCollection(lines, colors=color, linewidths=0.7, alpha=0.7))
    for hole, some in _full_and_hollow(hollow, len(rows)):
        colors = look.among(rows[some])
        axes.scatter(*scores[rows[some]].T, marker=look.marker, s=size * SIZES[look.marker], depthshade=False, zorder=3,
                     c=PAPER if hole else colors, edgecolors=colors if hole else look.rim,
                     linewidths=1.2 if hole else 0.5)  # fmt: skip


def space(axes: Axes3D, objectives: Sequence[str], front: Floats, *, azimuth: float) -> None:
    """Three objectives in space, seen from ``azimuth`` degrees, and the exact front (F, 3), where there is one."""
    axes.computed_zorder = False
    axes.view_init(elev=23, azim=azimuth)
    if len(front):
        axes.scatter(*front.T, s=6, c=MUTED, alpha=0.55, linewidths=0, depthshade=False, label="exact front")
    setters = (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel)
    for index, (label, axis) in enumerate(zip(setters, (axes.xaxis, axes.yaxis, axes.zaxis), strict=True)):
        label(objectives[index], color=objective_color(index), fontweight="bold")
        axis.pane.set(facecolor="none", edgecolor=GRID)
        axis.line.set_color(MUTED)
    axes.set_box_aspect(None, zoom=0.92)


def cross_in_space(axes: Axes3D, point: Floats, color: str = INK) -> None:
    """A reference policy at a point (3,)."""
    axes.scatter(*point[:, None], marker="X", s=66, c=color, edgecolors=PAPER, depthshade=False, zorder=6,
                 label="reference policy")  # fmt: skip


# --- parallel coordinates --------------------------------------------------------------------------------------------


def parallel(axes: Axes, objectives: Sequence[str], scores: Floats, look: Look, *, heavy: Any, reference: Floats | None,
             limits: tuple[Floats, Floats]) -> None:  # fmt: skip
    """A line for each of the scores (n, M), some ``heavy`` (n,), on axes that run from the low to the high limits (M,).

    The reference policy (M,) is dashed.
    """
    (low, high), places = limits, np.arange(len(objectives))

    def scaled(row: Floats) -> Floats:
        return np.asarray((row - low) / np.maximum(high - low, 1e-12))

    for row, (values, thick) in enumerate(zip(scores, np.broadcast_to(heavy, len(scores)), strict=True)):
        axes.plot(places, scaled(values), color=look.colors if isinstance(look.colors, str) else look.colors[row],
                  linewidth=2.5 if thick else 1.0, alpha=1.0 if thick else 0.75, marker=look.marker,
                  markersize=5 if thick else 3, zorder=3 if thick else 2)  # fmt: skip
    if reference is not None:
        axes.plot(places, scaled(reference), color=INK, linewidth=1.5, linestyle=DASHED, zorder=4)
    for place in places:
        axes.axvline(float(place), color=GRID, linewidth=1.0, zorder=0)
        for value, height, side in ((high[place], 1.05, "bottom"), (low[place], -0.05, "top")):
            axes.annotate(number(float(value), 2), (place, height), ha="center", va=side, fontsize=8, color=MUTED)
    axes.set_xticks(places, [short(name, 14) for name in objectives], fontweight="bold")
    for index, label in enumerate(axes.get_xticklabels()):
        label.set_color(objective_color(index))
    axes.set_yticks([])
    axes.set_ylim(-0.16, 1.16)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
