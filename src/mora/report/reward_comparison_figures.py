"""The figures of a comparison of reward models that show all methods in one panel per objective."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mora.records.read import Floats
from mora.records.rewards import Curves, RewardComparison
from mora.report.marks import DOTTED, method_keys, method_look, points
from mora.report.reward_comparison_scores import shown_span
from mora.report.style import (
    INK,
    MUTED,
    Key,
    Panel,
    Plate,
    method_color,
    method_marker,
    number,
    objective_color,
    short,
)

MARKS_ON_CURVE = 5
MIDDLE = (3.9, 3.3)  # inches, of one panel
LEAST_COVERAGE = 0.05  # of a risk curve: the error rate among fewer pairs is noise that would set the scale
RISK_CAPTION = (
    "Error rate among the pairs that are kept when the most doubtful ones go first, mean over seeds, down to "
    f"{100 * LEAST_COVERAGE:g} % of the pairs."
)
ENDS_AT_ERROR = "At the right end all are kept; a line that stays flat has doubts that say nothing."

Points = Callable[[Curves], Floats | None]  # the points (k, 2) of a method's line, None where it has none


# --- numbers with intervals ------------------------------------------------------------------------------------------


def dots_plates(comparison: RewardComparison) -> list[Plate]:
    """Accuracy and log-loss of every method, a panel per objective."""
    return [
        Plate(
            name=name.replace("_", "-"),
            title=title,
            caption=f"{caption} Marks are means over seeds, faint ones single seeds, bars "
            f"{100 * comparison.level:.3g} % intervals. Whether two methods differ is answered by the verdicts.",
            panels=[_dots_panel(comparison, i, objective, name) for i, objective in enumerate(comparison.objectives)],
            columns=3,
            key=[Key(label="best possible", color=INK, line=":")] if name == "accuracy" and _bayes(comparison) else [],
        )
        for name, title, caption in (
            ("accuracy", "How often the better answer scores higher", "Held-out pairs that are ordered as labelled."),
            ("log_loss", "What its probabilities cost", "Log-loss of held-out labels, nats per pair; less is better."),
        )
    ]


def _bayes(comparison: RewardComparison) -> bool:
    return any(np.isfinite(value) for value in comparison.bayes.values())


def _dots_panel(comparison: RewardComparison, index: int, objective: str, name: str) -> Panel:
    values = [method.metrics[objective][name] for method in comparison.methods]
    said = ", ".join(f"{n} {number(v.value)}" for n, v in zip(comparison.names, values, strict=True))
    return Panel(
        draw=partial(_draw_dots, comparison=comparison, index=index, objective=objective, name=name),
        alt=f"{objective}, {comparison.metrics[name].title}: {said}.",
        size=(MIDDLE[0], 1.15 + 0.3 * len(values)),
    )


def _draw_dots(axes: Axes, *, comparison: RewardComparison, index: int, objective: str, name: str) -> None:
    for row, method in enumerate(comparison.methods):
        value = method.metrics[objective][name]
        place = np.array([[value.value, float(row)]])
        if len(value.by_seed) > 1:
            axes.scatter(value.by_seed, np.full(len(value.by_seed), row), s=13, c=method_color(row), alpha=0.4,
                         linewidths=0, zorder=3)  # fmt: skip
        if value.interval is not None:
            low, high = value.interval
            axes.plot([low, high], [row, row], color=method_color(row), linewidth=1.3, alpha=0.7, zorder=3)
        points(axes, place, method_look(row), size=40)
    if name == "accuracy" and np.isfinite(comparison.bayes[objective]):
        axes.axvline(comparison.bayes[objective], color=INK, linewidth=1.3, linestyle=DOTTED, zorder=1)
    axes.set_yticks(range(len(comparison.names)), [short(n, 22) for n in comparison.names])
    axes.set_ylim(len(comparison.names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.08)
    if name == "accuracy":  # an interval from two seeds may go beyond what an accuracy can be
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, 0.0), min(high, 1.0))
    axes.set_title(short(objective, 30), color=objective_color(index))


# --- margins ----------------------------------------------------------------------------------------------------------


def margin_plates(comparison: RewardComparison) -> list[Plate]:
    """Densities of margins, methods over each other; left of 0 the model orders a pair against its label."""

    def draw(axes: Axes, index: int, objective: str) -> None:
        drawn = comparison.drawn[objective]
        _lines(axes, comparison, objective, lambda c: np.column_stack([drawn.grid, c.densities["margin"].density]))
        axes.axvline(0.0, color=INK, linewidth=1.1, linestyle=DOTTED, zorder=1)
        axes.set_xlim(*shown_span(drawn, ("margin",)))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("margin of the better answer (own std)")

    return _plates(
        comparison,
        draw,
        "margins",
        "Margins within pairs",
        "Density of the score of the better answer less that of the worse one, in standard deviations of the method’s "
        "own scores. What lies left of 0 is ordered wrongly.",
        "d_paired",
    )


# --- lines of methods over each other --------------------------------------------------------------------------------


def roc_plates(comparison: RewardComparison) -> list[Plate]:
    """ROC curves of better against worse answers, pooled over prompts."""

    def draw(axes: Axes, index: int, objective: str) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.1, linestyle=DOTTED, zorder=1)
        _lines(axes, comparison, objective, lambda c: c.roc.points)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("share of worse answers above")
        axes.set_ylabel("share of better answers above")

    return _plates(
        comparison,
        draw,
        "roc",
        "Telling better from worse answers of any prompt",
        "ROC curves of one threshold for the answers of all prompts, mean over seeds. The zero of a score is free in "
        "every prompt, so a model that orders every pair right need not come near the corner.",
        "auc",
    )


def calibration_plates(comparison: RewardComparison) -> list[Plate]:
    """Calibration curves over bins of equally many pairs by confidence."""

    def draw(axes: Axes, index: int, objective: str) -> None:
        curves = comparison.drawn[objective].methods.values()
        low = min(0.5, *(float(c.calibration.points.min()) for c in curves))
        axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=1.1, linestyle=DOTTED, zorder=1)
        _lines(axes, comparison, objective, lambda c: c.calibration.points, every=1)
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(low - 0.02, 1.02)
        axes.set_xlabel("stated confidence")
        axes.set_ylabel("share right")

    return _plates(
        comparison,
        draw,
        "calibration",
        "Is stated confidence met?",
        "Bins of equally many pairs by confidence, as trained, mean over seeds. On the dotted line confidence is met; "
        "below it the model is too sure.",
        "calibration_error",
    )


def risk_plates(comparison: RewardComparison) -> list[Plate]:
    """Risk over coverage: leaving out pairs of a small margin, and pairs of a large spread."""
    margin = _plates(
        comparison,
        partial(_draw_risk, comparison=comparison, kind="margin"),
        "risk-margin",
        "Errors when the smallest margins are left out",
        f"{RISK_CAPTION} {ENDS_AT_ERROR}",
        "aurc_margin",
    )
    if not any(c.risk.spread is not None for drawn in comparison.drawn.values() for c in drawn.methods.values()):
        return margin
    return margin + _plates(
        comparison,
        partial(_draw_risk, comparison=comparison, kind="spread"),
        "risk-spread",
        "Errors when the largest spreads are left out",
        f"{RISK_CAPTION} {ENDS_AT_ERROR} Methods whose belief has the same spread for all pairs are not shown.",
        "aurc_spread",
    )


def _draw_risk(axes: Axes, index: int, objective: str, *, comparison: RewardComparison, kind: str) -> None:
    def shown(curves: Curves) -> Floats | None:
        risk = curves.risk.by(kind)
        return None if risk is None else risk[risk[:, 0] >= LEAST_COVERAGE]

    _lines(axes, comparison, objective, shown)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of pairs kept")
    axes.set_ylabel("error rate among them")


def _plates(
    comparison: RewardComparison,
    draw: Callable[[Axes, int, str], None],
    name: str,
    title: str,
    caption: str,
    metric: str,
) -> list[Plate]:
    """One figure with a panel per objective that has curves; ``metric`` is what the alternative text says of it."""
    panels = []
    for index, objective in enumerate(comparison.objectives):
        if objective not in comparison.drawn:
            continue
        values = [number(method.metrics[objective][metric].value) for method in comparison.methods]
        said = ", ".join(f"{n} {v}" for n, v in zip(comparison.names, values, strict=True))
        alt = f"{title}, {objective}; {comparison.metrics[metric].title}: {said}."
        panels.append(Panel(draw=partial(_entitled, draw=draw, index=index, objective=objective), alt=alt, size=MIDDLE))
    if not panels:
        return []
    key = method_keys(comparison, line="-")
    return [Plate(name=name, title=title, caption=caption, panels=panels, columns=3, key=key)]


def _entitled(axes: Axes, *, draw: Callable[[Axes, int, str], None], index: int, objective: str) -> None:
    draw(axes, index, objective)
    axes.set_title(short(objective, 30), color=objective_color(index))


def _lines(
    axes: Axes, comparison: RewardComparison, objective: str, points: Points, *, every: int | None = None
) -> None:
    """A line per method with a few of its marks, shifted so that they do not hide each other; ``every`` 1: all."""
    for row, name in enumerate(comparison.names):
        found = points(comparison.drawn[objective].methods[name])
        if found is None:
            continue
        step = every or max(1, len(found) // MARKS_ON_CURVE)
        start = 0 if every else (row * step) // max(1, len(comparison.names))
        axes.plot(*found.T, color=method_color(row), linewidth=1.5, marker=method_marker(row), markersize=4.5,
                  markevery=(start, step), zorder=3)  # fmt: skip
