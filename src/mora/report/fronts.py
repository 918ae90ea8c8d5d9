"""What scores the preferences reach, two objectives at a time, and the parts that every figure of a front shares."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mora.functional.pareto import non_dominated
from mora.records.front import Front
from mora.report.style import GRID, INK, MUTED, PAPER, Z95, Panel, Plate, legend_above, preference_colors, weight_bar

SCORER_NAMES = {"gold": "gold score", "reward": "learned reward"}
POINTS = (
    "One point per preference, the mean over prompts and samples; bars are 95 % intervals, clustered by prompt. "
    "A hollow point is dominated by another one. "
)


def scorer_title(front: Front, scorer: str) -> str:
    """``Gold score, the judge``."""
    title = SCORER_NAMES[scorer].capitalize()
    return f"{title}, the judge" if scorer == front.judge and len(front.shown) > 1 else title


def spoken_ends(front: Front, scorer: str) -> str:
    """The scores at the extreme preferences, in words, for alternative texts."""
    parts = []
    for index, name in enumerate(front.objectives):
        row = int(front.preferences[:, index].argmax())
        reached = ", ".join(f"{o} {v:.2f}" for o, v in zip(front.objectives, front.scores[scorer][row], strict=True))
        parts.append(f"with the most weight on {name}: {reached}")
    return "; ".join(parts)


def keep(front: Front, scorer: str) -> np.ndarray:
    """True for the points (P,) that no other point dominates, equal ones all; never for one with a missing score."""
    scores = front.scores[scorer]
    finite = scores[np.isfinite(scores).all(axis=1)]
    best = finite[non_dominated(finite)]
    return np.asarray((scores[:, None, :] == best[None, :, :]).all(-1).any(1))


# --- two objectives --------------------------------------------------------------------------------------------------


def plane_plate(front: Front) -> Plate:
    """Two objectives: one panel per scorer."""
    truth = "Behind it, the world's exact front and the best point for each preference without a KL term. "
    panels = [
        Panel(
            draw=partial(draw_plane, front=front, scorer=scorer, pair=(0, 1), key=True),
            alt=f"Front on the {SCORER_NAMES[scorer]}, {len(front.preferences)} preferences; "
            f"{spoken_ends(front, scorer)}.",
            size=(5.4, 4.3),
        )
        for scorer in front.shown
    ]
    return Plate(
        name="front",
        title="What each preference reaches",
        caption=POINTS
        + (truth if front.world is not None and "gold" in front.scores else "")
        + "The shaded area is the hypervolume above the reference point z, where z is in view."
        + spoken_units(front),
        panels=panels,
        columns=2,
    )


def draw_plane(axes: Axes, *, front: Front, scorer: str, pair: tuple[int, int], key: bool) -> None:
    """Points of two objectives with intervals; ``key`` adds what only a front of two objectives has."""
    x, y = pair
    colors, scores = preference_colors(front.preferences), front.scores[scorer]
    there = np.isfinite(scores[:, x] + scores[:, y])
    kept = keep(front, scorer) if key else there
    if scorer == "gold":
        _draw_world(axes, front, pair, colors)
    if key:
        order = np.argsort(front.preferences[:, x], kind="stable")
        order = order[there[order]]
        axes.plot(scores[order, x], scores[order, y], color=MUTED, linewidth=1.0, zorder=2)
    for hollow in (False, True):
        _draw_points(axes, front, scorer, pair, np.flatnonzero(there & (kept != hollow)), hollow)
    _draw_reference(axes, front, scorer, pair)
    axes.set_xlabel(f"{front.objectives[x]} ({SCORER_NAMES[scorer]})")
    axes.set_ylabel(f"{front.objectives[y]} ({SCORER_NAMES[scorer]})")
    axes.margins(0.08)
    if key:
        _draw_volume(axes, front, scorer)
        weight_bar(axes, front.objectives[0])
        axes.set_title(scorer_title(front, scorer))
        _legend(axes, front, scorer, bool((there & ~kept).any()))


def _draw_points(
    axes: Axes, front: Front, scorer: str, pair: tuple[int, int], rows: NDArray[np.int64], hollow: bool
) -> None:
    if len(rows) == 0:
        return
    colors: Any = preference_colors(front.preferences[rows])
    x, y = front.scores[scorer][rows][:, list(pair)].T
    across, along = Z95 * np.nan_to_num(front.errors[scorer][rows][:, list(pair)].T)
    axes.errorbar(x, y, xerr=across, yerr=along, fmt="none", ecolor=colors, elinewidth=1.1, alpha=0.75, zorder=3)
    axes.scatter(x, y, s=52, c=PAPER if hollow else colors, edgecolors=colors if hollow else INK,
                 linewidths=1.6 if hollow else 0.6, zorder=4)  # fmt: skip


def spoken_units(front: Front) -> str:
    """The units of the scores, as the end of a caption."""
    return "".join(f" {SCORER_NAMES[s].capitalize()}: {front.units[s]}." for s in front.shown if s in front.units)


def _draw_reference(axes: Axes, front: Front, scorer: str, pair: tuple[int, int]) -> None:
    if scorer not in front.reference:
        return
    x, y = front.reference[scorer][list(pair)]
    axes.scatter([x], [y], marker="X", s=70, c=INK, edgecolors=PAPER, linewidths=0.8, zorder=5)


def _draw_world(axes: Axes, front: Front, pair: tuple[int, int], colors: list[str]) -> None:
    x, y = pair
    plane = len(front.objectives) == 2
    if front.world is not None:
        exact = front.world.front
        exact = exact[np.lexsort((exact[:, y], exact[:, x]))]
        axes.plot(exact[:, x], exact[:, y], color=MUTED, linewidth=1.0 if plane else 0.0, linestyle=(0, (1, 1.6)),
                  marker="o", markersize=2.6, zorder=1)  # fmt: skip
    if front.world is not None and plane:
        best = front.world.best
        if len(best) == len(colors):
            for reached, possible, color in zip(front.scores["gold"], best, colors, strict=True):
                axes.plot([reached[x], possible[x]], [reached[y], possible[y]], color=color, linewidth=0.8, alpha=0.55,
                          zorder=1)  # fmt: skip
        edges = colors if len(best) == len(colors) else MUTED
        axes.scatter(best[:, x], best[:, y], marker="D", s=38, c=PAPER, edgecolors=edges, linewidths=1.3, zorder=2)


def _legend(axes: Axes, front: Front, scorer: str, dominated: bool) -> None:
    """What the marks mean, above the frame."""
    line = partial(axes.plot, [], [], color=MUTED, linewidth=0.0)
    line(marker="o", markersize=6.5, markerfacecolor=MUTED, markeredgecolor=INK, markeredgewidth=0.6, label="reached")
    if dominated:
        line(marker="o", markersize=6.5, markerfacecolor=PAPER, markeredgewidth=1.6, label="reached, dominated")
    if scorer == "gold" and front.world is not None:
        line(marker="D", markersize=5.5, markerfacecolor=PAPER, label="best possible, no KL term")
    if scorer == "gold" and front.world is not None:
        axes.plot([], [], color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.6)), marker="o", markersize=2.6,
                  label="exact front")  # fmt: skip
    if scorer in front.reference:
        line(marker="X", markersize=7.5, markerfacecolor=INK, markeredgecolor=PAPER, label="reference policy")
    legend_above(axes, 3)


def _draw_volume(axes: Axes, front: Front, scorer: str) -> None:
    """Shade the area that the hypervolume measures, if z lies near enough to keep the points readable."""
    if scorer not in front.reference_point:
        return
    z = front.reference_point[scorer].values
    points = front.scores[scorer][keep(front, scorer)]
    points = points[(points > z).all(1)]
    if len(points) == 0:
        return
    low, high = np.nanmin(front.scores[scorer], axis=0), np.nanmax(front.scores[scorer], axis=0)
    if (low - z > 1.5 * np.maximum(high - low, 1e-9)).any():
        return
    points = points[np.argsort(points[:, 0])]
    xs = np.concatenate([[z[0]], np.repeat(points[:, 0], 2)])
    ys = np.concatenate([np.repeat(points[:, 1], 2), [z[1]]])
    axes.fill_between(xs, ys, z[1], color=GRID, alpha=0.65, linewidth=0, zorder=0)
    axes.scatter([z[0]], [z[1]], marker="+", s=45, c=MUTED, linewidths=1.2, zorder=2)
    axes.annotate("z", (z[0], z[1]), xytext=(4, 4), textcoords="offset points", fontsize=8, color=MUTED)
