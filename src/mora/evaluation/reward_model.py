"""A reward model on held-out pairs: is it right, calibrated, aware of where it errs, and does it follow the gold score?

``Quality.measure`` gives the table ``reward.json`` and what stands behind it, ``write`` puts all into a run's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from mora import bounds
from mora.bounds import Count, Inside, Natural
from mora.csv_files import write_csv
from mora.dataset.store import conversation_ids
from mora.dataset.worlds import World
from mora.evaluation import Run, pairwise
from mora.evaluation.labelled import Pairs, labelled_pairs
from mora.evaluation.pair_rows import extreme_answers, pair_rows, readable_examples
from mora.files import record_json, record_lines, write_text
from mora.functional.calibration import calibration
from mora.functional.conflicts import all_right, conflict_matrices
from mora.functional.correlation import mean, pearson, spearman
from mora.functional.pairs import brier, credits, log_loss
from mora.functional.stats import clustered_stderr, share_within
from mora.functional.temperature import fit_temperature
from mora.functional.thinning import evenly
from mora.records.quality import RewardQuality
from mora.records.read import record
from mora.reward.cost import Cost
from mora.reward.scorer import ModelScorer, Scorer
from mora.types import Row

Floats = NDArray[np.float64]
TABLE, NUMBERS, EXAMPLES = "reward.json", "pairs.csv", "examples"


@dataclass(kw_only=True)
class Quality:
    """``evaluation=reward_model``; the fields are the keys of ``conf/evaluation/reward_model.yaml``."""

    needs_held_out_pairs: ClassVar[bool] = True

    level: Inside
    calibration_bins: Count
    spread_bins: Count
    points: Natural
    examples: Natural

    def __post_init__(self) -> None:
        bounds.check(self, "evaluation")

    def measure_run(self, run: Run) -> str:
        """Write ``reward.json`` of a reward model, ``pairs.csv`` and ``examples.{jsonl,txt}``."""
        scorer, corpus, model = run.reward(), run.corpus, run.config["model"]
        table, lines, examples = self.measure(scorer, corpus.pairs["test"], corpus.world, kind=scorer.kind.name)
        head = {"model": model["name"], "smoke": model["smoke"], "split": "test"}
        write(run.folder.tables, head | table, lines, examples)
        return "reward"

    def measure(
        self, scorer: Scorer, rows: Sequence[Row], world: World | None, *, kind: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """The table ``reward.json``, the rows of ``pairs.csv`` and of ``examples.jsonl``; ``kind`` is the reward's.

        ``world`` adds what only a world knows: the best possible accuracy, annotators' spread and gold scores.
        An objective without labels is left out.  Raises InputError when there is no labelled pair at all.
        """
        pairs = labelled_pairs(scorer, rows, world)
        bins = self.calibration_bins
        unit = "std of the reference policy" if scorer.standardized else "logits"
        table: dict[str, Any] = {
            "objectives": list(scorer.objectives),
            "kind": kind,
            "pairs": len(rows),
            "level": self.level,
            "units": {"score": "logits", "agreement": unit},
            "accuracy": {n: _accuracy(p, self.level) for n, p in pairs.items()},
            "log_loss": {n: log_loss(p.log_wins_1, p.log_wins_0, p.label) for n, p in pairs.items()},
            "log_loss_above_best": {n: _above_best(p, self.level) for n, p in pairs.items()},
            "brier": {n: brier(np.exp(p.log_wins_1), p.label) for n, p in pairs.items()},
            "calibration": {n: _calibration(p, p.log_wins_1, bins, self.level) for n, p in pairs.items()},
            "temperature": {n: _tempered(p, bins, self.level) for n, p in pairs.items()},
            "spread": {n: _hard_cases(p, self.spread_bins, bins, self.level) for n, p in pairs.items()},
            "risk_coverage": {n: _risk_coverage(p) for n, p in pairs.items()},
            "length": {n: _length(p) for n, p in pairs.items()},
            "separation": {n: _separation(p) for n, p in pairs.items()},
            "sign": {n: _sign(p, scorer, n) for n, p in pairs.items()},
            "conflicts": _conflicts(pairs, rows, self.level),
            "agreement": {n: _points(p, self.points) for n, p in pairs.items()},
            "gold": {n: _gold(p) for n, p in pairs.items()},
        }
        lines = [line for n, p in pairs.items() for line in pair_rows(n, p)]
        return table, lines, [row for n, p in pairs.items() for row in extreme_answers(n, p, self.examples)]


def write(
    tables: Path, table: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], examples: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``reward.json``, ``pairs.csv`` and ``examples.{jsonl,txt}`` below ``tables``, each atomically."""
    record(table, RewardQuality, str(tables / TABLE))  # as its readers will take it
    write_csv(tables / NUMBERS, lines)
    record_lines(tables / f"{EXAMPLES}.jsonl", examples)
    write_text(tables / f"{EXAMPLES}.txt", "\n".join(readable_examples(examples)))
    record_json(tables / TABLE, table)


