"""Reward models against each other, on the same held-out pairs: what each reaches, and which differences are real.

Every run judges every pair once; all numbers come from what it said (``Judgement``).  Intervals and differences are the
bootstrap of ``functional.bootstrap`` over prompts, and over seeds where a method has two or more: the same prompts are
drawn for all methods, so differences are paired, and all pairs of a prompt are drawn together.  An accuracy is then a
ratio of two means over prompts, right pairs by labelled pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from mora import bounds
from mora.bounds import AtLeastTwo, Count
from mora.errors import InputError
from mora.evaluation.judgement import Line, RewardMethod, asked, column, sizes
from mora.evaluation.pairwise import above_best, expected_and_best
from mora.evaluation.reward_curves import curves
from mora.evaluation.reward_metrics import METRICS
from mora.evaluation.reward_model import Quality
from mora.evaluation.study import THESE_POLICIES, Study, entry, verdicts
from mora.evaluation.words import said_of_rewards
from mora.functional.bootstrap import LEAST_PROMPTS
from mora.functional.calibration import SquaredError, squared_error
from mora.functional.correlation import pearson
from mora.functional.pairs import credits
from mora.functional.stats import Interval, clustered_share_interval

Floats = NDArray[np.float64]

THESE_MODELS = "new prompts, these trained reward models"
CREDIT, DECIDED, LOSS, BRIER, LABELLED, EXPECTED, BEST, ABOVE = range(8)  # of cells: sums over the pairs of a prompt
COLUMNS = ABOVE + 1
RATIOS = {"accuracy": (CREDIT, DECIDED), "log_loss": (LOSS, LABELLED), "brier": (BRIER, LABELLED)}
KNOWN = {"share_of_bayes": (EXPECTED, BEST), "log_loss_above_best": (ABOVE, LABELLED)}  # where a world knows
SHARES = ("accuracy", "share_of_bayes")
COMPARED = ("accuracy", "log_loss")  # what verdicts are given on


@dataclass(kw_only=True)
class CompareRewards:
    """``evaluation=compare_rewards``; the fields are the keys of ``conf/evaluation/compare_rewards.yaml``."""

    quality: Quality
    resamples: Annotated[int, Ge(100)]
    curve_points: AtLeastTwo
    density_points: AtLeastTwo
    histogram_bins: Count

    def __post_init__(self) -> None:
        bounds.check(self, "evaluation")

    def compare(self, methods: Sequence[RewardMethod], *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tables ``reward_comparison.json``, without its head, and ``reward_curves.json``.

        Raises InputError with pairs of fewer than 8 prompts, ValueError for runs that judged other pairs.
        """
        judged = [one for method in methods for one in method.seeds]
        same = {asked(one.lines) for one in judged}
        if len(same) > 1:
            raise ValueError("the runs of a comparison must have judged the same pairs, in the same order")
        objectives = list(dict.fromkeys(line["objective"] for line in judged[0].lines))
        prompts = len({line["prompt_id"] for line in judged[0].lines})
        if prompts < LEAST_PROMPTS:
            raise InputError(
                f"held-out pairs of {prompts} prompts are too few for intervals, which need {LEAST_PROMPTS}; "
                "set aside more of the dataset"
            )
        stacked = [np.stack([cells(one.lines, objectives) for one in method.seeds]) for method in methods]
        origins = [method.origins for method in methods]
        study = Study(stacked, origins, level=self.quality.level, resamples=self.resamples, seed=seed)
        sure = [o for i, o in enumerate(objectives) if _enough(stacked[0][0, i])]
        pairs = _pairs([method.name for method in methods], study, objectives, sure)
        table = {
            "objectives": objectives,
            "level": self.quality.level,
            "resamples": self.resamples,
            "prompts": prompts,
            "pairs_by_objective": {o: sizes(judged[0].lines, o) for o in objectives},
            "bayes": {o: judged[0].table["accuracy"][o].get("bayes") for o in objectives},
            "metrics": {m.name: {"title": m.title, "definition": m.definition, "better": m.better} for m in METRICS},
            "methods": [
                _method(i, method, study, objectives, sure, self.quality.calibration_bins)
                for i, method in enumerate(methods)
            ],
            "pairs": pairs,
            "family": sum(len(found) for pair in pairs for found in pair["objectives"].values()),
            "agreement": agreement(methods, objectives),
            "warnings": _few(objectives, sure),
        }
        drawn = curves(
            {method.name: [(one.table, one.lines) for one in method.seeds] for method in methods},
            objectives,
            points=self.curve_points,
            density_points=self.density_points,
            bins=self.histogram_bins,
        )
        return table, drawn


