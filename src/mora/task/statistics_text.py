"""Statistics of a file as text to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mora.report.style import number
from mora.turns import readable

LONGEST = 600  # characters of a text that an example shows
BAR = 40  # characters of the longest bar


def page(table: Mapping[str, Any]) -> str:
    """The whole page."""
    prompts = table["prompts"]
    lines = [f"{table['rows']} rows of {table['form']}, {prompts['distinct']} prompts"]
    lines += ["", "rows per prompt", *_summaries({"": prompts["rows_per_prompt"]})]
    lines += ["", "repeats", *(f"  {name.replace('_', ' '):22} {count}" for name, count in table["repeats"].items())]
    lines += ["", "lengths", *_summaries({n: found and found["summary"] for n, found in table["lengths"].items()})]
    for name, of in table["objectives"].items():
        lines += ["", f"objective {name}", *(_pairs(of) if "labelled" in of else _answers(of)), *_common(of)]
    lines += _agreement(table["agreement"])
    for name, rows in table["examples"].items():
        lines += _examples(name, rows)
    return "\n".join(lines) + "\n"


def _pairs(of: Mapping[str, Any]) -> list[str]:
    decided = of["first_better"] + of["second_better"]
    second = number(of["second_better"] / decided if decided else None)
    longer = of["longer_better"]
    return [
        f"  labelled {of['labelled']}, not labelled {of['unlabelled']}, ties {of['ties']}, soft {of['soft']}",
        f"  response_0 better {of['first_better']}, response_1 better {of['second_better']} (share {second})",
        f"  the longer answer is the better one: {number(longer['share'])} of {longer['n']}",
    ]


def _answers(of: Mapping[str, Any]) -> list[str]:
    said = number(of["length_correlation"])
    return [f"  rated {of['rated']}, not rated {of['unrated']}; rank correlation with the answer's length {said}"]


def _common(of: Mapping[str, Any]) -> list[str]:
    named = {name: of.get(name) for name in ("strengths", "ratings")}
    found = {name: value["summary"] for name, value in named.items() if value}
    found |= {name: of[name] for name in ("annotators", "disagreement") if of.get(name)}
    lines = _summaries(found) if found else []
    return lines + (_bars(of["ratings"]["histogram"]) if of.get("ratings") else [])


def _summaries(found: Mapping[str, Mapping[str, float] | None]) -> list[str]:
    keys = ("n", "mean", "std", "min", "p5", "p25", "median", "p75", "p95", "max")
    lines = [f"  {'':22}" + "".join(f"{key:>9}" for key in keys)]
    for name, of in found.items():
        if of is not None:
            cells = "".join(f"{_short(of[key]):>9}" for key in keys)
            lines.append(f"  {name.replace('_', ' '):22}{cells}")
    return lines


def _short(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"


def _bars(histogram: Mapping[str, Sequence[float]]) -> list[str]:
    counts = histogram["counts"]
    if "values" in histogram:
        names = [_short(value) for value in histogram["values"]]
    else:
        names = [
            f"{_short(a)} to {_short(b)}" for a, b in zip(histogram["edges"], histogram["edges"][1:], strict=False)
        ]
    most = max(counts)
    return [
        f"  {name:>18} {count:>7} {'#' * round(BAR * count / most)}" for name, count in zip(names, counts, strict=True)
    ]


def _agreement(table: Mapping[str, Any]) -> list[str]:
    names = table["objectives"]
    if len(names) < 2:
        return []
    lines = []
    for measure in (key for key in table if key != "objectives"):
        lines += ["", f"agreement between objectives: {measure}"]
        width = max(9, *(len(name) + 2 for name in names))
        lines.append(f"  {'':18}" + "".join(f"{name:>{width}}" for name in names))
        for name, row in zip(names, table[measure], strict=True):
            cells = [str(value) if measure == "n" else number(value) for value in row]
            lines.append(f"  {name:18}" + "".join(f"{cell:>{width}}" for cell in cells))
    return lines


def _examples(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["", f"examples of {name}" if name else "examples"]
    for place, row in enumerate(rows, 1):
        lines += ["", f"--- {place} ---"]
        for column, value in row.items():
            if isinstance(value, str):
                shown = readable(value) if column == "prompt" else value
                cut = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} … ({len(shown)} characters)"
                lines += [f"[{column}]", cut]
            else:
                lines.append(f"[{column}] {value}")
    return lines
