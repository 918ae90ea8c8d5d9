"""What scores the preferences reach by one policy: a plane, a sheet in space or parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from mora.functional.pareto import non_dominated
from mora.records.front import Front
from mora.records.read import Floats
from mora.report import marks
from mora.report.marks import Look, Pair, preference_look
from mora.report.style import GRID, MUTED, Z95, Panel, Plate, legend_above, objective_color, weight_bar

SCORER_NAMES = {"gold": "gold score", "reward": "learned reward"}
TITLE = "What each preference reaches"
POINTS = (
    "One point per preference, the mean over prompts and samples; bars are 95 % intervals, clustered by prompt. "
    "A hollow point is dominated by another one. "
)


def scorer_title(front: Front, scorer: str) -> str:
    """``Gold score, the judge``."""
    title = SCORER_NAMES[scorer].capitalize()
    return f"{title}, the judge" if scorer == front.judge and len(front.shown) > 1 else title


def keep(front: Front, scorer: str) -> np.ndarray:
    """True for the points (P,) that no other point dominates, equal ones all; never for one with a missing score."""
    scores = front.scores[scorer]
    finite = scores[np.isfinite(scores).all(axis=1)]
    best = finite[non_dominated(finite)]
    return np.asarray((scores[:, None, :] == best[None, :, :]).all(-1).any(1))


def front_plates(front: Front) -> list[Plate]:
    """The plates that suit the number of objectives; none for a single objective."""
    count = len(front.objectives)
    if count < 2 or len(front.preferences) == 0:
        return []
    if count == 2:
        return [plane_plate(front)]
    if count == 3:
        return [_space_plate(front), *[_pairs_plate(front, scorer) for scorer in front.shown]]
    return [_parallel_plate(front)]


def _spoken_ends(front: Front, scorer: str) -> str:
    """The scores at the extreme preferences, in words, for alternative texts."""
    parts = []
    for index, name in enumerate(front.objectives):
        row = int(front.preferences[:, index].argmax())
        reached = ", ".join(f"{o} {v:.2f}" for o, v in zip(front.objectives, front.scores[scorer][row], strict=True))
        parts.append(f"with the most weight on {name}: {reached}")
    return "; ".join(parts)


def _units(front: Front) -> str:
    """The units of the scores, as the end of a caption."""
    return "".join(f" {SCORER_NAMES[s].capitalize()}: {front.units[s]}." for s in front.shown if s in front.units)


def _exact(front: Front, scorer: str) -> Floats:
    """The exact front (F, M), on the gold score alone."""
    known = scorer == "gold" and front.world is not None
    return front.world.front if known and front.world else np.empty((0, len(front.objectives)))


# --- two objectives at a time ----------------------------------------------------------------------------------------


def plane_plate(front: Front) -> Plate:
    """Two objectives: one panel per scorer."""
    truth = "Behind it, the task's exact front and the best point for each preference without a KL term. "
    return Plate(
        name="front",
        title=TITLE,
        caption=POINTS
        + (truth if front.world is not None and "gold" in front.scores else "")
        + "The shaded area is the hypervolume above the reference point z, where z is in view."
        + _units(front),
        panels=[
            Panel(
                draw=partial(_draw_plane, front=front, scorer=scorer),
                alt=f"Front on the {SCORER_NAMES[scorer]}, {len(front.preferences)} preferences; "
                f"{_spoken_ends(front, scorer)}.",
                size=(5.4, 4.3),
            )
            for scorer in front.shown
        ],
        columns=2,
    )


def _pairs_plate(front: Front, scorer: str) -> Plate:
    return Plate(
        name=f"front-pairs-{scorer}",
        title=f"The front in pairs: {scorer_title(front, scorer).lower()}",
        caption="The same points, two objectives at a time; bars are 95 % intervals, clustered by prompt. The cross is "
        "the reference policy; gray points are the exact front of the task.",
        panels=[
            Panel(
                draw=partial(_draw_pair, front=front, scorer=scorer, pair=pair),
                alt=f"{front.objectives[pair[0]]} against {front.objectives[pair[1]]} on the {SCORER_NAMES[scorer]}.",
            )
            for pair in combinations(range(3), 2)
        ],
        columns=3,
    )


def _draw_pair(axes: Axes, *, front: Front, scorer: str, pair: Pair, hollow: Any = None) -> None:
    """Points of two objectives with intervals, the reference policy and the exact front."""
    scores, errors = (table[scorer][:, list(pair)] for table in (front.scores, front.errors))
    there = np.isfinite(scores).all(1)
    marks.exact_front(axes, _exact(front, scorer), pair)
    marks.points(axes, scores[there], preference_look(front.preferences[there]), errors=Z95 * errors[there],
                 hollow=False if hollow is None else hollow[there], size=52)  # fmt: skip
    if scorer in front.reference:
        marks.cross(axes, front.reference[scorer][list(pair)])
    marks.entitle(axes, front.objectives, pair, f" ({SCORER_NAMES[scorer]})")
    axes.margins(0.08)


def _draw_plane(axes: Axes, *, front: Front, scorer: str) -> None:
    """All that a front of two objectives has."""
    scores, hollow = front.scores[scorer], ~keep(front, scorer)
    there = np.asarray(np.isfinite(scores).all(1))
    order = np.argsort(front.preferences[:, 0], kind="stable")
    axes.plot(*scores[order[there[order]]].T, color=MUTED, linewidth=1.0, zorder=2)
    if scorer == "gold":
        _draw_best(axes, front)
    _draw_pair(axes, front=front, scorer=scorer, pair=(0, 1), hollow=hollow)
    _draw_volume(axes, front, scorer)
    weight_bar(axes, front.objectives[0])
    axes.set_title(scorer_title(front, scorer))
    _legend(axes, front, scorer, bool((there & hollow).any()))


def _draw_best(axes: Axes, front: Front) -> None:
    """The best point of each preference, and how far the policy is from it."""
    if front.world is None:
        return
    best, look = front.world.best, preference_look(front.preferences)
    same = len(best) == len(front.preferences)
    for reached, possible, color in zip(front.scores["gold"], best, look.colors, strict=True) if same else ():
        axes.plot(*np.stack([reached, possible], 1), color=color, linewidth=0.8, alpha=0.55, zorder=1)
    marks.points(axes, best, Look(look.colors if same else MUTED, "D"), hollow=True, size=50)


def _legend(axes: Axes, front: Front, scorer: str, dominated: bool) -> None:
    """What the marks mean, above the frame."""
    marks.name_marks(axes, reached="reached")
    if dominated:
        marks.name_marks(axes, dominated="reached, dominated")
    if scorer == "gold" and front.world is not None:
        marks.name_marks(axes, best="best possible, no KL term", front="exact front")
    if scorer in front.reference:
        marks.name_marks(axes, reference="reference policy")
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
    marks.origin(axes, z)


# --- three objectives, and more --------------------------------------------------------------------------------------


def _space_plate(front: Front) -> Plate:
    panels = [
        Panel(
            draw=partial(_draw_space, front=front, scorer=scorer),
            alt=f"Front in three dimensions on the {SCORER_NAMES[scorer]}; {_spoken_ends(front, scorer)}.",
            projection="3d",
            size=(5.0, 4.3),
        )
        for scorer in front.shown
    ]
    key = Panel(
        draw=partial(_draw_simplex, preferences=front.preferences, names=front.objectives),
        alt=f"Key: the triangle of preferences, its corners are {', '.join(front.objectives)}.",
        size=(5.0, 4.3),
    )
    return Plate(
        name="front",
        title=TITLE,
        caption="One point per preference, colored as in the triangle; lines join neighboring preferences, so the "
        "sheet is the image of the triangle. Gray points are the task's exact front where it is known." + _units(front),
        panels=[*panels, key],
        columns=3,
    )


def _draw_space(axes: Axes3D, *, front: Front, scorer: str) -> None:
    marks.space(axes, front.objectives, _exact(front, scorer), azimuth=38)
    if scorer in front.reference:
        marks.cross_in_space(axes, front.reference[scorer])
    rows = np.flatnonzero(np.isfinite(front.scores[scorer]).all(1))
    marks.sheet(axes, front.scores[scorer], front.preferences, preference_look(front.preferences), rows=rows, size=46)
    axes.set_title(scorer_title(front, scorer))
    axes.legend(loc="upper left", borderaxespad=0.0)


def _draw_simplex(axes: Axes, *, preferences: Floats, names: Sequence[str]) -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    axes.fill(*corners.T, facecolor="none", edgecolor=GRID, linewidth=1.2)
    places = preferences @ corners
    for edge in marks.lattice_edges(preferences):
        axes.plot(*places[list(edge)].T, color=GRID, linewidth=0.8, zorder=1)
    marks.points(axes, places, preference_look(preferences), size=120)
    for index, rise in enumerate((-16, -16, 12)):
        axes.annotate(names[index], tuple(corners[index]), xytext=(0, rise), textcoords="offset points",
                      ha="center", va="center", fontweight="bold", color=objective_color(index))  # fmt: skip
    axes.set_aspect("equal")
    axes.margins(0.2)
    axes.axis("off")
    axes.set_title("Key: preference")


def _parallel_plate(front: Front) -> Plate:
    return Plate(
        name="front",
        title=TITLE,
        caption="One line per preference; each axis runs from the lowest to the highest score of its objective. Heavy "
        "lines put all weight on the objective of their color, gray is a balanced preference, dashes are the "
        "reference policy." + _units(front),
        panels=[
            Panel(
                draw=partial(_draw_parallel, front=front, scorer=scorer),
                alt=f"Parallel coordinates on the {SCORER_NAMES[scorer]}; {_spoken_ends(front, scorer)}.",
                size=(max(5.4, 1.5 * len(front.objectives)), 4.0),
            )
            for scorer in front.shown
        ],
        columns=1,
    )


def _draw_parallel(axes: Axes, *, front: Front, scorer: str) -> None:
    scores, reference = front.scores[scorer], front.reference.get(scorer)
    every = scores if reference is None else np.vstack([scores, reference])
    marks.parallel(axes, front.objectives, scores, preference_look(front.preferences), reference=reference,
             heavy=front.preferences.max(1) > 0.999, limits=(np.nanmin(every, 0), np.nanmax(every, 0)))  # fmt: skip
    axes.set_title(scorer_title(front, scorer))
