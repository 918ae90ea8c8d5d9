"""What the page of a comparison of reward models reads: ``tables/reward_comparison.json`` and ``reward_curves.json``.

NaN stands where a table holds null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mora.files import read_json, read_lines
from mora.report.compare_tables import Verdict, read_verdict
from mora.report.located import Floats, Located

COMPARED = ("accuracy", "log_loss")
SIDES = ("better", "worse", "margin")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of one method on one objective: the mean over seeds, its interval if there is one, and each seed's."""

    value: float
    interval: Floats | None  # (2,)
    by_seed: Floats  # S


@dataclass(frozen=True, kw_only=True)
class RewardMethod:
    """One method of the comparison, over all of its seeds."""

    name: str
    kind: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    model: str
    settings: Mapping[str, Any]
    covers: str
    metrics: Mapping[str, Mapping[str, Value]]  # objective -> metric


@dataclass(frozen=True, kw_only=True)
class RewardPair:
    """Two methods held against each other, by objective and metric."""

    a: str
    b: str
    covers: str
    verdicts: Mapping[str, Mapping[str, Verdict]]
    said: str


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one method on one objective."""

    densities: Mapping[str, Floats]  # SIDES -> (g,)
    histograms: Mapping[str, Floats]  # SIDES -> (b,)
    roc: Floats  # (k, 2) false and true positive rates
    risk: Mapping[str, Floats]  # margin, spread -> (k, 2) coverage and error rate; only what the model has
    calibration: Floats  # (n, 2) confidence and accuracy
    gold: Floats  # (n, 2) reward and gold score; empty where no world knows


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn of one objective."""

    bandwidth: float
    grid: Floats  # g
    edges: Floats  # b + 1
    methods: Mapping[str, Curves]


@dataclass(frozen=True, kw_only=True)
class RewardComparison:
    """``tables/reward_comparison.json`` and ``reward_curves.json``."""

    name: str
    objectives: tuple[str, ...]
    methods: tuple[RewardMethod, ...]
    pairs: tuple[RewardPair, ...]
    family: int
    level: float
    resamples: int
    prompts: int
    held_out: int
    sizes: Mapping[str, Mapping[str, int]]  # objective -> labelled, decided, prompts
    bayes: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, str]]  # name -> title, definition, better
    agreement: Sequence[Mapping[str, Any]]
    warnings: tuple[str, ...]
    dataset: Mapping[str, str]
    drawn: Mapping[str, Drawn]

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names in their order."""
        return tuple(method.name for method in self.methods)


def read_reward_comparison(tables: Path) -> RewardComparison:
    """The tables in a folder.  Raises ``InputError`` that names the file and the key that is missing or wrong."""
    path, curves = tables / "reward_comparison.json", tables / "reward_curves.json"
    top = Located(read_json(path), "", str(path))
    objectives = top["objectives"].texts()
    if not objectives:
        top["objectives"].refuse("is empty")
    methods = tuple(_method(part, objectives) for part in top["methods"].items())
    names = [method.name for method in methods]
    if len(set(names)) < len(names) or not names:
        top["methods"].refuse("must have names, each once")
    drawn = Located(read_json(curves), "", str(curves))
    return RewardComparison(
        name=top["comparison"].text(),
        objectives=objectives,
        methods=methods,
        pairs=tuple(_pair(part, names) for part in top["pairs"].items()),
        family=top["family"].count(),
        level=top["level"].number(),
        resamples=top["resamples"].count(),
        prompts=top["prompts"].count(),
        held_out=top["held_out"].count(),
        sizes={
            o: {k: top["pairs_by_objective"][o][k].count() for k in ("labelled", "decided", "prompts")}
            for o in objectives
        },
        bayes={o: top["bayes"][o].number() for o in objectives},
        metrics={
            name: {key: part[key].text() for key in ("title", "definition", "better")}
            for name, part in top["metrics"].fields().items()
        },
        agreement=[_agreement(part) for part in top["agreement"].items()],
        warnings=top["warnings"].texts(),
        dataset={key: part.text() for key, part in top["dataset"].fields().items()},
        drawn={o: _drawn(part, names) for o in objectives if (part := drawn.get(o))},
    )


def _method(part: Located, objectives: Sequence[str]) -> RewardMethod:
    return RewardMethod(
        name=part["name"].text(),
        kind=part["kind"].text(),
        runs=part["runs"].texts(),
        seeds=tuple(seed.count() for seed in part["seeds"].items()),
        model=part["model"].text(),
        settings={key: value.value for key, value in part["settings"].fields().items()},
        covers=part["covers"].text(),
        metrics={o: {name: _value(entry) for name, entry in part["metrics"][o].fields().items()} for o in objectives},
    )


def _value(part: Located) -> Value:
    interval = part.get("interval")
    return Value(
        value=part["value"].number(),
        interval=interval.vector(2) if interval else None,
        by_seed=np.array([item.number() for item in part["by_seed"].items()], dtype=np.float64),
    )


def _pair(part: Located, names: Sequence[str]) -> RewardPair:
    for side in ("a", "b"):
        if part[side].text() not in names:
            part[side].refuse("names no method")
    return RewardPair(
        a=part["a"].text(),
        b=part["b"].text(),
        covers=part["covers"].text(),
        verdicts={
            o: {name: read_verdict(entries[name]) for name in COMPARED}
            for o, entries in part["objectives"].fields().items()
        },
        said=part["said"].text(),
    )


def _agreement(part: Located) -> dict[str, Any]:
    words = {key: part[key].text() for key in ("objective", "a", "b", "run_a", "run_b")}
    return words | {key: part[key].number() for key in ("same_order", "correlation")}


def _drawn(part: Located, names: Sequence[str]) -> Drawn:
    points, bins = len(part["grid"].items()), len(part["edges"].items()) - 1
    return Drawn(
        bandwidth=part["bandwidth"].number(),
        grid=part["grid"].vector(points),
        edges=part["edges"].vector(bins + 1),
        methods={name: _curves(part["methods"][name], points, bins) for name in names},
    )


def _curves(part: Located, points: int, bins: int) -> Curves:
    densities, risk, gold = part["densities"], part["risk"], part.get("gold")
    covered = len(risk["coverage"].items())
    return Curves(
        densities={side: densities[side]["density"].vector(points) for side in SIDES},
        histograms={side: densities[side]["histogram"].vector(bins) for side in SIDES},
        roc=_columns(part["roc"], "false_positive", "true_positive"),
        risk={
            key: np.column_stack([risk["coverage"].vector(covered), found.vector(covered)])
            for key in ("margin", "spread")
            if (found := risk.get(key))
        },
        calibration=_columns(part["calibration"], "confidence", "accuracy"),
        gold=gold.matrix(2) if gold else np.empty((0, 2)),
    )


def _columns(part: Located, *keys: str) -> Floats:
    count = len(part[keys[0]].items())
    return np.column_stack([part[key].vector(count) for key in keys])


def read_examples(path: Path) -> list[dict[str, Any]]:
    """The rows of ``examples.jsonl`` with a run, an objective, an end and texts; none without the file."""
    rows = read_lines(path) if path.exists() else []
    needed = ("run", "objective", "end", "prompt", "response")
    return [row for row in rows if all(isinstance(row.get(key), str) for key in needed)]
