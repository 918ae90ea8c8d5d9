"""The scores of a reward model on a benchmark in sections: a figure of its subsets, a table of its sections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from mora.records.sections import Benchmark, Score
from mora.report.markup import fill
from mora.report.style import INK, MUTED, Panel, Plate, number, objective_color, short

EDGE = 0.015  # beyond 0 and 1: a mark there is seen whole


def benchmark_plates(table: Benchmark | None) -> list[Plate]:
    """Every subset with its interval, colored by section."""
    if table is None or not table.subsets:
        return []
    said = ", ".join(f"{entry.section} {entry.shared:.2f}" for entry in table.sections)
    panel = Panel(
        draw=partial(_draw, table=table),
        alt=f"Accuracy of every subset; sections: {said}.",
        size=(8.2, 1.2 + 0.26 * (len(table.subsets) + len(table.sections))),
    )
    return [
        Plate(
            name="benchmark",
            title="Subsets and sections",
            caption="Share of rows whose highest score is a right answer's, a tie sharing the credit; "
            f"{table.level:.0%} intervals over prompts. Diamonds are sections, dots their subsets.",
            panels=[panel],
            columns=1,
        )
    ]


def benchmark_section(table: Benchmark | None, plates: Sequence[Plate]) -> str:
    """The part of the page; empty without a table."""
    if table is None:
        return ""
    return fill(
        "benchmark.html",
        benchmark=table,
        plates=plates,
        level=f"{table.level:.0%}",
        sections=[*((one.section, one) for one in table.sections), ("mean of sections", table.final)],
    )


def _draw(axes: Axes, *, table: Benchmark) -> None:
    labels: list[str] = []
    for index, section in enumerate(table.sections):
        color = objective_color(index)
        own = [entry for entry in table.subsets if entry.section == section.section]
        alone = [entry.subset for entry in own] == [section.section]
        named = [] if alone else [(one, "o", f"{one.subset} ({one.n})") for one in own]
        marked: list[tuple[Score, str, str]] = [(section, "D", section.section), *named]
        for entry, marker, label in marked:
            place, value = len(labels), entry.shared
            low, high = (value, value) if entry.shared_interval is None else entry.shared_interval
            within = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
            axes.errorbar(value, place, xerr=within, color=color, marker=marker, elinewidth=1.2,
                          markersize=7 if marker == "D" else 5)  # fmt: skip
            axes.annotate(number(value, 2), (1.01, place), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8, color=INK if marker == "D" else MUTED)  # fmt: skip
            labels.append(short(label))
            if marker == "D":
                axes.axhline(place - 0.5, color=MUTED, linewidth=0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(-EDGE, 1 + EDGE), ylim=(len(labels) - 0.5, -0.5), xlabel="accuracy")
    axes.grid(axis="y", visible=False)
