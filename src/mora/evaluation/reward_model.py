"""A reward model on held-out pairs: is it right, calibrated, aware of where it errs, and does it follow the gold score?

``measure`` gives the table ``reward.json`` and the numbers behind it, ``write`` puts both into a run's tables.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mora.dataset.worlds import World
from mora.errors import InputError
from mora.evaluation import pairwise
from mora.files import write_json, write_text
from mora.functional import risk
from mora.functional.quantile import dbt_log_likelihood
from mora.functional.stats import clustered_stderr
from mora.reward.panel import Panel
from mora.types import Row

Floats = NDArray[np.float64]
TABLE, NUMBERS = "reward.json", "pairs.csv"
CALIBRATION_BINS, SPREAD_BINS, POINTS = 15, 10, 500
COLUMNS = ("prompt_id", "objective", "label", "score_0", "score_1", "probability", "spread", "gold_0", "gold_1")


@dataclass(kw_only=True)
class Pairs:
    """The labelled pairs of one objective, as arrays (n,).  Scores are in the reward model's raw units, logits."""

    rows: list[Row]
    index: NDArray[np.int64]  # places among all pairs
    label: Floats
    score_0: Floats
    score_1: Floats
    log_wins_0: Floats  # log-probability that answer 0 is better
    log_wins_1: Floats
    spread: Floats  # of the difference, under independent beliefs
    units: Floats  # (n, 2) means in standard units for agreement; raw where the panel has none
    gold: Floats | None  # (n, 2)
    true_spread: Floats | None

    @property
    def credit(self) -> Floats:
        """Right 1, wrong 0, equal scores 1/2, tied label NaN."""
        return pairwise.credits(self.score_1 - self.score_0, self.label)


def measure(
    panel: Panel, rows: Sequence[Row], world: World | None, *, kind: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The table ``reward.json`` and the rows of ``pairs.csv`` for held-out pairs; ``kind`` names the reward kind.

    ``world`` adds what only a world knows: the best possible accuracy, annotators' spread and gold scores.
    An objective without labels is left out.  Raises InputError when there is no labelled pair at all.
    """
    pairs = _pairs(panel, rows, world)
    table: dict[str, Any] = {
        "objectives": list(panel.objectives),
        "kind": kind,
        "pairs": len(rows),
        "units": {"score": "logits", "agreement": "std of the reference policy" if panel.standardized else "logits"},
        "accuracy": {n: _accuracy(p, world, n) for n, p in pairs.items()},
        "log_loss": {n: pairwise.log_loss(p.log_wins_1, p.log_wins_0, p.label) for n, p in pairs.items()},
        "brier": {n: pairwise.brier(np.exp(p.log_wins_1), p.label) for n, p in pairs.items()},
        "calibration": {
            n: pairwise.calibration(np.exp(p.log_wins_1), p.label, bins=CALIBRATION_BINS) for n, p in pairs.items()
        },
        "spread": {n: {"bins": _spread_bins(p)} for n, p in pairs.items()},
        "separation": {n: _separation(p) for n, p in pairs.items()},
        "conflicts": _conflicts(pairs),
        "agreement": {n: _points(p) for n, p in pairs.items()},
        "gold": {n: _gold(p) for n, p in pairs.items()},
    }
    return table, [line for n, p in pairs.items() for line in _lines(n, p)]


def write(tables: Path, table: dict[str, Any], numbers: Sequence[dict[str, Any]]) -> None:
    """Write ``reward.json`` and ``pairs.csv`` below ``tables``, each atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(numbers)
    write_text(tables / NUMBERS, text.getvalue())
    write_json(tables / TABLE, table)


def _pairs(panel: Panel, rows: Sequence[Row], world: World | None) -> dict[str, Pairs]:
    if not rows:
        raise InputError("no held-out pair to measure the reward model on; set aside a test split of the dataset")
    prompts = [row.prompt for row in rows] * 2
    responses = [row.responses[side] for side in (0, 1) for row in rows]
    raw = panel.raw(prompts, responses)
    scaled = raw if panel.standardization is None else panel.standardization(raw)
    half = len(rows)
    with torch.inference_mode():
        atoms = raw.atoms[:half], raw.atoms[half:]
        logs = _numbers(dbt_log_likelihood(atoms[0], atoms[1])), _numbers(dbt_log_likelihood(atoms[1], atoms[0]))
        means, units = _sides(risk.mean(raw), half), _sides(risk.mean(scaled), half)
        spreads = _sides(risk.spread(raw), half)
    gold = None if world is None else _sides(world.gold(prompts, responses), half)
    noise = None if world is None else _sides(world.spread(prompts, responses), half)
    found = {}
    for column, name in enumerate(panel.objectives):
        kept = [i for i, row in enumerate(rows) if row.labels.get(name) is not None]
        if not kept:
            continue
        place = None if world is None or name not in world.objectives else world.objectives.index(name)
        found[name] = Pairs(
            rows=[rows[i] for i in kept],
            index=np.array(kept),
            label=np.array([rows[i].labels[name] for i in kept], dtype=np.float64),
            score_0=means[kept, 0, column],
            score_1=means[kept, 1, column],
            log_wins_0=logs[0][kept, column],
            log_wins_1=logs[1][kept, column],
            spread=np.hypot(spreads[kept, 0, column], spreads[kept, 1, column]),
            units=units[kept, :, column],
            gold=None if place is None or gold is None else gold[kept, :, place],
            true_spread=None
            if place is None or noise is None
            else np.hypot(noise[kept, 0, place], noise[kept, 1, place]),
        )
    if not found:
        raise InputError(f"no held-out pair has a label on {', '.join(panel.objectives)}; check dataset and objectives")
    return found


def _numbers(values: torch.Tensor | Floats) -> Floats:
    return values.double().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=np.float64)


