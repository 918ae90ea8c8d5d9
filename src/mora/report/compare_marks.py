"""What the figures of a comparison share: how a method is drawn, staircases, and the entries of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mora.records.compare import Comparison, Method
from mora.records.read import Floats
from mora.report.style import INK, MUTED, PAPER, Key, Line, method_color, method_marker, objective_color, short

Rows = NDArray[np.intp]
SAME = 1e-9  # scores that differ by less are those of one policy
DOTTED = (0, (1, 1.6))
SIZES = {"o": 1.0, "s": 0.85, "^": 1.05, "D": 0.72, "v": 1.05, "P": 1.15, "h": 1.1}  # areas that look alike


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


def point_keys(comparison: Comparison) -> list[Key]:
    """The entries of a figure of points: methods, what a hollow mark is, the reference policy."""
    keys = method_keys(comparison)
    if any(shown_points(method)[1].any() for method in comparison.methods):
        keys.append(Key(label="hollow: dominated", color=MUTED, marker="o", hollow=True))
    if references(comparison):
        keys.append(Key(label="reference policy", color=INK, marker="X"))
    return keys


def front_key(comparison: Comparison) -> Key:
    """The entry of the world's exact front."""
    plane = len(comparison.objectives) == 2
    return Key(label="exact front", color=MUTED, line=":" if plane else "", marker="" if plane else ".")


def shown_points(method: Method) -> tuple[Rows, NDArray[np.bool_]]:
    """The rows (n,) of a method's points that a figure shows, and which of them (n,) are dominated.

    A method that is not steered is one policy, so one mark.
    """
    rows = np.flatnonzero(np.isfinite(method.scores).all(1))
    if not method.steered:
        return rows[:1], np.zeros(len(rows[:1]), dtype=bool)
    return rows, method.dominated[rows]


def references(comparison: Comparison) -> list[tuple[Floats, str]]:
    """The distinct reference policies as (scores (M,), color): ink for one alone, else that of the method."""
    found: list[tuple[Floats, str]] = []
    for index, method in enumerate(comparison.methods):
        scores = method.reference.scores
        if np.isfinite(scores).all() and not any(np.allclose(scores, other, atol=SAME) for other, _ in found):
            found.append((scores, method_color(index)))
    return [(found[0][0], INK)] if len(found) == 1 else found


def marks(axes: Axes, index: int, x: Floats, y: Floats, *, hollow: bool = False, size: float = 46.0) -> None:
    """Marks of the method ``index`` at (n,) places; ``size`` is in square points."""
    if len(x):
        marker, color = method_marker(index), method_color(index)
        axes.scatter(x, y, marker=marker, s=size * SIZES[marker], c=PAPER if hollow else color,
                     edgecolors=color if hollow else PAPER, linewidths=1.3 if hollow else 0.5, zorder=5)  # fmt: skip


def bars(axes: Axes, index: int, x: Floats, y: Floats, *, across: Any = None, along: Any = None) -> None:
    """Intervals at (n,) places of half widths ``across`` and ``along`` the axes; unknown ones are 0."""
    lengths = {k: np.nan_to_num(e) for k, e in (("xerr", across), ("yerr", along)) if e is not None}
    if len(x):
        axes.errorbar(x, y, **lengths, fmt="none", ecolor=method_color(index), elinewidth=0.9, alpha=0.55, zorder=4)


def cross(axes: Axes, comparison: Comparison, pair: tuple[int, int]) -> None:
    """The reference policies in the plane of two objectives, below the marks of methods that may be the same policy."""
    for scores, color in references(comparison):
        x, y = scores[list(pair)]
        axes.scatter([x], [y], marker="X", s=84, c=color, edgecolors=PAPER, linewidths=0.8, zorder=4.5)


def by_preference(preferences: Floats, rows: Rows) -> Rows:
    """Those ``rows`` (n,) of preferences in ascending order of their weights."""
    return rows[np.lexsort(preferences[rows].T[::-1])]


def attained(corners: Floats, x: Floats, floor: float) -> Floats:
    """The height (n,) up to which corners (C, 2) of an attainment surface dominate at ``x`` (n,); else ``floor``."""
    reach = np.where(corners[None, :, 0] >= x[:, None], corners[None, :, 1], floor)
    return np.asarray(np.maximum(reach.max(1, initial=floor), floor))


def draw_band(axes: Axes, index: int, surfaces: Sequence[Floats]) -> None:
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
    middles, floor, color = (edges[:-1] + edges[1:]) / 2, low[1] - tail[1], method_color(index)
    steps = [np.repeat(attained(surface, middles, floor), 2) for surface in full]
    x = np.repeat(edges, 2)[1:-1]
    axes.fill_between(x, steps[-1], steps[0], color=color, alpha=0.16, linewidth=0, zorder=1)
    central = full[len(full) // 2]
    ends = np.append(np.repeat(attained(central, middles, floor), 2), floor)
    inside = np.append(x, x[-1]) <= central[:, 0].max()
    stairs = np.column_stack([np.append(x, x[-1])[inside], ends[inside]])
    stairs = np.vstack([stairs, [central[:, 0].max(), floor]])
    axes.plot(*stairs.T, color=color, linewidth=0.9, alpha=0.75, linestyle=(0, (3, 1.5)), zorder=2)


def entitle(axes: Axes, comparison: Comparison, pair: tuple[int, int]) -> None:
    """The names of two objectives along the axes, in their colors."""
    axes.set_xlabel(comparison.objectives[pair[0]], color=objective_color(pair[0]), fontweight="bold")
    axes.set_ylabel(comparison.objectives[pair[1]], color=objective_color(pair[1]), fontweight="bold")


def spoken(comparison: Comparison) -> str:
    """What each method reaches at the extreme preferences, in words, for alternative texts."""
    parts = []
    for method in comparison.methods:
        if not method.steered:
            parts.append(f"{method.name}, one policy: {_reached(comparison, method, 0)}")
            continue
        ends = dict.fromkeys(int(column.argmax()) for column in comparison.preferences.T)
        labels = [weights_label(comparison.preferences[row], comparison.objectives) for row in ends]
        said = [f"at {label}: {_reached(comparison, method, row)}" for label, row in zip(labels, ends, strict=True)]
        parts.append(f"{method.name} {'; '.join(said)}")
    return ". ".join(parts)


def weights_label(preference: Floats, objectives: Sequence[str]) -> str:
    """A preference by the names that have weight: ``0.3 cure + 0.7 care``, ``cure alone`` or ``balanced``."""
    named = [(w, o) for w, o in zip(preference, objectives, strict=True) if w > SAME]
    if len(named) == 1:
        return f"{short(named[0][1], 14)} alone"
    if len(named) == len(preference) and np.ptp(preference) < 1e-6:
        return "balanced"
    return " + ".join(f"{w:.2g} {short(o, 14)}" for w, o in named)


def _reached(comparison: Comparison, method: Method, row: int) -> str:
    return ", ".join(f"{o} {v:.2f}" for o, v in zip(comparison.objectives, method.scores[row], strict=True))
