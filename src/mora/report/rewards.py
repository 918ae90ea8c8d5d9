"""Figures of the reward model: is it right, is it calibrated, and does the policy exploit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mora.functional.thinning import evenly
from mora.records.front import Front
from mora.records.quality import Accuracy, Calibration, RewardQuality
from mora.report.bins import JOINED, intervals, pooled
from mora.report.hard_cases import conflict_plate, hard_case_plate
from mora.report.style import INK, MUTED, PAPER, Floats, Panel, Plate, legend_above, objective_color

LEAST_REACH = 0.6  # confidence up to which the axis goes at least
MOST_POINTS = 600  # of one scatter; a longer list is thinned evenly

Bins = Mapping[str, Sequence[Mapping[str, Any]]]


def reward_plates(table: RewardQuality | None, front: Front | None, samples: list[dict[str, Any]]) -> list[Plate]:
    """Held-out quality of the reward model, and reward against gold, on held-out answers and on the policy's own."""
    plates = []
    objectives = front.objectives if front else table.objectives if table else ()
    if table:
        panels = _quality_panels(table, objectives)
        if panels:
            plates.append(
                Plate(
                    name="reward-model",
                    title="Is the reward model right?",
                    caption="Held-out pairs. Accuracy: share of pairs ordered as labelled, 95 % intervals; the mark is "
                    f"the best any model could do. Calibration: on the diagonal, stated confidence is met. {JOINED}",
                    panels=panels,
                )
            )
        plates += [plate for plate in (hard_case_plate(table, objectives), conflict_plate(table)) if plate]
        agreement = {o: points for o, points in table.agreement.items() if len(points)}
        if agreement:
            plates.append(_scatter_plate("reward-gold", "Reward against gold, held-out answers", agreement, objectives))
    on_policy = sampled_agreement(samples, objectives)
    if on_policy:
        title = "Reward against gold, the policy's own answers"
        plates.append(_scatter_plate("reward-gold-policy", title, on_policy, objectives))
    return plates


def sampled_agreement(samples: list[dict[str, Any]], objectives: Sequence[str]) -> dict[str, Floats]:
    """Reward and gold (n, 2) of the sampled answers per objective; empty when gold or reward is missing."""
    rows = [s for s in samples if s.get("preference") and s.get("gold") and s.get("reward")]
    pairs = [[[s["reward"][i], s["gold"][i]] for s in rows] for i in range(len(objectives))]
    return {o: np.array(p, dtype=float) for o, p in zip(objectives, pairs, strict=True) if p}


# --- held-out quality ------------------------------------------------------------------------------------------------


def _quality_panels(table: RewardQuality, objectives: Sequence[str]) -> list[Panel]:
    panels = []
    accuracy = {o: table.accuracy.get(o, Accuracy()) for o in objectives}
    if any(o in table.accuracy for o in objectives):
        said = ", ".join(f"{o} {a.value:.2f}" for o, a in accuracy.items() if np.isfinite(a.value))
        panels.append(Panel(draw=partial(_draw_accuracy, accuracy=accuracy), alt=f"Accuracy: {said}."))
    bins = {o: pooled([vars(b) for b in table.calibration[o].bins if np.isfinite((b.confidence, b.accuracy)).all()],
                      ("confidence", "accuracy")) for o in objectives if o in table.calibration}  # fmt: skip
    bins = {o: rows for o, rows in bins.items() if rows}
    if bins:
        said = ", ".join(f"{o} {_ece(table.calibration[o])}" for o in bins)
        panels.append(
            Panel(
                draw=partial(_draw_calibration, bins=bins, objectives=objectives),
                alt=f"Calibration; expected calibration error: {said}.",
            )
        )
    return panels


def _ece(stated: Calibration) -> str:
    by_chance = f" ({stated.ece_if_calibrated:.3f} by the noise of labels alone)"
    known = np.isfinite(stated.ece_if_calibrated)
    return f"{stated.ece:.3f}{by_chance if known else ''}" if np.isfinite(stated.ece) else "unknown"


def _draw_accuracy(axes: Axes, *, accuracy: Mapping[str, Accuracy]) -> None:
    names = list(accuracy)
    for place, name in enumerate(names):
        entry = accuracy[name]
        if not np.isfinite(entry.value):
            continue
        axes.bar(place, entry.value, color=objective_color(place), width=0.6)
        if entry.interval is not None:
            axes.vlines(place, *entry.interval, color=INK, linewidth=1.2)
        axes.annotate(f"{entry.value:.2f}", (place, 0.02), ha="center", color=PAPER, fontweight="bold", fontsize=9)
        if np.isfinite(entry.bayes):
            axes.plot([place - 0.4, place + 0.4], [entry.bayes] * 2, color=INK, linewidth=1.6)
            axes.annotate("best possible", (place, entry.bayes), xytext=(0, 3), textcoords="offset points",
                          ha="center", fontsize=7, color=MUTED)  # fmt: skip
    axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1)
    axes.grid(axis="x", visible=False)
    axes.set_title("Accuracy")
    axes.set_ylabel("share of pairs")


def _draw_calibration(axes: Axes, *, bins: Bins, objectives: Sequence[str]) -> None:
    stated = [b["confidence"] for rows in bins.values() for b in rows]
    low, high = min(*stated, 0.5), max(*stated, LEAST_REACH)  # a model that is never sure has its curve in full width
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    for name, rows in bins.items():
        places, color = [b["confidence"] for b in rows], objective_color(list(objectives).index(name))
        intervals(axes, places, rows, color)
        axes.plot(places, [b["accuracy"] for b in rows], marker="o", markersize=4, color=color, label=name)
    axes.set_title("Calibration")
    axes.set_xlabel("stated confidence")
    axes.set_ylabel("share right")
    legend_above(axes, 3)


# --- reward against gold ---------------------------------------------------------------------------------------------


def _scatter_plate(name: str, title: str, pairs: Mapping[str, Floats], objectives: Sequence[str]) -> Plate:
    panels = [
        Panel(
            draw=partial(_draw_scatter, name=o, points=points, color=objective_color(list(objectives).index(o))),
            alt=f"Learned reward against gold score of {o}, correlation {correlation(points)}.",
            size=(3.9, 3.3),
        )
        for o, points in pairs.items()
        if o in objectives
    ]
    longest = max(len(points) for points in pairs.values())
    thinned = f", {MOST_POINTS} of {longest:,} answers at even distances" if longest > MOST_POINTS else ""
    return Plate(
        name=name,
        title=title,
        caption=f"One point per answer{thinned}; r is Pearson's correlation{' over all of them' if thinned else ''}. A "
        "reward that rises where gold does not is being exploited.",
        panels=panels,
        columns=3,
    )


def thin(points: Floats) -> Floats:
    """At most ``MOST_POINTS`` of the rows (n, ...), evenly spread."""
    return points[evenly(range(len(points)), MOST_POINTS)]


def correlation(points: Floats) -> str:
    """Pearson's r of two columns as text; ``undefined`` where one of them does not vary."""
    if len(points) < 2 or (np.ptp(points, axis=0) == 0).any():
        return "undefined"
    return f"{np.corrcoef(points[:, 0], points[:, 1])[0, 1]:.2f}"


def _draw_scatter(axes: Axes, *, name: str, points: Floats, color: str) -> None:
    shown = thin(points)
    axes.scatter(shown[:, 1], shown[:, 0], s=12, c=color, alpha=0.45, linewidths=0)
    axes.set_xlabel("gold score")
    axes.set_ylabel("learned reward")
    axes.set_title(f"{name} (r {correlation(points)})")