def _few(objectives: Sequence[str], sure: Sequence[str]) -> list[str]:
    few = [name for name in objectives if name not in sure]
    told = f"Pairs of fewer than {LEAST_PROMPTS} prompts have a decided label on {', '.join(few)}"
    return [f"{told}: no interval, no verdict."] if few else []


# --- cells -----------------------------------------------------------------------------------------------------------


def cells(lines: Sequence[Line], objectives: Sequence[str]) -> Floats:
    """Sums over the pairs of each prompt (P, X, C), P objectives; prompts stand in the order of first appearance.

    C holds the credit of decided pairs and their number, then log-loss, squared error and the number of labelled ones,
    then, of decided pairs, expected and best accuracy, and of labelled ones nats above the best: 0 without a world.
    """
    places = {prompt: x for x, prompt in enumerate(dict.fromkeys(line["prompt_id"] for line in lines))}
    found = np.zeros((len(objectives), len(places), COLUMNS))
    for row, name in enumerate(objectives):
        own = [line for line in lines if line["objective"] == name]
        label, odds = column(own, "label"), column(own, "log_odds")
        credit = credits(column(own, "score_1") - column(own, "score_0"), label)
        decided = label != 0.5
        values = np.zeros((len(own), COLUMNS))
        values[:, CREDIT], values[:, DECIDED] = np.where(decided, credit, 0.0), decided
        values[:, LOSS] = label * np.logaddexp(0.0, -odds) + (1 - label) * np.logaddexp(0.0, odds)
        values[:, BRIER] = (column(own, "probability") - label) ** 2
        values[:, LABELLED] = 1.0
        values[:, EXPECTED:] = _known(own, odds, decided)
        np.add.at(found[row], [places[line["prompt_id"]] for line in own], values)
    return found


def _known(own: Sequence[Line], odds: Floats, decided: NDArray[np.bool_]) -> Floats:
    """The last three columns of cells for each pair (n, 3)."""
    true = column(own, "true_probability")
    expected, best = expected_and_best(column(own, "score_1") - column(own, "score_0"), true)
    above = above_best(-np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds), true)
    return np.nan_to_num(np.stack([expected * decided, best * decided, above], axis=-1), nan=0.0)


def _enough(of_objective: Floats) -> bool:
    """Whether so many prompts (X, C) have a decided pair that an interval can be given."""
    return int((of_objective[:, DECIDED] > 0).sum()) >= LEAST_PROMPTS


def ratio(row: int, name: str, sign: float = 1.0) -> Callable[[Floats], float]:
    """A statistic of mean cells (P, C): of the objective in ``row`` a sum by the number of its pairs."""
    over, under = (RATIOS | KNOWN)[name]
    return lambda mean: sign * float(mean[row, over] / mean[row, under])


# --- methods ---------------------------------------------------------------------------------------------------------


def _method(
    number: int, method: RewardMethod, study: Study, objectives: Sequence[str], sure: Sequence[str], bins: int
) -> dict[str, Any]:
    """All that the table says of one method: every metric as the mean over its seeds, and of each seed."""
    found: dict[str, Any] = {}
    for row, objective in enumerate(objectives):
        entries = {m.name: _mean([m.of(one.table, objective) for one in method.seeds]) for m in METRICS}
        known = RATIOS if entries["share_of_bayes"]["value"] is None else RATIOS | KNOWN
        for name in known if objective in sure else ():
            interval = study.interval(number, f"{name} of {row}", ratio(row, name))
            entries[name] |= _share(interval, study.prompts) if name in SHARES else entry(interval)
        entries["calibration_error"] |= _calibration_error(method, objective, bins, study.level)
        found[objective] = entries
    return {"name": method.name, **method.facts, "covers": _covers(study, number), "metrics": found}


