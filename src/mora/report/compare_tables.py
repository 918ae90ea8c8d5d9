"""What a comparison page reads: ``tables/compare.json`` and ``tables/answers.jsonl``, as arrays.

P preferences, M objectives, S seeds, K budgets of KL, R reference points; NaN stands where the table holds null.
Scores are in standard deviations of the reference policy, 0 is its mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.files import read_json, read_lines
from mora.report.located import Floats, Located
from mora.report.tables import SPLIT_NAMES

COLUMNS = ("kl", "kl_margin", "utility", "utility_margin", "win_rate", "win_rate_margin", "worst_objective", "valid",
           "tokens", "ended")  # fmt: skip
SPENT = ("generated_tokens", "trained_tokens", "forward_passes", "peak_memory_gib", "seconds")
JUDGED = ("hypervolume", "inner_product")  # the indicators that pairs of methods are compared by
VERDICTS = ("A > B", "B > A", "undecided")
FAVORED = ("A", "B", "equal", "depends on the reference point")
REFERENCE = "reference policy of "  # begins the method of the reference policy's answers


@dataclass(frozen=True, kw_only=True)
class Band:
    """Attainment surfaces of two objectives: of resampled fronts, the share ``level`` attains what lies below one."""

    levels: Sequence[float]
    surfaces: Sequence[Floats]  # one (corners, 2) per level


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the comparison, over all of its seeds."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    algo: str
    model: str
    smoke: bool
    steered: bool  # False: one policy for all preferences
    settings: Mapping[str, Any]
    trained_by: str | None
    judge_trained_it: bool
    covers: str
    scores: Floats  # P M
    margins: Floats  # P M, half widths of intervals
    unscaled: Floats  # P M
    matched: Floats  # P M, at the KL budget of each preference
    win_rates: Floats  # P M, per objective
    columns: Mapping[str, Floats]  # COLUMNS -> P
    dominated: NDArray[np.bool_]  # P
    reference: Mapping[str, Any]  # scores, unscaled (M,); worst_objective, valid, tokens, ended
    by_seed: Floats  # S P M
    band: Band | None
    indicators: Mapping[str, Mapping[str, Any]]
    at_matched_kl: Mapping[str, Mapping[str, Any]]
    curve: Mapping[str, Floats]  # hypervolume, inner_product (K,) and <name>_interval (K, 2)
    budget: Mapping[str, Any]  # run, chain: SPENT -> number; stages: list of (run, algo, SPENT)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one indicator of two methods; ``difference`` is that of A minus that of B."""

    difference: float
    interval: Floats  # (2,)
    p: float
    p_holm: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods held against each other."""

    a: str
    b: str
    covers: str
    verdicts: Mapping[str, Verdict]
    at_matched_kl: Mapping[str, Verdict]
    by_reference_point: str
    said: str


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Hypervolumes over reference points that move away from the pooled front."""

    reach: float
    distances: Floats  # R
    hypervolumes: Mapping[str, Floats]  # method -> R


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``tables/compare.json``.  ``about`` holds what is shown as it is: judge, sampling, rules."""

    name: str
    objectives: tuple[str, ...]
    preferences: Floats  # P M
    methods: tuple[Method, ...]
    pairs: tuple[Pair, ...]
    family: int
    level: float
    prompts: int
    samples_per_prompt: int
    reference_point: Floats  # M
    kl_budget: Floats  # P, nats; NaN where nothing is granted
    kl_budgets: Floats  # K, nats
    sweep: Sweep | None
    world: Mapping[str, Floats]  # front (F, M); empty when the truth is not known
    warnings: tuple[str, ...]
    about: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names in their order."""
        return tuple(method.name for method in self.methods)

    @property
    def unit(self) -> str:
        """The unit of the scores in words."""
        return str(self.about["judge"]["unit"])


def read_comparison(path: Path) -> Comparison:
    """The table of a comparison.  Raises ``InputError`` that names the file and the key that is missing or wrong."""
    top = Located(read_json(path), "", str(path))
    objectives = top["objectives"].texts()
    if not objectives:
        top["objectives"].refuse("is empty")
    preferences, budgets = top["preferences"].matrix(len(objectives)), top.get("kl_budgets")
    budgets_at = budgets.vector(len(budgets.items())) if budgets else np.empty(0)
    methods = tuple(_method(part, preferences, len(budgets_at)) for part in top["methods"].items())
    names = [method.name for method in methods]
    if len(set(names)) < len(names) or not names:
        top["methods"].refuse("must have names, each once")
    granted, world = top.get("kl_budget"), top.get("world")
    return Comparison(
        name=top["comparison"].text(),
        objectives=objectives,
        preferences=preferences,
        methods=methods,
        pairs=tuple(_pair(part, names) for part in top["pairs"].items()),
        family=top["family"].count(),
        level=top["level"].number(),
        prompts=top["prompts"].count(),
        samples_per_prompt=top["samples_per_prompt"].count(),
        reference_point=top["reference_point"]["values"].vector(len(objectives)),
        kl_budget=granted["values"].vector(len(preferences)) if granted else np.full(len(preferences), np.nan),
        kl_budgets=budgets_at,
        sweep=_sweep(part, names) if (part := top.get("sweep")) else None,
        world={key: part.matrix(len(objectives)) for key in ("front",) if world and (part := world.get(key))},
        warnings=top["warnings"].texts(),
        about=_about(top),
    )


def _about(top: Located) -> dict[str, Any]:
    judge = top["judge"]
    if top["split"].value not in list(SPLIT_NAMES):
        top["split"].refuse(f"is none of {', '.join(SPLIT_NAMES)}")
    shown = ("split", "dataset", "seed", "sampling", "resamples", "standardization", "reference_point", "kl_budget")
    return {"judge": {key: judge[key].text() for key in ("name", "kind", "unit")}} | {
        key: part.value for key in shown if (part := top.get(key))
    }


