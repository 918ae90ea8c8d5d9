"""The scores of a reward model on a benchmark in sections: a figure of its subsets, a table of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from mora.report import markup
from mora.report.markup import text
from mora.report.style import INK, MUTED, Panel, Plate, number, objective_color, short

EDGE = 0.015  # beyond 0 and 1: a mark there is seen whole


def benchmark_plates(table: Mapping[str, Any] | None) -> list[Plate]:
    """Every subset with its interval, colored by section."""
    if not table or not table["subsets"]:
        return []
    said = ", ".join(f"{entry['section']} {entry['shared']:.2f}" for entry in table["sections"])
    panel = Panel(
        draw=partial(_draw, table=table),
        alt=f"Accuracy of every subset; sections: {said}.",
        size=(8.2, 1.2 + 0.26 * (len(table["subsets"]) + len(table["sections"]))),
    )
    return [
        Plate(
            name="benchmark",
            title="Subsets and sections",
            caption="Share of rows whose highest score is a right answer's, a tie sharing the credit; "
            f"{table['level']:.0%} intervals over prompts. Diamonds are sections, dots their subsets.",
            panels=[panel],
            columns=1,
        )
    ]


def benchmark_section(table: Mapping[str, Any] | None, plates: Sequence[Plate]) -> str:
    """The part of the page; empty without a table."""
    if not table:
        return ""
    judge = table["judge"].get("objective") or ", ".join(
        f"{name} {weight:g}" for name, weight in table["judge"].get("preference", {}).items()
    )
    rows = []
    for entry in [*table["sections"], {"section": "mean of sections", **table["final"]}]:
        cells = [markup.with_interval(entry[key], entry[f"{key}_interval"]) for key in ("strict", "shared")]
        rows.append([text(entry["section"]), *cells, f"{entry['n']:,}"])
    head = ["section", "a tie is wrong", "a tie shares", "rows"]
    caption = f"Sections: means of their subsets by weight, with {table['level']:.0%} intervals over prompts"
    notes = "".join(markup.warning(text(note)) for note in table["notes"])
    body = "".join(markup.plate(plate) for plate in plates)
    intro = f'<p class="note">{text(table["path"])}, {table["rows"]:,} rows, judged by {text(judge)}.</p>'
    return (
        f'<section id="benchmark"><h2>The benchmark</h2>{intro}{notes}{body}'
        f"{markup.table(head, rows, caption=caption)}{_subset_table(table)}</section>"
    )


def _subset_table(table: Mapping[str, Any]) -> str:
    rows = [
        [
            text(entry["subset"]),
            text(entry["section"]),
            markup.with_interval(entry["strict"], entry["strict_interval"]),
            markup.with_interval(entry["shared"], entry["shared_interval"]),
            f"{entry['n']:,}",
            f"{entry['weight']:g}",
        ]
        for entry in table["subsets"]
    ]
    head = ["subset", "section", "a tie is wrong", "a tie shares", "rows", "weight"]
    return markup.fold("Every subset", markup.table(head, rows, caption="Subsets", words=[1]))


def _draw(axes: Axes, *, table: Mapping[str, Any]) -> None:
    labels: list[str] = []
    for index, section in enumerate(table["sections"]):
        color = objective_color(index)
        own = [entry for entry in table["subsets"] if entry["section"] == section["section"]]
        alone = [entry["subset"] for entry in own] == [section["section"]]
        for entry, marker in [(section, "D"), *((one, "o") for one in ([] if alone else own))]:
            place, value = len(labels), entry["shared"]
            low, high = entry["shared_interval"] or (value, value)
            within = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
            axes.errorbar(value, place, xerr=within, color=color, marker=marker, elinewidth=1.2,
                          markersize=7 if marker == "D" else 5)  # fmt: skip
            axes.annotate(number(value, 2), (1.01, place), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8, color=INK if marker == "D" else MUTED)  # fmt: skip
            labels.append(short(entry["section"] if marker == "D" else f"{entry['subset']} ({entry['n']})"))
            if marker == "D":
                axes.axhline(place - 0.5, color=MUTED, linewidth=0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(-EDGE, 1 + EDGE), ylim=(len(labels) - 0.5, -0.5), xlabel="accuracy")
    axes.grid(axis="y", visible=False)
