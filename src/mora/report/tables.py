"""What a report reads: the tables and metrics of run folders, as arrays.  No model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mora.errors import reading
from mora.files import read_lines
from mora.records.front import Front
from mora.records.quality import RewardQuality
from mora.records.read import Floats, Record, read_record
from mora.records.regret import Regret, Regrets
from mora.records.safety import Safety
from mora.records.sections import Benchmark
from mora.regular import inside, read_bytes

Series = tuple[Floats, Floats]  # steps, values
AGAIN = "run the evaluation of this run again"
SETTINGS_BYTES = 2**22  # of one of these files, at most
SETTINGS = ("diff.yaml", "overrides.yaml", "config.yaml", "environment.json")  # what a run folder says of its set-up


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of the chain: its name, folder, metrics (name -> steps and values), reward tables and settings."""

    name: str
    path: Path
    metrics: Mapping[str, Series]
    reward: RewardQuality | None
    quality: Mapping[str, Mapping[str, Series]]  # metric -> objective -> the reward model's while it was trained
    benchmark: Benchmark | None
    settings: Mapping[str, str]


def read_front(path: Path) -> Front | None:
    """The front table, or None when the run has none.  Raises ``InputError`` naming a key that is missing or wrong."""
    return _optional(path, Front)


def read_regret(path: Path) -> list[Regret]:
    """The regret on the prompts of each split, those of training first; none when the run has no such table."""
    return Regret.of(read_record(path, Regrets)) if path.exists() else []


def read_safety(path: Path) -> Safety | None:
    """The safety test, or None when there was none."""
    return _optional(path, Safety)


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows of ``samples.jsonl``, or none."""
    return read_lines(path) if path.exists() else []


def read_stage(name: str, folder: Path) -> Stage:
    """One run folder; everything in it is optional."""
    tables = folder / "tables"
    return Stage(
        name=name,
        path=folder,
        metrics=_metrics(folder / "metrics.jsonl"),
        reward=_optional(tables / "reward.json", RewardQuality),
        quality=_quality(tables / "quality.jsonl"),
        benchmark=_optional(tables / "sections.json", Benchmark),
        settings={
            name: read_bytes(inside(folder, name), SETTINGS_BYTES).decode("utf-8", "replace")
            for name in SETTINGS
            if (folder / name).exists()
        },
    )


def _optional(path: Path, kind: type[Record]) -> Record | None:
    return read_record(path, kind) if path.exists() else None


def _quality(path: Path) -> dict[str, dict[str, Series]]:
    """Metric -> objective -> series, of the lines {step, quality: {objective: {metric: value}}}."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with reading(path, "a list of measurements of a reward model", "delete the line"):
        for line in read_lines(path) if path.exists() else []:
            for objective, values in line["quality"].items():
                for metric, value in values.items():
                    rows.setdefault(metric, []).append({"step": line["step"], objective: value})
        return {metric: _series(own) for metric, own in rows.items()}


def _metrics(path: Path) -> dict[str, Series]:
    """The curves of ``metrics.jsonl``."""
    with reading(path, "a list of metrics", "repair or delete the file"):
        return _series(read_lines(path) if path.exists() else [])


def _series(rows: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Every numeric metric as (steps, values), steps ascending; of a step logged twice the last value counts."""
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool) and "step" in row:
                series.setdefault(name, {})[float(row["step"])] = float(value)
    return {
        name: (np.array(sorted(values)), np.array([values[step] for step in sorted(values)]))
        for name, values in series.items()
    }


def read_texts(path: Path, *needed: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that have texts under the keys ``needed``; none without the file."""
    rows = read_lines(path) if path.exists() else []
    return [row for row in rows if all(isinstance(row.get(key), str) for key in needed)]