def _accuracy(pairs: Pairs, level: float) -> dict[str, Any]:
    """Accuracy with its standard error by prompt and Wilson's interval from it; ties of the label are left out."""
    decided = pairs.label != 0.5
    credit, prompts = pairs.credit[decided], pairs.prompts[decided]
    if not len(credit):
        return {"value": None, "stderr": None, "interval": None, "n": 0, "prompts": 0, "bayes": None}
    value, error, count = float(credit.mean()), float(clustered_stderr(credit, prompts)), len(np.unique(prompts))
    entry: dict[str, Any] = {
        "value": value,
        "stderr": error,
        "interval": share_within(value, error, count, level),
        "n": len(credit),
        "prompts": count,
        "bayes": None,
    }
    if pairs.true_probability is None:
        return entry
    difference = (pairs.score_1 - pairs.score_0)[decided]
    return entry | pairwise.share_of_bayes(difference, pairs.true_probability[decided], prompts, level)


def _above_best(pairs: Pairs, level: float) -> dict[str, Any] | None:
    """Expected log-loss less that of the true probabilities, in nats, with Student's interval by prompt.

    None without a world.
    """
    if pairs.true_probability is None:
        return None
    nats = pairwise.above_best(pairs.log_wins_1, pairs.log_wins_0, pairs.true_probability)
    error, count = float(clustered_stderr(nats, pairs.prompts)), len(np.unique(pairs.prompts))
    reach = float(student.ppf((1 + level) / 2, count - 1)) * error if count > 1 else float("nan")
    value = float(nats.mean())
    return {"value": value, "stderr": error, "interval": [value - reach, value + reach] if count > 1 else None}


def _calibration(pairs: Pairs, log_wins_1: Floats, bins: int, level: float) -> dict[str, Any]:
    return calibration(np.exp(log_wins_1), pairs.label, pairs.prompts, bins=bins, level=level)


def _tempered(pairs: Pairs, bins: int, level: float) -> dict[str, Any] | None:
    """Log-loss and calibration after one temperature for the log-odds.

    It is fitted on one half of the conversations for the other.  None where a half has no pair.
    """
    odds = pairs.log_wins_1 - pairs.log_wins_0
    half = conversation_ids(pairs.rows) % 2 == 0
    if half.all() or not half.any():
        return None
    scaled, fitted = np.empty_like(odds), []
    for part in (half, ~half):
        numbers = torch.from_numpy(odds[~part]), torch.from_numpy(pairs.label[~part])
        fitted.append(fit_temperature(*numbers))
        scaled[part] = odds[part] / fitted[-1]
    wins_1, wins_0 = -np.logaddexp(0.0, -scaled), -np.logaddexp(0.0, scaled)
    return {
        "values": fitted,
        "log_loss": log_loss(wins_1, wins_0, pairs.label),
        "brier": brier(np.exp(wins_1), pairs.label),
        "calibration": _calibration(pairs, wins_1, bins, level),
    }


def _risk_coverage(pairs: Pairs) -> dict[str, Any]:
    """Whether spread finds errors: its selection of pairs beside that by the margin, which costs nothing."""
    kept = pairs.label != 0.5
    credit, margin = pairs.credit[kept], pairs.margin[kept]
    varies = len(credit) > 0 and float(np.ptp(pairs.spread[kept])) > 0
    return {
        "margin": pairwise.risk_coverage(-margin, credit),
        "spread": pairwise.risk_coverage(pairs.spread[kept], credit) if varies else None,
        "error_rate": float(1 - credit.mean()) if len(credit) else float("nan"),
    }


def _length(pairs: Pairs) -> dict[str, dict[str, float]]:
    """Correlation with the number of characters of an answer."""
    lengths = np.array([[len(response) for response in row.responses] for row in pairs.rows], dtype=np.float64)
    return pairwise.length_correlation(pairs.score_0, pairs.score_1, pairs.label, lengths[:, 0], lengths[:, 1])


