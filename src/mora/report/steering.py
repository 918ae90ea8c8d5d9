"""Figures of steerability and of its price: score against weight, and KL per preference."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes

from mora.records.front import Front
from mora.report.fronts import SCORER_NAMES
from mora.report.marks import DASHED, bars, cross, points, preference_look
from mora.report.style import (
    INK,
    MUTED,
    PAPER,
    Z95,
    Panel,
    Plate,
    objective_color,
    preference_label,
)


def steering_plates(front: Front) -> list[Plate]:
    """Score against weight per objective, on the judge; and what the preferences cost in KL, where it was measured."""
    if len(front.preferences) < 2:
        return []
    plates = [_lines_plate(front)]
    if np.isfinite(front.columns["kl"]).any():
        plates.append(_kl_plate(front))
    return plates


def _lines_plate(front: Front) -> Plate:
    scorer, panels = front.judge, []
    found = front.indicators.get(scorer, {}).get("kendall_tau")
    taus = np.full(len(front.objectives), np.nan) if found is None else np.atleast_1d(found.value)
    for index, name in enumerate(front.objectives):
        tau = float(taus[index]) if np.isfinite(taus[index]) else None
        said = f", Kendall's tau {tau:.2f}" if tau is not None else ""
        panels.append(
            Panel(
                draw=partial(_draw_line, front=front, index=index, tau=tau),
                alt=f"{SCORER_NAMES[scorer].capitalize()} of {name} against the weight on {name}{said}.",
                size=(3.9, 3.3),
            )
        )
    return Plate(
        name="steering",
        title="Steering: more weight, more score",
        caption="Each point is a preference; the line is the mean over preferences of equal weight; bars are 95 % "
        "intervals, clustered by prompt. Dashes: the reference policy. Diamonds: the best possible at that "
        "preference, without a KL term.",
        panels=panels,
        columns=3,
    )


def _draw_line(axes: Axes, *, front: Front, index: int, tau: float | None) -> None:
    scorer, color = front.judge, objective_color(index)
    weights, scores = front.preferences[:, index], front.scores[scorer][:, index]
    errors = Z95 * np.nan_to_num(front.errors[scorer][:, index])
    if scorer == "gold" and front.world is not None and len(front.world.best) == len(weights):
        axes.scatter(weights, front.world.best[:, index], marker="D", s=26, c=PAPER, edgecolors=MUTED,
                     linewidths=1.0, zorder=1)  # fmt: skip
    levels = np.unique(weights[np.isfinite(scores)].round(9))
    means = [np.nanmean(scores[np.isclose(weights, level)]) for level in levels]
    axes.plot(levels, means, color=color, zorder=2)
    axes.errorbar(weights, scores, yerr=errors, fmt="none", ecolor=color, elinewidth=1.1, alpha=0.6, zorder=3)
    axes.scatter(weights, scores, s=30, c=color, edgecolors=PAPER, linewidths=0.7, zorder=4)
    if scorer in front.reference:
        axes.axhline(front.reference[scorer][index], color=INK, linewidth=1.0, linestyle=DASHED, zorder=1)
    axes.set_xlabel(f"weight on {front.objectives[index]}")
    axes.set_ylabel(SCORER_NAMES[scorer])
    axes.set_xlim(-0.04, 1.04)
    axes.set_title(front.objectives[index] + (f" (tau {tau:.2f})" if tau is not None else ""))


def _kl_plate(front: Front) -> Plate:
    panels = [
        Panel(
            draw=partial(_draw_kl, front=front),
            alt=f"KL to the reference policy per preference, from {np.nanmin(front.columns['kl']):.2f} to "
            f"{np.nanmax(front.columns['kl']):.2f} nats.",
        )
    ]
    if front.judge in front.reference:
        panels.append(
            Panel(
                draw=partial(_draw_price, front=front),
                alt=f"Gain of utility over the reference policy against KL, on the {SCORER_NAMES[front.judge]}.",
            )
        )
    return Plate(
        name="kl",
        title="What steering costs",
        caption="KL divergence from the reference policy per answer, in nats, with 95 % intervals; and the gain of "
        "<preference, score> over the reference policy for the KL it took. Compare fronts at like KL.",
        panels=panels,
        columns=2,
    )


def _draw_kl(axes: Axes, *, front: Front) -> None:
    kl, errors = front.columns["kl"], Z95 * np.nan_to_num(front.columns["kl_stderr"])
    look = preference_look(front.preferences)
    if len(front.objectives) == 2:
        places = np.column_stack([front.preferences[:, 0], kl])
        axes.plot(*places[np.argsort(places[:, 0])].T, color=MUTED, linewidth=1.0)
        bars(axes, places, look, yerr=errors)
        points(axes, places, look)
        axes.set_xlabel(f"weight on {front.objectives[0]}")
        axes.set_ylabel("KL to the reference (nats)")
        axes.set_ylim(bottom=0)
    else:
        order = np.lexsort(front.preferences.T[::-1])
        rows = np.arange(len(order))
        axes.barh(rows, kl[order], xerr=errors[order], color=look.among(order), height=0.68,
                  error_kw={"ecolor": INK, "elinewidth": 0.9})  # fmt: skip
        axes.set_yticks(rows, [preference_label(front.preferences[i]) for i in order], fontsize=6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("KL to the reference (nats)")
    axes.set_title("KL per preference")


def _draw_price(axes: Axes, *, front: Front) -> None:
    gain = ((front.scores[front.judge] - front.reference[front.judge]) * front.preferences).sum(1)
    points(axes, np.column_stack([front.columns["kl"], gain]), preference_look(front.preferences))
    cross(axes, np.zeros(2))
    axes.annotate("reference policy", (0, 0), xytext=(8, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_xlabel("KL to the reference (nats)")
    axes.set_ylabel("utility gain")
    axes.set_title("Gain for KL")
