"""Curves of a comparison: over the KL budget, over the preferences, and over the reference point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from mora.records.compare import Comparison, Method
from mora.records.read import Floats
from mora.records.verdicts import JUDGED
from mora.report.marks import DOTTED, bars, by_preference, method_keys, method_look, points, weights_label
from mora.report.style import (
    INK,
    MUTED,
    Key,
    Line,
    Panel,
    Plate,
    method_color,
    method_marker,
    number,
)

CURVES = {"hypervolume": "hypervolume", "inner_product": "realized utility"}
MARKS_ON_CURVE = 8


# --- over the KL budget ----------------------------------------------------------------------------------------------


def kl_curve_plates(comparison: Comparison) -> list[Plate]:
    """Hypervolume and inner product against the KL that every method may spend."""
    known = [i for i, method in enumerate(comparison.methods) if method.curve]
    if not known or len(comparison.kl_budgets) < 2:
        return []
    panels = []
    for name in JUDGED:
        ends = ", ".join(
            f"{comparison.names[i]} {number(float(getattr(comparison.methods[i].curve, name)[-1]), 2)}" for i in known
        )
        panels.append(
            Panel(
                draw=partial(_draw_curve, comparison=comparison, name=name, known=known),
                alt=f"{CURVES[name].capitalize()} against the KL budget; at the largest budget {ends}.",
                size=(5.2, 3.7),
            )
        )
    granted = comparison.kl_budget[np.isfinite(comparison.kl_budget)]
    hint = "The vertical stroke below marks the budget" if np.ptp(granted) < 1e-9 else "Strokes below mark the budgets"
    return [
        Plate(
            name="kl-curve",
            title="What a nat buys",
            caption="Both indicators when every method may spend the same KL at every preference; bands are "
            f"{100 * comparison.level:.3g} % intervals. A curve that ends flat has spent all it would spend. "
            + (f"{hint} of the verdicts at matched KL." if len(granted) else ""),
            panels=panels,
            columns=2,
            key=method_keys(comparison, line="-"),
        )
    ]


def _draw_curve(axes: Axes, *, comparison: Comparison, name: str, known: Sequence[int]) -> None:
    budgets = comparison.kl_budgets
    step = max(1, len(budgets) // MARKS_ON_CURVE)
    for index in known:
        curve, color = comparison.methods[index].curve, method_color(index)
        low, high = getattr(curve, f"{name}_interval").T
        axes.fill_between(budgets, low, high, color=color, alpha=0.16, linewidth=0, zorder=1)
        axes.plot(budgets, getattr(curve, name), color=color, linewidth=1.6, marker=method_marker(index),
                  markersize=4.5, markevery=(index % step, step), zorder=3)  # fmt: skip
    granted = np.unique(comparison.kl_budget[np.isfinite(comparison.kl_budget)].round(6))
    axes.scatter(granted, np.zeros(len(granted)), marker="|", s=60, c=INK, linewidths=1.0, zorder=4, clip_on=False,
                 transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlabel("KL budget (nats)")
    axes.set_title(CURVES[name].capitalize())
    axes.margins(x=0.02)


# --- over the preferences --------------------------------------------------------------------------------------------


def kl_plates(comparison: Comparison) -> list[Plate]:
    """The KL that each method spends at each preference."""
    if not _known(comparison, "kl"):
        return []
    granted = np.isfinite(comparison.kl_budget).any()
    said = "; ".join(
        f"{m.name} {np.nanmin(m.columns['kl']):.2f} to {np.nanmax(m.columns['kl']):.2f}"
        for m in comparison.methods
        if np.isfinite(m.columns["kl"]).any()
    )
    budget = [Key(label="KL budget", color=INK, line=":")] if granted else []
    return [
        Plate(
            name="kl",
            title="KL at each preference",
            caption="KL divergence from the reference policy per answer at each method's own setting, in nats, with "
            f"intervals.{' Dotted: the budget of the figures at matched KL.' if granted else ''}",
            panels=[_panel(comparison, "kl", "KL to the reference (nats)", f"KL in nats: {said}.")],
            columns=1,
            key=[*method_keys(comparison, line=_line(comparison)), *budget],
        )
    ]


def win_rate_plates(comparison: Comparison) -> list[Plate]:
    """How often each method's answers have the greater utility than the reference policy's."""
    if not _known(comparison, "win_rate"):
        return []
    said = "; ".join(
        f"{m.name} {np.nanmin(m.columns['win_rate']):.2f} to {np.nanmax(m.columns['win_rate']):.2f}"
        for m in comparison.methods
        if np.isfinite(m.columns["win_rate"]).any()
    )
    return [
        Plate(
            name="win-rate",
            title="How often it beats the reference policy",
            caption="How often the utility of an answer at the preference is greater than that of a reference policy's "
            "answer to the same prompt, ties counted half; bars are intervals. Dotted: 0.5, no better than the "
            "reference.",
            panels=[_panel(comparison, "win_rate", "win rate against the reference", f"Win rate: {said}.")],
            columns=1,
            key=method_keys(comparison, line=_line(comparison)),
        )
    ]


def _known(comparison: Comparison, column: str) -> bool:
    return any(np.isfinite(method.columns[column]).any() for method in comparison.methods)


def _line(comparison: Comparison) -> Line:
    return "-" if len(comparison.objectives) == 2 else ""


def _panel(comparison: Comparison, column: str, label: str, alt: str) -> Panel:
    plane = len(comparison.objectives) == 2
    rows = 0.6 + len(comparison.preferences) * (0.12 + 0.06 * len(comparison.methods))
    return Panel(
        draw=partial(_draw_lines if plane else _draw_dots, comparison=comparison, column=column, label=label),
        alt=alt,
        size=(6.2, 3.9 if plane else max(1.7, rows)),
    )


def _errors(method: Method, column: str) -> Floats:
    """Lengths of intervals to both sides (P,), or down and up (2, P)."""
    if f"{column}_margin" in method.columns:
        return method.columns[f"{column}_margin"]
    low, value, high = (method.columns[name] for name in (f"{column}_low", column, f"{column}_high"))
    return np.maximum([value - low, high - value], 0.0)


def _draw_lines(axes: Axes, *, comparison: Comparison, column: str, label: str) -> None:
    """Two objectives: values over the weight of the first."""
    rows = by_preference(comparison.preferences, np.arange(len(comparison.preferences)))
    weights = comparison.preferences[rows, 0]
    for index, method in enumerate(comparison.methods):
        values, errors = method.columns[column][rows], _errors(method, column)[..., rows]
        axes.plot(weights, values, color=method_color(index), linewidth=1.3, zorder=3)
        bars(axes, np.column_stack([weights, values]), method_look(index), yerr=errors)
        points(axes, np.column_stack([weights, values]), method_look(index), size=34)
    if column == "kl":
        axes.plot(weights, comparison.kl_budget[rows], color=INK, linewidth=1.3, linestyle=DOTTED, zorder=4)
        axes.set_ylim(bottom=0)
    else:
        axes.axhline(0.5, color=MUTED, linewidth=1.1, linestyle=DOTTED, zorder=1)
    axes.set_xlabel(f"weight on {comparison.objectives[0]}")
    axes.set_ylabel(label)
    axes.set_xlim(-0.03, 1.03)


def _draw_dots(axes: Axes, *, comparison: Comparison, column: str, label: str) -> None:
    """Any other number of objectives: a row per preference, the methods of a row below each other."""
    order = by_preference(comparison.preferences, np.arange(len(comparison.preferences)))[::-1]
    rows, count = np.arange(len(order), dtype=np.float64), len(comparison.methods)
    for index, method in enumerate(comparison.methods):
        places = rows + (0.62 * (index - (count - 1) / 2) / count if count > 1 else 0.0)
        values, errors = method.columns[column][order], _errors(method, column)[..., order]
        bars(axes, np.column_stack([values, places]), method_look(index), xerr=errors)
        points(axes, np.column_stack([values, places]), method_look(index), size=22)
    if column == "kl":
        axes.vlines(comparison.kl_budget[order], rows - 0.42, rows + 0.42, color=INK, linewidth=1.2, linestyle=DOTTED)
        axes.set_xlim(left=0)
    else:
        axes.axvline(0.5, color=MUTED, linewidth=1.1, linestyle=DOTTED, zorder=1)
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color=MUTED, alpha=0.06, linewidth=0, zorder=0)
    axes.set_yticks(rows, [weights_label(comparison.preferences[i], comparison.objectives) for i in order], fontsize=7)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)


# --- over the reference point ----------------------------------------------------------------------------------------


def shares_of_best(comparison: Comparison) -> Floats:
    """Hypervolumes (methods, R) as shares of the best method's at each reference point; NaN where that is 0."""
    assert comparison.sweep is not None
    volumes = np.array([comparison.sweep.hypervolumes[name] for name in comparison.names])
    known = np.isfinite(volumes)
    best = np.where(known, volumes, 0.0).max(0)
    return np.where(known & (best > 0), volumes / np.where(best > 0, best, 1.0), np.nan)