def _sides(values: torch.Tensor | Floats, half: int) -> Floats:
    """(2n, M), first answers then second ones, as (n, 2, M)."""
    numbers = _numbers(values)
    return np.stack([numbers[:half], numbers[half:]], axis=1)


def _accuracy(pairs: Pairs, world: World | None, name: str) -> dict[str, Any]:
    """Accuracy with its standard error by prompt; ties of the label are left out."""
    decided = pairs.label != 0.5
    credit = pairs.credit[decided]
    rows = [row for row, kept in zip(pairs.rows, decided, strict=True) if kept]
    if not rows:
        return {"value": None, "stderr": None, "n": 0, "prompts": 0, "bayes": None}
    prompt_ids = np.array([row.prompt_id for row in rows])
    value = float(credit.mean())
    entry: dict[str, Any] = {
        "value": value,
        "stderr": float(clustered_stderr(credit, prompt_ids)),
        "n": len(rows),
        "prompts": len(np.unique(prompt_ids)),
        "bayes": None,
    }
    if world is None or name not in world.objectives:
        return entry
    bayes = float(world.bayes_accuracy(rows)[world.objectives.index(name)])
    return entry | {"bayes": bayes} | pairwise.share_of_bayes(value, bayes)


def _spread_bins(pairs: Pairs) -> list[dict[str, Any]]:
    kept = pairs.label != 0.5
    true = None if pairs.true_spread is None else pairs.true_spread[kept]
    return pairwise.spread_bins(pairs.spread[kept], pairs.credit[kept], true, bins=SPREAD_BINS)


def _separation(pairs: Pairs) -> dict[str, float] | None:
    kept = pairs.label != 0.5
    if not kept.any():
        return None
    first = pairs.label[kept] > 0.5
    score_0, score_1 = pairs.score_0[kept], pairs.score_1[kept]
    return pairwise.separation(np.where(first, score_1, score_0), np.where(first, score_0, score_1))


def _conflicts(pairs: dict[str, Pairs]) -> list[dict[str, Any]]:
    """Every two objectives, on the pairs that both label."""
    found = []
    for a, b in combinations(pairs, 2):
        in_a = np.isin(pairs[a].index, pairs[b].index)
        in_b = np.isin(pairs[b].index, pairs[a].index)
        credits, labels = (pairs[a].credit[in_a], pairs[b].credit[in_b]), (pairs[a].label[in_a], pairs[b].label[in_b])
        found.append({"objectives": [a, b], **pairwise.conflict(*credits, *labels)})
    return found


def _points(pairs: Pairs) -> list[list[float]] | None:
    """At most 500 answers as [reward, gold], evenly spaced over the pairs."""
    if pairs.gold is None:
        return None
    points = np.stack([pairs.units.ravel(), pairs.gold.ravel()], axis=1)
    chosen = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).round().astype(int))
    found: list[list[float]] = points[chosen].tolist()
    return found


def _gold(pairs: Pairs) -> dict[str, float] | None:
    """Correlation with the gold score over answers, and the share of pairs ordered as gold orders them."""
    if pairs.gold is None:
        return None
    gap = pairs.gold[:, 1] - pairs.gold[:, 0]
    differing = gap != 0
    order = pairwise.credits((pairs.score_1 - pairs.score_0)[differing], (gap[differing] > 0).astype(np.float64))
    return {
        "pearson": pairwise.pearson(pairs.units.ravel(), pairs.gold.ravel()),
        "order": float(order.mean()) if len(order) else float("nan"),
        "n": int(differing.sum()),
    }


def _lines(name: str, pairs: Pairs) -> list[dict[str, Any]]:
    gold = np.full((len(pairs.rows), 2), np.nan) if pairs.gold is None else pairs.gold
    return [
        {
            "prompt_id": row.prompt_id,
            "objective": name,
            "label": pairs.label[i],
            "score_0": pairs.score_0[i],
            "score_1": pairs.score_1[i],
            "probability": np.exp(pairs.log_wins_1[i]),
            "spread": pairs.spread[i],
            "gold_0": gold[i, 0],
            "gold_1": gold[i, 1],
        }
        for i, row in enumerate(pairs.rows)
    ]