def _hard_cases(pairs: Pairs, bins: int, calibration_bins: int, level: float) -> dict[str, Any]:
    """Quality by the belief's spread and, as the baseline, by the margin; whether spread is the annotators' own."""
    kept, true = pairs.label != 0.5, pairs.true_spread
    spread, margin = pairs.spread[kept], pairs.margin[kept]
    bins_by = partial(
        pairwise.hard_cases,
        spread=spread,
        margin=margin,
        credit=pairs.credit[kept],
        probability=np.exp(pairs.log_wins_1[kept]),
        label=pairs.label[kept],
        prompts=pairs.prompts[kept],
        true_spread=None if true is None else true[kept],
        bins=bins,
        calibration_bins=calibration_bins,
        level=level,
    )
    return {
        "bins": bins_by(spread),
        "margin_bins": bins_by(margin),
        "true_spread_correlation": None if true is None else spearman(pairs.spread, true),
    }


def _separation(pairs: Pairs) -> dict[str, float] | None:
    kept = pairs.label != 0.5
    if not kept.any():
        return None
    first = pairs.label[kept] > 0.5
    score_0, score_1 = pairs.score_0[kept], pairs.score_1[kept]
    return pairwise.separation(np.where(first, score_1, score_0), np.where(first, score_0, score_1))


def _conflicts(pairs: Mapping[str, Pairs], rows: Sequence[Row], level: float) -> dict[str, Any]:
    """Every two objectives on the pairs that both label, and how often all that label a pair are right together."""
    margins, labels = np.full((2, len(rows), len(pairs)), np.nan)
    for column, judged in enumerate(pairs.values()):
        margins[judged.index, column] = judged.score_1 - judged.score_0
        labels[judged.index, column] = judged.label
    right, labelled = all_right(margins, labels)
    some = labelled > 0
    prompts = np.array([row.prompt_id for row in rows])[some]
    error = float(clustered_stderr(right[some], prompts)) if some.any() else float("nan")
    together: dict[str, Any] = {
        "value": mean(right[some]),
        "stderr": error,
        "interval": share_within(mean(right[some]), error, len(np.unique(prompts)), level),
        "n": int(some.sum()),
        "by_labels": [
            {"labels": int(count), "value": mean(right[labelled == count]), "n": int((labelled == count).sum())}
            for count in np.unique(labelled[some])
        ],
    }
    return {"objectives": list(pairs), "all_right": together, **conflict_matrices(margins, labels)}


def _points(pairs: Pairs, count: int) -> list[list[float]] | None:
    """At most ``count`` answers as [reward, gold], evenly spaced over the pairs."""
    if pairs.gold is None:
        return None
    points = np.stack([pairs.units.ravel(), pairs.gold.ravel()], axis=1)
    found: list[list[float]] = points[evenly(range(len(points)), count)].tolist()
    return found


def _gold(pairs: Pairs) -> dict[str, float] | None:
    """Correlation with the gold score over answers, and the share of pairs ordered as gold orders them."""
    if pairs.gold is None:
        return None
    gap = pairs.gold[:, 1] - pairs.gold[:, 0]
    differing = gap != 0
    order = credits((pairs.score_1 - pairs.score_0)[differing], (gap[differing] > 0).astype(np.float64))
    return {
        "pearson": pearson(pairs.units.ravel(), pairs.gold.ravel()),
        "order": float(order.mean()) if len(order) else float("nan"),
        "n": int(differing.sum()),
    }


def _sign(pairs: Pairs, scorer: Scorer, name: str) -> dict[str, float | int] | None:
    """Share of marked answers whose reward is on the side of zero that the mark says; None where zero says nothing."""
    kind = scorer.kind if isinstance(scorer, ModelScorer) else None
    if not isinstance(kind, Cost) or not scorer.zero[scorer.objectives.index(name)]:
        return None
    right = [
        (score > 0) == (sum(marks) / len(marks) >= kind.threshold)
        for row, *scores in zip(pairs.rows, pairs.score_0, pairs.score_1, strict=True)
        for score, marks in zip(scores, row.ratings.get(name, ((), ())), strict=True)
        if marks
    ]
    return {"value": float(np.mean(right)), "n": len(right)} if right else None