def _method(part: Located, preferences: Floats, budgets: int) -> Method:
    width, points = preferences.shape[1], part["points"].items()
    if len(points) != len(preferences):
        part["points"].refuse(f"has {len(points)} members where {len(preferences)} preferences are")
    for point, preference in zip(points, preferences, strict=True):
        if not np.allclose(point["preference"].vector(width), preference):
            point["preference"].refuse("is not the preference in this place of the grid")

    def matrix(key: str) -> Floats:
        return np.array([point[key].vector(width) for point in points]).reshape(-1, width)

    trained_by = part["trained_by"]
    return Method(
        name=part["name"].text(),
        runs=part["runs"].texts(),
        seeds=tuple(seed.count() for seed in part["seeds"].items()),
        algo=part["algo"].text(),
        model=part["model"].text(),
        smoke=part["smoke"].flag(),
        steered=part["steered"].flag(),
        settings={key: value.value for key, value in part["settings"].fields().items()},
        trained_by=None if trained_by.value is None else trained_by.text(),
        judge_trained_it=part["judge_trained_it"].flag(),
        covers=part["covers"].text(),
        scores=matrix("scores"),
        margins=matrix("margins"),
        unscaled=matrix("unscaled"),
        matched=matrix("at_matched_kl"),
        win_rates=matrix("win_rates"),
        columns={key: np.array([point[key].number() for point in points]) for key in COLUMNS},
        dominated=np.array([point["dominated"].flag() for point in points], dtype=bool),
        reference=_reference(part["reference"], width),
        by_seed=_by_seed(part["fronts_by_seed"], len(points), width),
        band=_band(found) if (found := part.get("band")) else None,
        indicators=_indicators(part["indicators"], width),
        at_matched_kl=_indicators(found, width) if (found := part.get("at_matched_kl")) else {},
        curve=_curve(found, budgets) if (found := part.get("kl_curve")) and budgets else {},
        budget=_budget(found) if (found := part.get("budget")) else {},
    )


def _reference(part: Located, width: int) -> dict[str, Any]:
    scores = {key: part[key].vector(width) for key in ("scores", "unscaled")}
    return scores | {key: part[key].number() for key in ("worst_objective", "valid", "tokens", "ended")}


def _by_seed(part: Located, points: int, width: int) -> Floats:
    found = [seed.matrix(width, points) for seed in part.items()]
    return np.array(found, dtype=np.float64).reshape(len(found), points, width)


def _band(part: Located) -> Band:
    levels, surfaces = part["levels"].items(), part["surfaces"].items()
    if len(levels) != len(surfaces):
        part["surfaces"].refuse(f"has {len(surfaces)} members where {len(levels)} levels are")
    return Band(levels=[level.number() for level in levels], surfaces=[each.matrix(2) for each in surfaces])


def _indicators(part: Located, width: int) -> dict[str, dict[str, Any]]:
    found = {}
    for name, entry in part.fields().items():
        value, interval, definition = entry["value"], entry.get("interval"), entry.get("definition")
        found[name] = {
            "value": value.vector(width) if isinstance(value.value, list) else value.number(),
            "interval": interval.vector(2) if interval else None,
            "definition": definition.text() if definition else "",
        }
    return found


def _curve(part: Located, budgets: int) -> dict[str, Floats]:
    found = {name: part[name].vector(budgets) for name in JUDGED}
    return found | {f"{name}_interval": part[f"{name}_interval"].matrix(2, budgets) for name in JUDGED}


def _budget(part: Located) -> dict[str, Any]:
    def spent(entry: Located) -> dict[str, float]:
        return {key: entry[key].number() for key in SPENT}

    stages = part.get("stages")
    named = [(s["run"].text(), s["algo"].text(), spent(s)) for s in stages.items()] if stages else []
    return {"run": spent(part["run"]), "chain": spent(part["chain"]), "stages": named}


def _sweep(part: Located, names: Sequence[str]) -> Sweep:
    count = len(part["distances"].items())
    return Sweep(
        reach=part["reach"].number(),
        distances=part["distances"].vector(count),
        hypervolumes={name: part["hypervolumes"][name].vector(count) for name in names},
    )


def _pair(part: Located, names: Sequence[str]) -> Pair:
    for side in ("a", "b"):
        if part[side].text() not in names:
            part[side].refuse("names no method")
    favored, matched = part["by_reference_point"], part.get("at_matched_kl")
    if favored.value is not None and favored.value not in FAVORED:
        favored.refuse(f"is none of {', '.join(FAVORED)}")
    return Pair(
        a=part["a"].text(),
        b=part["b"].text(),
        covers=part["covers"].text(),
        verdicts={name: read_verdict(part["verdicts"][name]) for name in JUDGED},
        at_matched_kl={name: read_verdict(matched[name]) for name in JUDGED} if matched else {},
        by_reference_point=str(favored.value or ""),
        said=part["said"].text(),
    )


def read_verdict(part: Located) -> Verdict:
    """What a comparison says of two methods on one number.  Refuses a word that is no verdict."""
    if part["verdict"].value not in VERDICTS:
        part["verdict"].refuse(f"is none of {', '.join(VERDICTS)}")
    numbers = {key: part[key].number() for key in ("difference", "p", "p_holm")}
    return Verdict(**numbers, interval=part["interval"].vector(2), verdict=part["verdict"].text())


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of ``answers.jsonl`` that have a method, a prompt and a response; none without the file."""
    rows = read_lines(path) if path.exists() else []
    return [row for row in rows if all(isinstance(row.get(key), str) for key in ("method", "prompt", "response"))]
