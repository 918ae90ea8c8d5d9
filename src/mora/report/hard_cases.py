"""Where a reward model errs: pairs it is least sure of, by margin and by spread, and objectives that pull apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mora.records.quality import Conflicts, Doubt, RewardQuality
from mora.report.bins import JOINED, LEAST_PAIRS, intervals, pooled
from mora.report.markup import fill
from mora.report.style import (
    INK,
    MUTED,
    OBJECTIVE_COLORS,
    Floats,
    Key,
    Panel,
    Plate,
    legend_above,
    number,
    objective_color,
    short,
)

Bins = Mapping[str, Sequence[Mapping[str, Any]]]
ASIDE = 0.08  # of the width of a bin, between the marks of two lines: intervals must not hide each other
ORDERS = {"margin_bins": ("by margin", "-"), "bins": ("by spread", ":")}
MEANS = ("accuracy", "spread", "true_spread")
MATRICES = {
    "conflict_rate": "Labels disagree",
    "predicted_rate": "The model says they do",
    "joint_accuracy": "Both right",
    "kendall": "Kendall's tau of margins",
}


def hard_case_plate(table: RewardQuality, objectives: Sequence[str]) -> Plate | None:
    """Accuracy and calibration from the surest to the most doubtful pairs; None for tables without them."""
    entries = {o: table.spread[o] for o in objectives if o in table.spread}
    given = {order: _full({o: getattr(entry, order) for o, entry in entries.items()}) for order in ORDERS}
    orders = {order: {o: pooled(rows, MEANS) for o, rows in bins.items()} for order, bins in given.items() if bins}
    if not orders:
        return None
    whole = {order: _whole(bins) for order, bins in given.items() if _whole(bins)}
    panels = [
        Panel(
            draw=partial(_draw_doubt, orders=shown, key=key, title=title, objectives=objectives),
            alt=f"{title} from the surest to the most doubtful pairs: {_ends(shown, key)}.",
        )
        for shown, key, title in ((orders, "accuracy", "Accuracy"), (whole, "calibration_error", "Calibration error"))
        if shown
    ]
    known = {o: bins for o, bins in orders.get("bins", {}).items() if np.isfinite(bins[0]["true_spread"])}
    if known:
        said = {o: number(entries[o].true_spread_correlation, 2) for o in known}
        panels.append(
            Panel(
                draw=partial(_draw_spreads, bins=known, correlations=said, objectives=objectives),
                alt="Annotators' spread against that of the belief; rank correlation over pairs: "
                + ", ".join(f"{o} {value}" for o, value in said.items())
                + ".",
            )
        )
    shown = [ORDERS[order] for order in orders]
    return Plate(
        name="hard-cases",
        title="Does it know where it errs?",
        caption="Equal shares of the held-out pairs, surest on the left: by the margin, which costs nothing, and by "
        f"the spread of the belief, which finds errors if its line falls to the right. {JOINED} The calibration error "
        "is without the noise of labels, and is left out where bins would have to be joined.",
        panels=panels,
        key=[Key(label=label, color=INK, line="-" if line == "-" else ":") for label, line in shown],
    )


def _full(bins: Mapping[str, Sequence[Doubt]]) -> Bins:
    """Objectives with bins that say how right they are."""
    kept = {o: [vars(b) for b in rows if np.isfinite(b.accuracy)] for o, rows in bins.items()}
    return {o: rows for o, rows in kept.items() if rows}


def _whole(bins: Bins) -> Bins:
    """Objectives none of whose bins has so few pairs that it is joined with others."""
    return {o: rows for o, rows in bins.items() if min(row["count"] for row in rows) >= LEAST_PAIRS}


def _from_surest(order: str, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return rows[::-1] if order == "margin_bins" else rows


def _ends(orders: Mapping[str, Bins], key: str) -> str:
    parts = []
    for order, bins in orders.items():
        for objective, rows in bins.items():
            sorted_rows = _from_surest(order, rows)
            parts.append(
                f"{objective} {ORDERS[order][0]} {number(sorted_rows[0][key], 2)} to {number(sorted_rows[-1][key], 2)}"
            )
    return ", ".join(parts)


def _draw_doubt(axes: Axes, *, orders: Mapping[str, Bins], key: str, title: str, objectives: Sequence[str]) -> None:
    lines = [(order, objective, rows) for order, bins in orders.items() for objective, rows in bins.items()]
    for place, (order, objective, rows) in enumerate(lines):
        rows = _from_surest(order, rows)
        values = [row[key] for row in rows]
        aside = min(ASIDE, 1 / len(lines)) * (place - (len(lines) - 1) / 2) if key == "accuracy" else 0.0
        places = (np.arange(len(values)) + 0.5 + aside) / len(values)
        color, solid = objective_color(list(objectives).index(objective)), order == "margin_bins"
        if key == "accuracy":
            intervals(axes, places, rows, color)
        axes.plot(places, values, color=color, linestyle=ORDERS[order][1], marker="o" if solid else "s",
                      markersize=3.5, label=objective if solid or len(orders) == 1 else None)  # fmt: skip
    if key == "accuracy":
        axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.set_xticks([0.06, 0.5, 0.88], ["surest", "", "most doubtful"])
    axes.set_title(title)
    legend_above(axes, 3)


def _draw_spreads(axes: Axes, *, bins: Bins, correlations: Mapping[str, str], objectives: Sequence[str]) -> None:
    for objective, rows in bins.items():
        axes.plot([b["spread"] for b in rows], [b["true_spread"] for b in rows], marker="s", markersize=3.5,
                  linestyle=":", color=objective_color(list(objectives).index(objective)),
                  label=f"{objective} (ρ {correlations[objective]})")  # fmt: skip
    axes.set_title("Spread and annotators")
    axes.set_xlabel("spread of the belief")
    axes.set_ylabel("annotators' own spread")
    legend_above(axes, 2)


# --- conflicts -------------------------------------------------------------------------------------------------------


def conflict_plate(table: RewardQuality) -> Plate | None:
    """Matrices over all objectives; None for fewer than two, and for tables without them."""
    conflicts = _conflicts(table)
    if not conflicts:
        return None
    names = conflicts.objectives
    side = 1.7 + 0.62 * len(names)
    panels = [
        Panel(
            draw=partial(_draw_matrix, values=getattr(conflicts, key), names=names, title=title),
            alt=f"{title}: {_pairs_in_words(names, getattr(conflicts, key))}.",
            size=(max(side, 3.1), max(side - 0.3, 2.8)),
        )
        for key, title in MATRICES.items()
    ]
    return Plate(
        name="conflicts",
        title="Objectives that pull apart",
        caption="Held-out pairs that both objectives label. Labels disagree: each favors another answer; the model "
        "says so where its margins have different signs. Both right: share of pairs ordered as both label them, on the "
        "diagonal the accuracy of one. A negative tau: scores of the two run against each other.",
        panels=panels,
        columns=4 if len(names) <= 3 else 2,
    )


def conflict_table(table: RewardQuality) -> str:
    """A row per two objectives as HTML; empty without them."""
    conflicts = _conflicts(table)
    if not conflicts:
        return ""
    columns = {
        "n": "pairs",
        "conflict_rate": "labels disagree",
        "predicted_rate": "model says so",
        "precision": "precision",
        "recall": "recall",
        "joint_accuracy": "both right",
        "joint_accuracy_on_conflicts": "on conflicts",
        "joint_accuracy_on_agreement": "on agreement",
        "pearson": "Pearson",
        "kendall": "Kendall",
    }
    names = conflicts.objectives
    rows = []
    for a, b in combinations(range(len(names)), 2):
        values = [getattr(conflicts, key)[a, b] for key in columns]
        rows.append((names[a], names[b], [f"{values[0]:.0f}", *map(number, values[1:])]))
    together = conflicts.all_right
    caption = "Conflicts between objectives, margins of the model against labels"
    if np.isfinite(together.value):
        caption += f". Every objective that labels a pair is right on {together.value:.1%} of {together.n:,} pairs"
    return fill("conflicts.html", columns=columns, rows=rows, places=table.objectives, caption=caption)


def _conflicts(table: RewardQuality) -> Conflicts | None:
    return table.conflicts if table.conflicts and len(table.conflicts.objectives) > 1 else None


def _pairs_in_words(names: Sequence[str], values: Floats) -> str:
    pairs = combinations(range(len(names)), 2)
    return ", ".join(f"{names[a]} and {names[b]} {number(values[a, b], 2)}" for a, b in pairs)


def _draw_matrix(axes: Axes, *, values: Floats, names: Sequence[str], title: str) -> None:
    """Cells whose tint is the size of the value, blue above and orange below 0, each with its number."""
    for (row, column), value in np.ndenumerate(values):
        color = OBJECTIVE_COLORS[0 if value >= 0 else 1]
        strength = 0.0 if np.isnan(value) else 0.75 * min(abs(float(value)), 1.0)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=strength, linewidth=0))
        axes.text(column, row, number(float(value), 2), ha="center", va="center", color=INK, fontsize=9)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    labels = [short(name, 12) for name in names]
    axes.set_xticks(
        range(len(names)), labels, rotation=35 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
    )
    axes.set_yticks(range(len(names)), labels)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title)
