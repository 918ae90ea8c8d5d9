"""The files of a comparison: one JSON table that the page is drawn from, and flat ones for other tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.csv_files import write_csv
from mora.evaluation.judged import Columns
from mora.evaluation.methods import Method
from mora.files import new_folder, write_json, write_lines
from mora.records.compare import Comparison
from mora.records.read import record

Floats = NDArray[np.float64]
Row = dict[str, Any]


def write_tables(
    folder: Path, table: Mapping[str, Any], methods: Sequence[Method], cells: Mapping[str, Floats], *, shown: int
) -> None:
    """Write ``compare.json``, ``points.csv``, ``indicators.csv``, ``pairs.csv``, ``scores.csv`` and ``answers.jsonl``.

    The folder appears whole.  ``cells`` are (S, P, X, C) by method, ``shown`` the prompts whose answers are kept.
    """
    record(table, Comparison, str(folder / "compare.json"))  # as its readers will take it
    with new_folder(folder, sealed=True) as target:
        write_json(target / "compare.json", table)
        write_csv(target / "points.csv", _points(table))
        write_csv(target / "indicators.csv", _indicators(table))
        write_csv(target / "pairs.csv", _pairs(table))
        write_csv(target / "scores.csv", _scores(table, methods, cells))
        write_lines(target / "answers.jsonl", _answers(table, methods, shown))


def _sizes(table: Mapping[str, Any]) -> Row:
    return {"prompts": table["prompts"], "samples_per_prompt": table["samples_per_prompt"]}


def _spread(prefix: str, names: Sequence[str], values: Sequence[float | None]) -> Row:
    return {f"{prefix}_{name}": value for name, value in zip(names, values, strict=True)}


def _points(table: Mapping[str, Any]) -> Iterator[Row]:
    names = table["objectives"]
    for method in table["methods"]:
        for point in method["points"]:
            row: Row = {"method": method["name"], "seeds": len(method["seeds"]), **_sizes(table)}
            row |= _spread("weight", names, point["preference"])
            for key in ("scores", "margins", "unscaled", "at_matched_kl", "win_rates"):
                row |= _spread(key, names, point[key] or [None] * len(names))
            single = (key for key, value in point.items() if key != "at_matched_kl" and not isinstance(value, list))
            yield row | {key: point[key] for key in single}


def _indicators(table: Mapping[str, Any]) -> Iterator[Row]:
    z = " ".join(f"{value:.6g}" for value in table["reference_point"]["values"])
    for method in table["methods"]:
        matched = {f"{name}_at_matched_kl": entry for name, entry in (method["at_matched_kl"] or {}).items()}
        for name, entry in (method["indicators"] | matched).items():
            values = entry["value"] if isinstance(entry["value"], list) else [entry["value"]]
            places = table["objectives"] if isinstance(entry["value"], list) else [""]
            low, high = entry.get("interval") or (None, None)
            for objective, value in zip(places, values, strict=True):
                yield {
                    "method": method["name"],
                    "indicator": name,
                    "objective": objective,
                    "value": value,
                    "low": low,
                    "high": high,
                    "level": table["level"] if low is not None else None,
                    "covers": method["covers"] if low is not None else None,
                    "seeds": len(method["seeds"]),
                    **_sizes(table),
                    "reference_point": z,
                    "definition": entry["definition"],
                }


def _pairs(table: Mapping[str, Any]) -> Iterator[Row]:
    for pair in table["pairs"]:
        for part, kl in (("verdicts", "own"), ("at_matched_kl", "matched")):
            for name, entry in (pair[part] or {}).items():
                low, high = entry["interval"]
                yield {
                    "a": pair["a"],
                    "b": pair["b"],
                    "indicator": name,
                    "kl": kl,
                    **{key: entry[key] for key in ("difference", "p", "p_holm", "verdict")},
                    "low": low,
                    "high": high,
                    "level": table["level"],
                    "family": table["family"],
                    "covers": pair["covers"],
                    "by_reference_point": pair["by_reference_point"],
                }


def _scores(table: Mapping[str, Any], methods: Sequence[Method], cells: Mapping[str, Floats]) -> Iterator[Row]:
    """A row per run, preference and prompt: what every interval was computed from."""
    names, columns = table["objectives"], Columns(len(table["objectives"]))
    for method in methods:
        for seed, judged in enumerate(method.seeds):
            for p, preference in enumerate(table["preferences"]):
                for x, prompt in enumerate(judged.answers.prompts):
                    cell = cells[method.name][seed, p, x]
                    row: Row = {"method": method.name, "run": judged.answers.run, "prompt": prompt}
                    row |= _spread("weight", names, preference)
                    row |= _spread("score", names, cell[columns.scores].tolist())
                    row |= _spread("reference", names, cell[columns.reference].tolist())
                    row |= _spread("win_rate", names, cell[columns.wins].tolist())
                    single = {"kl": columns.kl, "win_rate": columns.win, "worst_objective": columns.worst}
                    yield row | {key: float(cell[place]) for key, place in single.items()}


def _answers(table: Mapping[str, Any], methods: Sequence[Method], shown: int) -> Iterator[Row]:
    """One answer of each method's first seed to a few prompts, at the vertices and the center of the simplex."""
    grid = np.array(table["preferences"])
    unit = table["standardization"]
    center = int(np.abs(grid - 1 / grid.shape[1]).sum(1).argmin())
    places = sorted({int(grid[:, j].argmax()) for j in range(grid.shape[1])} | {center})
    for method in methods:
        judged = method.seeds[0]
        prompts = judged.answers.prompts
        for x in sorted(
            {i * len(prompts) // max(min(shown, len(prompts)), 1) for i in range(min(shown, len(prompts)))}
        ):
            for place in (None, *places):
                row = 0 if place is None else 1 + place
                scores = (judged.scores[row, x, 0] - np.array(unit["mean"])) / np.array(unit["std"])
                yield {
                    "method": f"reference policy of {method.name}" if place is None else method.name,
                    "run": judged.answers.run,
                    "preference": None if place is None else table["preferences"][place],
                    "prompt": prompts[x],
                    "response": judged.answers.texts[row, x, 0],
                    "scores": scores.tolist(),
                    "kl": float(judged.answers.kl[row, x, 0]),
                    "ended": bool(judged.answers.ended[row, x, 0]),
                }
