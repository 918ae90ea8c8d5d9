"""Training curves: one panel per metric, or per metric and all objectives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from mora.report.style import INK, Floats, Panel, Plate, legend_above, objective_color
from mora.report.tables import Series, Stage

# What people look at first; a metric whose name holds none of these words is drawn last.
FIRST = (
    "gold", "reward", "gain", "multiplier", "violation", "utility", "kl", "steering", "loss", "accuracy", "entropy",
    "explained", "length", "tokens", "clip",
)  # fmt: skip
HIDDEN = ("time", "second", "memory", "epoch", "rate/", "per_second", "elapsed", "spent/")  # what a run costs
SUM = "sum"  # of a metric that is logged for each objective, too
MOST_PANELS = 15
SMOOTHED_FROM = 40  # points of a curve from which on a running mean is drawn over the raw values
QUALITY = {"accuracy": "Accuracy", "log_loss": "Log-loss, nats", "calibration_error": "Calibration error"}


def training_plate(stage: Stage, objectives: Sequence[str], place: int) -> Plate | None:
    """All curves of the stage at ``place``, those people look at first in front; None when nothing was logged twice."""
    panels = [
        Panel(draw=partial(_draw, title=title, lines=lines), alt=_spoken(title, lines), size=(3.9, 2.7))
        for title, lines in grouped(stage, objectives)[:MOST_PANELS]
    ]
    if not panels:
        return None
    return Plate(
        name=f"training-{place}-{re.sub(r'[^a-z0-9]+', '-', stage.name.lower()).strip('-') or 'run'}",
        title=f"Training: {stage.name}",
        caption="Every logged step; where there are many, thin lines are the raw values, heavy lines a running mean.",
        panels=panels,
        columns=3,
    )


def quality_plate(stage: Stage | None, objectives: Sequence[str]) -> Plate | None:
    """The reward model on held-out pairs while it was trained; None unless it was measured twice."""
    if stage is None:
        return None
    panels = []
    for metric, title in QUALITY.items():
        series = {o: s for o, s in stage.quality.get(metric, {}).items() if o in objectives}
        if any(len(steps) > 1 for steps, _ in series.values()):
            lines = {o: (objective_color(list(objectives).index(o)), one) for o, one in series.items()}
            panels.append(Panel(draw=partial(_draw, title=title, lines=lines), alt=_spoken(title, lines)))
    if not panels:
        return None
    return Plate(
        name="reward-quality",
        title="Quality while it was trained",
        caption="The same held-out pairs at every measurement, a part of those of the tables. A log-loss that rises "
        "while that of the training pairs falls is overfitting.",
        panels=panels,
    )


def grouped(stage: Stage, objectives: Sequence[str]) -> list[tuple[str, dict[str, tuple[str, Series]]]]:
    """Panels as (title, label -> (color, series)): metrics that end in an objective's name share one panel."""
    panels: dict[str, dict[str, tuple[str, Series]]] = {}
    for name, series in stage.metrics.items():
        if np.isfinite(series[1]).sum() < 2 or any(word in name for word in HIDDEN):
            continue
        stem, _, last = name.rpartition("/")
        if stem and last in objectives:
            panels.setdefault(stem, {})[last] = (objective_color(list(objectives).index(last)), series)
        else:
            panels.setdefault(name, {})[""] = (INK, series)
    panels = {
        title: {SUM if not name and len(own) > 1 else name: line for name, line in own.items()}
        for title, own in panels.items()
    }
    return sorted(panels.items(), key=lambda item: (_place(item[0], item[1]), item[0]))


def _place(title: str, lines: dict[str, tuple[str, Series]]) -> float:
    words = [number for number, word in enumerate(FIRST) if word in title]
    per_objective = 0.0 if any(lines) else 0.5
    return (words[0] if words else len(FIRST)) + per_objective


def running_mean(values: Floats, width: int) -> Floats:
    """Centered mean over ``width`` neighbors (odd), over fewer at the ends; values that are not finite are left out."""
    finite = np.isfinite(values).astype(float)
    kernel = np.ones(width)
    total = np.convolve(np.where(finite > 0, values, 0.0), kernel, mode="same")
    count = np.convolve(finite, kernel, mode="same")
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _draw(axes: Axes, *, title: str, lines: dict[str, tuple[str, Series]]) -> None:
    for label, (color, (steps, values)) in lines.items():
        if len(steps) >= SMOOTHED_FROM:
            axes.plot(steps, values, color=color, linewidth=0.7, alpha=0.35)
            smooth = running_mean(values, 2 * (len(steps) // 40) + 3)
            axes.plot(steps, smooth, color=color, label=label or None)
        else:
            axes.plot(steps, values, color=color, marker="o", markersize=2.5, linewidth=1.4, label=label or None)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    legend_above(axes, 3)


def _spoken(title: str, lines: dict[str, tuple[str, Series]]) -> str:
    parts = []
    for label, (_, (steps, values)) in lines.items():
        finite = values[np.isfinite(values)]
        name = f"{label} " if label else ""
        parts.append(f"{name}from {finite[0]:.3g} to {finite[-1]:.3g} over {steps[-1]:.0f} steps")
    return f"{title}: {'; '.join(parts)}."
