"""The parts of the page of a run, each a function from tables to HTML; a part without data is an empty string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.functional.thinning import evenly
from mora.records.front import Front
from mora.records.quality import RewardQuality
from mora.records.regret import Regret
from mora.report.fronts import SCORER_NAMES, keep, scorer_title
from mora.report.hard_cases import conflict_table
from mora.report.markup import fill, macros
from mora.report.page import Head
from mora.report.regret import enumerated, tiles
from mora.report.style import Plate, number
from mora.report.tables import Stage

PROMPTS_SHOWN = 6
CUT_TOLD = 0.05  # share of answers that were cut off from which on a reader is told
TRAINED = "trained the policy"  # key of a scorer's provenance
TILES = {
    "hypervolume": "hypervolume",
    "inner_product": "mean utility realized",
    "sparsity": "sparsity",
    "kendall_tau": "Kendall's tau, lowest",
}
BETWEEN_POINTS = ("sparsity", "kendall_tau")  # tiles that one point has none of
COLUMNS = {"kl": "KL, nats", "ended": "ended", "valid": "valid", "distinct": "distinct", "tokens": "tokens"}


def head(front: Front | None, stages: Sequence[Stage], run: str, *, regrets: Sequence[Regret] = ()) -> Head:
    """What was run, and what must be known before reading on.

    A run that has no front is summed up by its regret, if it has one.
    """
    regret = next(iter(regrets), None)
    known = (front.scorers.get(front.judge) or {}) if front else {}
    lead = fill(
        "run_lead.html",
        front=front,
        provenance=", ".join(f"{key} {value}" for key, value in known.items() if isinstance(value, str)),
        regret=regret,
        enumerated=enumerated(regrets) if regret else "",
        stages=stages,
    )
    values = _indicator_tiles(front) if front else tiles(regrets) if regrets else []
    return Head(kind="mora report", eyebrow="mora report", name=run, lead=lead, warnings=_warnings(front), tiles=values)


def _warnings(front: Front | None) -> list[str]:
    if front is None:
        return []
    words, found = macros("warnings.html"), []
    if front.split == "train":
        found.append(words.not_held_out())
    if front.smoke:
        found.append(words.smoke(front.model))
    if front.scorers.get(front.judge, {}).get(TRAINED, front.judge == "reward"):
        found.append(words.judge_trained_policy(SCORER_NAMES[front.judge]))
    cut = 1 - front.columns["ended"][np.isfinite(front.columns["ended"])]
    if len(cut) and cut.max() >= CUT_TOLD:
        found.append(words.cut_off(f"{cut.max():.0%}"))
    return found


def _indicator_tiles(front: Front) -> list[tuple[str, str]]:
    """The indicators that the page begins with, as (value, name)."""
    found = []
    for name, title in TILES.items():
        if len(front.preferences) == 1 and name in BETWEEN_POINTS:
            continue
        entry = front.indicators.get(front.judge, {}).get(name)
        values = [] if entry is None else [v for v in np.atleast_1d(entry.value) if np.isfinite(v)]
        if values:
            found.append((number(min(values)), title))
    return found


def samples(front: Front, rows: Sequence[Mapping[str, Any]]) -> str:
    """Answers to the same prompts at the vertices and the center of the simplex."""
    rows = [row for row in rows if row.get("preference") and not row.get("sample")]
    # All scorers, or the judge alone where their columns would leave no room for the text
    scorers = front.shown if len(front.shown) * len(front.objectives) <= 6 else [front.judge]
    chosen, blocks = _shown_preferences(front, rows) if rows else [], []
    for prompt in evenly(list(dict.fromkeys(row["prompt"] for row in rows)), PROMPTS_SHOWN):
        found = {tuple(row["preference"]): row for row in rows if row["prompt"] == prompt}
        shown = [preference for preference in chosen if preference in found]
        blocks.append((prompt, [(p, found[p], _scores(found[p], scorers, len(front.objectives))) for p in shown]))
    if not blocks:
        return ""
    titles = [f"{name}, {s}" if len(scorers) > 1 else name for s in scorers for name in front.objectives]
    names = [SCORER_NAMES[scorer] for scorer in scorers]
    return fill("samples.html", blocks=blocks, titles=titles, scorers=names, objectives=front.objectives)


def _scores(row: Mapping[str, Any], scorers: Sequence[str], width: int) -> list[float | None]:
    return [(row.get(scorer) or [None] * width)[i] for scorer in scorers for i in range(width)]


def _shown_preferences(front: Front, rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, ...]]:
    """The sampled preferences nearest to the vertices and the center, in the order of the objectives."""
    sampled = list(dict.fromkeys(tuple(row["preference"]) for row in rows))
    width = len(front.objectives)
    wanted = [*np.eye(width), np.full(width, 1 / width)]
    if width == 2:
        wanted = [wanted[0], wanted[2], wanted[1]]
    nearest = [sampled[int(np.abs(np.array(sampled) - corner).sum(1).argmin())] for corner in wanted]
    return list(dict.fromkeys(nearest))


def numbers(front: Front) -> str:
    """The indicators with their definitions and reference points, and one row per preference."""
    indicators = []
    for name in dict.fromkeys(name for scorer in front.shown for name in front.indicators.get(scorer, {})):
        entries = [front.indicators.get(scorer, {}).get(name) for scorer in front.shown]
        indicators.append((name, entries, next((e.definition for e in entries if e and e.definition), "")))
    several, start = len(front.shown) > 1, [front.start] if front.start else []
    both = [(front.rows(s, start), front.rows(f"{s}_stderr", start)) for s in front.shown]
    return fill(
        "numbers.html",
        front=front,
        titles=[scorer_title(front, scorer) for scorer in front.shown],
        indicators=indicators,
        scores=[f"{name}, {s}" if several else name for s in front.shown for name in front.objectives],
        columns={name: title for name, title in COLUMNS.items() if np.isfinite(front.columns[name]).any()},
        kept=keep(front, front.judge),
        reference=[pair for scores, errors in both for pair in zip(scores.ravel(), errors.ravel(), strict=True)],
    )


def reward(table: RewardQuality | None, plates: Sequence[Plate], objectives: Sequence[str]) -> str:
    """The reward model: its figures and its held-out accuracy."""
    if not plates and table is None:
        return ""
    judged = [o for o in objectives if table and o in table.accuracy and np.isfinite(table.accuracy[o].value)]
    conflicts = conflict_table(table) if table else ""
    return fill("reward.html", table=table, plates=plates, objectives=objectives, judged=judged, conflicts=conflicts)


def settings(stages: Sequence[Stage]) -> str:
    """Every settings file of every stage, folded."""
    return fill("settings.html", stages=stages) if any(stage.settings for stage in stages) else ""
