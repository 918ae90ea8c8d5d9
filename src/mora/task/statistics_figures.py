"""Statistics of a file as figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mora.functional.stats import share_interval
from mora.report.style import GRID, INK, MUTED, PAPER, Z95, Panel, Plate, number, objective_color, short

SMALL = (3.9, 2.9)  # inches, of one panel
SIDES = {  # look of what a label says
    "response_0 better": ("first_better", "#0072b2"),
    "tie": ("ties", "#a67c00"),
    "response_1 better": ("second_better", "#d55e00"),
    "no label": ("unlabelled", GRID),
}
MEASURES = {  # title, and the value at the lower end of the colors
    "rate": ("Share of agreement", 0.0),
    "kappa": ("Cohen’s kappa", -1.0),
    "pearson": ("Pearson’s correlation", -1.0),
    "spearman": ("Spearman’s correlation", -1.0),
}


def plates(table: Mapping[str, Any]) -> list[Plate]:
    """The figures that a table of statistics gives."""
    found = [_lengths(table["lengths"])]
    if table["form"] == "pairs" and table["objectives"]:
        found.append(_labels(table))
    rated = {name: of for name, of in table["objectives"].items() if of["ratings"]}
    if rated:
        found.append(_ratings(rated, list(table["objectives"])))
    if len(table["objectives"]) > 1:
        found.append(_agreement(table["agreement"]))
    return found


def _lengths(lengths: Mapping[str, Any]) -> Plate:
    panels = [
        Panel(
            draw=partial(_draw_histogram, of=of["histogram"], title=name.replace("_", " ").capitalize(), color=MUTED),
            alt=f"{name.replace('_', ' ')}: median {number(of['summary']['median'], 0)}.",
            size=SMALL,
        )
        for name, of in lengths.items()
        if of is not None
    ]
    return Plate(
        name="lengths",
        title="How long prompts and answers are",
        caption="Prompts of rows and answers by length, in bins of equal width.",
        panels=panels,
        columns=2,
    )


def _ratings(rated: Mapping[str, Any], objectives: list[str]) -> Plate:
    panels = [
        Panel(
            draw=partial(
                _draw_histogram,
                of=of["ratings"]["histogram"],
                title=short(name, 30),
                color=objective_color(objectives.index(name)),
            ),
            alt=f"Ratings of {name}: mean {number(of['ratings']['summary']['mean'])}.",
            size=SMALL,
        )
        for name, of in rated.items()
    ]
    return Plate(
        name="ratings",
        title="How answers are rated",
        caption="Single ratings of all annotators: a bar for each value where there are few, else bins.",
        panels=panels,
        columns=3,
    )


def _draw_histogram(axes: Axes, *, of: Mapping[str, Any], title: str, color: str) -> None:
    if "values" in of:
        values = np.asarray(of["values"], dtype=float)
        width = 0.8 * (float(np.diff(values).min()) if len(values) > 1 else 1.0)
        axes.bar(values, of["counts"], width=width, color=color)
        if len(values) == 1:
            axes.set_xlim(values[0] - 2, values[0] + 2)
        axes.set_xticks(values, [f"{value:.3g}" for value in values])
    else:
        axes.stairs(of["counts"], of["edges"], fill=True, color=color)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("count")
    axes.set_title(title)


def _labels(table: Mapping[str, Any]) -> Plate:
    objectives = table["objectives"]
    height = 1.1 + 0.34 * len(objectives)
    said = ", ".join(f"{name} {of['labelled']}" for name, of in objectives.items())
    shares = ", ".join(f"{name} {number(of['longer_better']['share'])}" for name, of in objectives.items())
    panels = [
        Panel(
            draw=partial(_draw_sides, objectives=objectives), alt=f"Labelled pairs: {said}.", size=(5.0, height + 0.4)
        ),
        Panel(
            draw=partial(_draw_longer, objectives=objectives), alt=f"Longer is better: {shares}.", size=(5.0, height)
        ),
    ]
    return Plate(
        name="labels",
        title="What the labels say",
        caption="Left: pairs by their label. Right: of decided pairs with answers of different length, the share in "
        "which the longer one is better, with 95 % intervals (Wilson); at the dotted line length says nothing.",
        panels=panels,
        columns=2,
    )


def _draw_sides(axes: Axes, *, objectives: Mapping[str, Any]) -> None:
    left = np.zeros(len(objectives))
    for label, (key, color) in SIDES.items():
        counts = np.array([of[key] for of in objectives.values()], dtype=float)
        axes.barh(range(len(objectives)), counts, left=left, height=0.62, color=color, label=label)
        left += counts
    _names(axes, objectives)
    axes.set_xlabel("pairs")
    axes.set_title("Balance", pad=24)
    axes.legend(ncol=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0), columnspacing=0.9, handlelength=0.9,
                handletextpad=0.4, borderaxespad=0.1)  # fmt: skip


def _draw_longer(axes: Axes, *, objectives: Mapping[str, Any]) -> None:
    axes.axvline(0.5, color=INK, linewidth=1.1, linestyle=":", zorder=1)
    for row, of in enumerate(objectives.values()):
        share, n = of["longer_better"]["share"], of["longer_better"]["n"]
        if share is not None:
            axes.plot(share_interval(share, float(n), Z95), [row, row], color=objective_color(row), linewidth=1.6)
            axes.plot([share], [row], "o", color=objective_color(row), markersize=6)
    _names(axes, objectives)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share in which the longer answer is better")
    axes.set_title("Length")


def _names(axes: Axes, objectives: Mapping[str, Any]) -> None:
    axes.set_yticks(range(len(objectives)), [short(name, 22) for name in objectives])
    axes.set_ylim(len(objectives) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _agreement(table: Mapping[str, Any]) -> Plate:
    measures = [name for name in table if name not in ("objectives", "n")]
    side = 1.9 + 0.5 * len(table["objectives"])
    panels = [
        Panel(
            draw=partial(_draw_matrix, table=table, measure=name),
            alt=f"{MEASURES[name][0]} between {', '.join(table['objectives'])}.",
            size=(side + 0.6, side),
        )
        for name in measures
    ]
    return Plate(
        name="agreement",
        title="Do objectives agree?",
        caption="In each cell the value, and below it the number of rows in which both objectives say something. "
        "Kappa is 0 where they agree as often as chance would have it, 1 where always.",
        panels=panels,
        columns=2,
    )


def _draw_matrix(axes: Axes, *, table: Mapping[str, Any], measure: str) -> None:
    names = [short(name, 18) for name in table["objectives"]]
    values = np.array(table[measure], dtype=float)
    title, lowest = MEASURES[measure]
    middle = (1 + lowest) / 2
    axes.imshow(np.nan_to_num(values, nan=middle), cmap="RdBu", vmin=lowest, vmax=1, alpha=0.5)
    for (row, column), value in np.ndenumerate(values):
        n = table["n"][row][column]
        axes.text(column, row - 0.12, number(value, 2), ha="center", va="center", fontsize=8, color=INK)
        axes.text(column, row + 0.24, f"{n}", ha="center", va="center", fontsize=6, color=INK)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_facecolor(PAPER)
    axes.set_title(title)
