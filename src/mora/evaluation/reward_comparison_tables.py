"""The files of a comparison of reward models: two JSON tables that the page is drawn from, and flat ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mora.csv_files import write_csv
from mora.evaluation.judgement import RewardMethod
from mora.files import new_folder, write_json, write_lines
from mora.records.read import record
from mora.records.rewards import RewardComparison, curves_of

Row = dict[str, Any]


def write_tables(
    folder: Path, table: Mapping[str, Any], curves: Mapping[str, Any], methods: Sequence[RewardMethod]
) -> None:
    """Write ``reward_comparison.json``, ``reward_curves.json``, ``metrics.csv``, ``differences.csv``,
    ``agreement.csv``, ``pairs.csv`` and ``examples.jsonl``.  The folder appears whole.
    """
    record(table, RewardComparison, str(folder / "reward_comparison.json"))  # as its readers will take them
    curves_of(curves, str(folder / "reward_curves.json"))
    with new_folder(folder, sealed=True) as target:
        write_json(target / "reward_comparison.json", table)
        write_json(target / "reward_curves.json", curves)
        write_csv(target / "metrics.csv", _metrics(table))
        write_csv(target / "differences.csv", _differences(table))
        write_csv(target / "agreement.csv", table["agreement"])
        write_csv(target / "pairs.csv", _lines(methods, "lines"))
        write_lines(target / "examples.jsonl", _lines(methods, "examples"))


def _metrics(table: Mapping[str, Any]) -> Iterator[Row]:
    """A row per method, objective and metric."""
    for method in table["methods"]:
        for objective, entries in method["metrics"].items():
            for name, entry in entries.items():
                low, high = entry.get("interval") or (None, None)
                yield {
                    "method": method["name"],
                    "objective": objective,
                    "metric": name,
                    "value": entry["value"],
                    "low": low,
                    "high": high,
                    "level": table["level"] if low is not None else None,
                    "covers": entry.get("covers", method["covers"]) if low is not None else None,
                    "seeds": len(method["seeds"]),
                    **table["pairs_by_objective"][objective],
                    "better": table["metrics"][name]["better"],
                    "definition": table["metrics"][name]["definition"],
                }


def _differences(table: Mapping[str, Any]) -> Iterator[Row]:
    """A row per pair of methods, objective and metric."""
    for pair in table["pairs"]:
        for objective, entries in pair["objectives"].items():
            for name, entry in entries.items():
                low, high = entry["interval"]
                yield {
                    "a": pair["a"],
                    "b": pair["b"],
                    "objective": objective,
                    "metric": name,
                    **{key: entry[key] for key in ("difference", "p", "p_holm", "verdict")},
                    "low": low,
                    "high": high,
                    "level": table["level"],
                    "family": table["family"],
                    "covers": pair["covers"],
                }


def _lines(methods: Sequence[RewardMethod], what: str) -> Iterator[Row]:
    """What every run said: a row per run, objective and pair (or example)."""
    for method in methods:
        for one in method.seeds:
            for line in getattr(one, what):
                yield {"method": method.name, "run": one.run, **line}
