"""What scores the preferences reach, for three and more objectives."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from mora.records.front import Front
from mora.report.fronts import SCORER_NAMES, draw_plane, plane_plate, scorer_title, spoken_ends, spoken_units
from mora.report.style import GRID, INK, MUTED, Floats, Panel, Plate, number, objective_color, preference_colors


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


# --- three objectives ------------------------------------------------------------------------------------------------


def lattice_edges(preferences: Floats) -> list[tuple[int, int]]:
    """Neighbors among preferences (P, M): they differ in two weights only, by the smallest step there is."""
    steps = {}
    for a, b in combinations(range(len(preferences)), 2):
        change = np.abs(preferences[a] - preferences[b])
        if (change > 1e-9).sum() == 2:
            steps[a, b] = float(change.max())
    return [pair for pair, step in steps.items() if step < 1.01 * min(steps.values())]


def _space_plate(front: Front) -> Plate:
    panels = [
        Panel(
            draw=partial(_draw_space, front=front, scorer=scorer),
            alt=f"Front in three dimensions on the {SCORER_NAMES[scorer]}; {spoken_ends(front, scorer)}.",
            projection="3d",
            size=(5.0, 4.3),
        )
        for scorer in front.shown
    ]
    key = Panel(
        draw=partial(_draw_simplex, front=front),
        alt=f"Key: the triangle of preferences, its corners are {', '.join(front.objectives)}.",
        size=(5.0, 4.3),
    )
    return Plate(
        name="front",
        title="What each preference reaches",
        caption="One point per preference, colored as in the triangle; lines join neighboring preferences, so the "
        "sheet is the image of the triangle. Gray points are the world's exact front where it is known."
        + spoken_units(front),
        panels=[*panels, key],
        columns=3,
    )


def _draw_space(axes: Axes3D, *, front: Front, scorer: str) -> None:
    scores, colors = front.scores[scorer], preference_colors(front.preferences)
    x, y, z = scores.T
    axes.computed_zorder = False
    axes.view_init(elev=24, azim=38)
    if scorer == "gold" and front.world is not None:
        axes.scatter(*front.world.front.T, s=7, c=MUTED, alpha=0.6, linewidths=0, depthshade=False, label="exact front")
    if scorer in front.reference:
        axes.scatter(*front.reference[scorer][:, None], marker="X", s=70, c=INK, depthshade=False,
                     label="reference policy")  # fmt: skip
    edges = lattice_edges(front.preferences)
    corners = [c for c in combinations(range(len(scores)), 3) if all(edge in edges for edge in combinations(c, 2))]
    faces = [scores[list(corner)] for corner in corners]
    shades = [preference_colors(front.preferences[list(corner)].mean(0)[None])[0] for corner in corners]
    axes.add_collection3d(Poly3DCollection(faces, facecolors=shades, edgecolors=MUTED, linewidths=0.6, alpha=0.35))
    axes.scatter(x, y, z, s=46, c=colors, edgecolors=INK, linewidths=0.6, depthshade=False, zorder=3)
    setters = (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel)
    for index, (label, axis) in enumerate(zip(setters, (axes.xaxis, axes.yaxis, axes.zaxis), strict=True)):
        label(front.objectives[index], color=objective_color(index), fontweight="bold")
        axis.pane.set(facecolor="none", edgecolor=GRID)
        axis.line.set_color(MUTED)
    axes.set_box_aspect(None, zoom=0.92)
    axes.set_title(scorer_title(front, scorer))
    axes.legend(loc="upper left", borderaxespad=0.0)


def _draw_simplex(axes: Axes, *, front: Front) -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    axes.fill(*corners.T, facecolor="none", edgecolor=GRID, linewidth=1.2)
    places = front.preferences @ corners
    for a, b in lattice_edges(front.preferences):
        axes.plot(*places[[a, b]].T, color=GRID, linewidth=0.8, zorder=1)
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=120,
        c=preference_colors(front.preferences),
        edgecolors=INK,
        linewidths=0.6,
        zorder=2,
    )
    for index, rise in enumerate((-16, -16, 12)):
        axes.annotate(front.objectives[index], tuple(corners[index]), xytext=(0, rise), textcoords="offset points",
                      ha="center", va="center", fontweight="bold", color=objective_color(index))  # fmt: skip
    axes.set_aspect("equal")
    axes.margins(0.2)
    axes.axis("off")
    axes.set_title("Key: preference")


def _pairs_plate(front: Front, scorer: str) -> Plate:
    panels = [
        Panel(
            draw=partial(draw_plane, front=front, scorer=scorer, pair=pair, key=False),
            alt=f"{front.objectives[pair[0]]} against {front.objectives[pair[1]]} on the {SCORER_NAMES[scorer]}.",
        )
        for pair in combinations(range(3), 2)
    ]
    return Plate(
        name=f"front-pairs-{scorer}",
        title=f"The front in pairs: {scorer_title(front, scorer).lower()}",
        caption="The same points, two objectives at a time; bars are 95 % intervals, clustered by prompt. The cross is "
        "the reference policy; gray points are the exact front of the world.",
        panels=panels,
        columns=3,
    )


# --- more objectives -------------------------------------------------------------------------------------------------


def _parallel_plate(front: Front) -> Plate:
    size = (max(5.4, 1.5 * len(front.objectives)), 4.0)
    panels = [
        Panel(
            draw=partial(_draw_parallel, front=front, scorer=scorer),
            alt=f"Parallel coordinates on the {SCORER_NAMES[scorer]}; {spoken_ends(front, scorer)}.",
            size=size,
        )
        for scorer in front.shown
    ]
    return Plate(
        name="front",
        title="What each preference reaches",
        caption="One line per preference; each axis runs from the lowest to the highest score of its objective. Heavy "
        "lines put all weight on the objective of their color, gray is a balanced preference, dashes are the "
        "reference policy." + spoken_units(front),
        panels=panels,
        columns=1,
    )


def _draw_parallel(axes: Axes, *, front: Front, scorer: str) -> None:
    scores, places = front.scores[scorer], np.arange(len(front.objectives))
    everything = np.vstack([scores, front.reference[scorer]]) if scorer in front.reference else scores
    low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)

    def scale(row: Floats) -> Floats:
        return np.asarray((row - low) / np.maximum(high - low, 1e-12))

    for row, preference, color in zip(scores, front.preferences, preference_colors(front.preferences), strict=True):
        alone = preference.max() > 0.999
        axes.plot(places, scale(row), color=color, linewidth=2.6 if alone else 1.1, alpha=1.0 if alone else 0.8,
                  marker="o", markersize=5 if alone else 3, zorder=3 if alone else 2)  # fmt: skip
    if scorer in front.reference:
        axes.plot(places, scale(front.reference[scorer]), color=INK, linewidth=1.6, linestyle=(0, (4, 2)), zorder=4)
    for place in places:
        axes.axvline(float(place), color=GRID, linewidth=1.0, zorder=0)
        axes.annotate(number(float(high[place]), 2), (place, 1.04), ha="center", va="bottom", fontsize=8, color=MUTED)
        axes.annotate(number(float(low[place]), 2), (place, -0.04), ha="center", va="top", fontsize=8, color=MUTED)
    axes.set_xticks(places, front.objectives, fontsize=9, fontweight="bold")
    for index, label in enumerate(axes.get_xticklabels()):
        label.set_color(objective_color(index))
    axes.set_yticks([])
    axes.set_ylim(-0.14, 1.14)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(scorer_title(front, scorer))