def _share(interval: Interval, prompts: int) -> dict[str, Any]:
    """A share with an interval that does not leave [0, 1]."""
    ends = clustered_share_interval(
        min(max(interval.center, 0.0), 1.0),
        interval.standard_error,
        prompts,
        interval.degrees_of_freedom,
        interval.level,
    )
    return {"value": interval.estimate, "interval": list(ends)}


def _calibration_error(method: RewardMethod, objective: str, bins: int, level: float) -> dict[str, Any]:
    """Root of the mean over seeds of the debiased squared error, with its interval over prompts for these models."""
    errors = []
    for one in method.seeds:
        own = [line for line in one.lines if line["objective"] == objective]
        prompts = [line["prompt_id"] for line in own]
        errors.append(squared_error(column(own, "probability"), column(own, "label"), prompts, bins=bins))
    pooled = SquaredError(
        value=float(np.mean([error.value for error in errors])),
        without=np.mean([error.without for error in errors], axis=0),
    )
    found = pooled.entry(level)
    return {key: found[key] for key in ("value", "interval")} | {"covers": THESE_MODELS}


def _mean(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None and np.isfinite(value)]
    mean = sum(known) / len(known) if known and len(known) == len(values) else None
    return {"value": mean, "by_seed": list(values)}


def _covers(study: Study, *numbers: int) -> str:
    found = study.covers(*numbers)
    return THESE_MODELS if found == THESE_POLICIES else found


# --- pairs of methods ------------------------------------------------------------------------------------------------


def _pairs(names: Sequence[str], study: Study, objectives: Sequence[str], sure: Sequence[str]) -> list[dict[str, Any]]:
    """Every two methods on every objective, with one correction over all of their differences.

    A difference is A's value less B's; a verdict names the better one, so log-losses are compared with their sign
    turned.
    """
    signs = {name: -1.0 if name == "log_loss" else 1.0 for name in COMPARED}
    both = list(combinations(range(len(names)), 2))
    differences = {
        (a, b, objective, name): study.difference(a, b, f"{signs[name]} {name} of {row}", ratio(row, name, signs[name]))
        for a, b in both
        for row, objective in enumerate(objectives)
        if objective in sure
        for name in COMPARED
    }
    found = {key: _turned(value, signs[key[-1]]) for key, value in verdicts(differences).items()}
    pairs = []
    for a, b in both:
        of_pair = {o: {name: found[a, b, o, name] for name in COMPARED} for o in sure}
        pair = {"a": names[a], "b": names[b], "covers": _covers(study, a, b), "objectives": of_pair}
        pairs.append(pair | {"said": said_of_rewards(pair)})
    return pairs


def _turned(found: Mapping[str, Any], sign: float) -> dict[str, Any]:
    ends = sorted(sign * end for end in found["interval"])
    return {**found, "difference": sign * found["difference"], "interval": ends}


def agreement(methods: Sequence[RewardMethod], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """For every two runs and each objective: how often they order a pair alike, and how their margins correlate.

    ``same_order`` is the share of pairs to which both give the same sign of the score difference, a pair that one of
    them ties half; ``correlation`` Pearson's over pairs of the two score differences.
    """
    runs = [(method.name, one) for method in methods for one in method.seeds]
    gaps = {one.run: {o: _gaps(one.lines, o) for o in objectives} for _, one in runs}
    return [
        {
            "objective": objective,
            "run_a": a.run,
            "run_b": b.run,
            "a": of_a,
            "b": of_b,
            "same_order": float((0.5 + 0.5 * np.sign(gaps[a.run][objective] * gaps[b.run][objective])).mean()),
            "correlation": pearson(gaps[a.run][objective], gaps[b.run][objective]),
        }
        for objective in objectives
        for (of_a, a), (of_b, b) in combinations(runs, 2)
    ]


def _gaps(lines: Sequence[Line], objective: str) -> Floats:
    own = [line for line in lines if line["objective"] == objective]
    return column(own, "score_1") - column(own, "score_0")