def sweep_plates(comparison: Comparison) -> list[Plate]:
    """Hypervolumes over reference points that move outward."""
    if comparison.sweep is None or len(comparison.sweep.distances) < 2:
        return []
    shares = shares_of_best(comparison)
    said = "; ".join(
        f"{name} {number(float(row[0]), 2)} at the nadir, {number(float(row[-1]), 2)} at the end"
        for name, row in zip(comparison.names, shares, strict=True)
    )
    return [
        Plate(
            name="reference-point",
            title="Does the ranking depend on the reference point?",
            caption="Hypervolume as a share of the best method's, while z moves from the nadir of the pooled front "
            "(distance 0) outward by multiples of that front's range. Lines that cross are rankings that depend on z.",
            panels=[
                Panel(draw=partial(_draw_sweep, comparison=comparison, shares=shares), alt=f"{said}.", size=(6.2, 3.7))
            ],
            columns=1,
            key=method_keys(comparison, line="-"),
        )
    ]


def _draw_sweep(axes: Axes, *, comparison: Comparison, shares: Floats) -> None:
    assert comparison.sweep is not None
    distances = comparison.sweep.distances
    step = max(1, len(distances) // MARKS_ON_CURVE)
    for index, row in enumerate(shares):
        axes.plot(distances, row, color=method_color(index), linewidth=1.6, marker=method_marker(index), markersize=5,
                  markevery=(index % step, step), zorder=3)  # fmt: skip
    axes.set_xlabel("distance of z from the nadir (ranges of the pooled front)")
    axes.set_ylabel("share of the best hypervolume")
    axes.margins(x=0.02)
