"""What a report reads: the tables and metrics of run folders, as arrays.  No model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.errors import reading
from mora.files import read_json, read_lines, read_object
from mora.limits import SHOWN
from mora.regular import inside, read_bytes

Floats = NDArray[np.float64]
Series = tuple[Floats, Floats]  # steps, values
AGAIN = "run the evaluation of this run again"
SCORERS = ("gold", "reward")
SETTINGS_BYTES = 2**22  # of one of these files, at most
SETTINGS = ("diff.yaml", "overrides.yaml", "config.yaml", "environment.json")  # what a run folder says of its set-up


@dataclass(frozen=True, kw_only=True)
class Front:
    """``tables/front.json``.  Arrays are (P, M) or (P,); NaN stands where the table holds null."""

    run: str
    model: str
    smoke: bool
    judge: str
    seed: int | None
    split: str  # of the prompts: test are held-out ones, train those of training
    prompts: int | None
    samples_per_prompt: int | None
    objectives: tuple[str, ...]
    preferences: Floats  # P M
    scores: Mapping[str, Floats]  # scorer -> P M; only scorers that scored something
    errors: Mapping[str, Floats]  # scorer -> P M, standard errors
    columns: Mapping[str, Floats]  # kl, kl_stderr, ended, valid, distinct, tokens -> P
    reference: Mapping[str, Any]  # the reference policy: scorer -> M, and the columns as numbers
    reference_points: Mapping[str, tuple[Floats, str]]  # scorer -> z (M,) and the rule it came from
    indicators: Mapping[str, Mapping[str, Mapping[str, Any]]]  # scorer -> name -> value, definition
    world: Mapping[str, Floats]  # front, best, floor; empty when the truth is not known
    scorers: Mapping[str, Mapping[str, Any]]  # provenance
    units: Mapping[str, str]

    @property
    def shown(self) -> list[str]:
        """The scorers that have scores, the judge first."""
        return sorted(self.scores, key=lambda scorer: (scorer != self.judge, scorer))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of the chain: its name, folder, metrics (name -> steps and values), reward tables and settings."""

    name: str
    path: Path
    metrics: Mapping[str, Series]
    reward: Mapping[str, Any] | None
    quality: Mapping[str, Mapping[str, Series]]  # metric -> objective -> the reward model's while it was trained
    benchmark: Mapping[str, Any] | None
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Policies held against the truth by one scorer of ``tables/regret.json``.  Arrays are (P,) or (P, M)."""

    utility: Mapping[str, Floats]  # reference, policy, optimum -> P, reward units
    kl: Mapping[str, Floats]  # reference, policy, optimum -> P, nats
    gold: Mapping[str, Floats]  # reference, policy, optimum -> P M, expected gold scores
    regret: Floats  # P, relative: 0 is the optimum, 1 the reference policy
    worst_prompt: float  # mean over preferences of the prompt with the largest; NaN where prompts have none
    limit: Floats | None  # P, the relative regret of the run that stands for the class limit
    limit_run: str


@dataclass(frozen=True, kw_only=True)
class Regret:
    """A split of ``tables/regret.json``: exact utilities, over all responses; NaN stands where the table holds null."""

    run: str
    objectives: tuple[str, ...]
    split: str  # train or test
    prompts: int
    responses: int
    kl_coef: float  # reward units per nat
    scalarize: str  # the class of the scalarization
    definition: str
    preferences: Floats  # P M
    judged: Mapping[str, Judged]  # scorer -> what it says, gold first
    pure: Floats  # (K, M) gold scores that single responses have
    hull: Floats  # (H, M) those that no mixture of others reaches or beats


COLUMNS = ("kl", "kl_stderr", "ended", "valid", "distinct", "tokens")
SPLIT_NAMES = {"train": "prompts of training", "test": "held-out prompts"}  # what the prompts of a table are
WHO = ("reference", "policy", "optimum")


def read_regret(path: Path) -> list[Regret]:
    """The regret on the prompts of each split, those of training first; none when the run has no such table.

    Raises ``InputError`` naming a key that is missing.
    """
    if not path.exists():
        return []
    table = read_json(path)
    with reading(path, "a regret table", AGAIN):
        return [_regret(table, split) for split in SPLIT_NAMES if split in table["splits"]]


def _regret(table: dict[str, Any], split: str) -> Regret:
    objectives, found = tuple(table["objectives"]), table["splits"][split]
    names = [scorer for scorer in SCORERS if scorer in found["scorers"]]
    points = found["scorers"][names[0]]["points"]
    return Regret(
        run=str(table["run"]),
        objectives=objectives,
        split=split,
        prompts=len(found["prompts"]),
        responses=int(found["responses"]),
        kl_coef=float(table["kl_coef"]),
        scalarize=str(table["scalarize"]),
        definition=str(table["definition"]),
        preferences=_matrix([point["preference"] for point in points], len(objectives)),
        judged={scorer: _judged(found["scorers"][scorer], len(objectives)) for scorer in names},
        pure=_matrix(found["pure"], len(objectives)),
        hull=_matrix(found["hull"], len(objectives)),
    )


def _judged(entry: dict[str, Any], width: int) -> Judged:
    points, limit = entry["points"], entry.get("limit")
    return Judged(
        utility={who: _column(point["utility"][who] for point in points) for who in WHO},
        kl={who: _column(point["kl"][who] for point in points).clip(min=0.0) for who in WHO},  # rounding alone is below
        gold={who: _matrix([point["gold"][who] for point in points], width) for who in WHO},
        regret=_column(point["relative_regret"] for point in points),
        worst_prompt=_number(entry["summary"]["relative_regret_worst_prompt"]),
        limit=None if limit is None else _column(point["relative_regret"] for point in limit["points"]),
        limit_run="" if limit is None else str(limit["run"]),
    )


def read_front(path: Path) -> Front | None:
    """The front table, or None when the run has none.  Raises ``InputError`` naming a key that is missing."""
    if not path.exists():
        return None
    table = read_json(path)
    with reading(path, "a front table", AGAIN):
        return _front(table)


def _front(table: dict[str, Any]) -> Front:
    points, objectives, judge = table["points"], tuple(table["objectives"]), table["judge"]
    width = len(objectives)
    names = [s for s in SCORERS if any(point.get(s) is not None for point in points)]
    if judge not in names:
        raise ValueError(f"the judge {judge!r} scored no point")
    if table["split"] not in list(SPLIT_NAMES):
        raise ValueError(f"the split {table['split']!r} is none of {', '.join(SPLIT_NAMES)}")
    units = table.get("units") or {}
    world = table.get("world") or {}
    return Front(
        run=str(table["run"]),
        model=str(table["model"]),
        smoke=bool(table.get("smoke")),
        judge=judge,
        seed=_count(table, "seed"),
        split=table["split"],
        prompts=_count(table, "prompts"),
        samples_per_prompt=_count(table, "samples_per_prompt"),
        objectives=objectives,
        preferences=_matrix([point["preference"] for point in points], width),
        scores={s: _matrix([point.get(s) for point in points], width) for s in names},
        errors={s: _matrix([point.get(f"{s}_stderr") for point in points], width) for s in names},
        columns={c: _column(point.get(c) for point in points) for c in COLUMNS},
        reference=_reference(table.get("reference"), names, width),
        reference_points=_reference_points(table.get("reference_point") or {}, judge),
        indicators={s: _indicators(table.get("indicators", {}).get(s) or {}) for s in names},
        world={key: _matrix(np.atleast_2d(world[key]), width) for key in world if world[key] is not None},
        scorers=table.get("scorers") or {},
        units={s: str(units[s]) for s in names if units.get(s)},
    )


def _count(table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    if value is not None and type(value) is not int:
        raise ValueError(f"{key} is {value!r:.{SHOWN}}, no whole number")
    return value


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _column(values: Iterable[Any]) -> Floats:
    return np.array([_number(value) for value in values], dtype=np.float64)


def _matrix(rows: Any, width: int) -> Floats:
    """Rows of numbers as (P, M); a missing row or number becomes NaN, a row of another length is refused."""
    filled = [[None] * width if row is None else list(row) for row in rows]
    if any(len(row) != width for row in filled):
        raise ValueError(f"a row does not have {width} values, one per objective")
    return np.array([[_number(v) for v in row] for row in filled], dtype=np.float64).reshape(len(filled), width)


def _reference(table: dict[str, Any] | None, names: list[str], width: int) -> dict[str, Any]:
    if table is None:
        return {}
    scores = {s: _matrix([table[s]], width)[0] for s in names if table.get(s) is not None}
    errors = {f"{s}_stderr": _matrix([table.get(f"{s}_stderr")], width)[0] for s in names}
    return scores | errors | {column: _number(table.get(column)) for column in COLUMNS}


def _reference_points(table: dict[str, Any], judge: str) -> dict[str, tuple[Floats, str]]:
    """Either one {values, rule}, which belongs to the judge, or one of them per scorer."""
    parts = {judge: table} if "values" in table else table
    return {s: (np.array(part["values"], dtype=np.float64), str(part.get("rule", ""))) for s, part in parts.items()}


def _indicators(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: _indicator(entry if isinstance(entry, dict) else {"value": entry}) for name, entry in table.items()}


def _indicator(entry: dict[str, Any]) -> dict[str, Any]:
    """With its value and interval as numbers, or None where they are not known."""
    return entry | {key: _known(entry[key]) for key in ("value", "interval") if key in entry}


def _known(value: Any) -> Any:
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if value is None else float(value)


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
        reward=_optional(tables / "reward.json"),
        quality=_quality(tables / "quality.jsonl"),
        benchmark=_optional(tables / "sections.json"),
        settings={
            name: read_bytes(inside(folder, name), SETTINGS_BYTES).decode("utf-8", "replace")
            for name in SETTINGS
            if (folder / name).exists()
        },
    )


def _optional(path: Path) -> dict[str, Any] | None:
    return read_object(path) if path.exists() else None


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
