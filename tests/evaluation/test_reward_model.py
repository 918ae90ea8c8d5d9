from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mora.errors import InputError
from mora.evaluation import pairwise
from mora.evaluation.reward_model import Quality, write
from mora.files import read_json, read_lines
from mora.records.quality import RewardQuality
from mora.records.read import record
from mora.reward.point import point_belief
from mora.reward.quantile import Quantile
from mora.reward.scorer import Scorer
from mora.run.conclude import reward_lines
from mora.types import RewardBelief, Row

QUANTILE = Quantile(atoms=3, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
QUALITY = Quality(level=0.95, calibration_bins=15, spread_bins=10, points=500, examples=2)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_share_of_bayes_by_hand() -> None:
    # p .9, .2 and .6 that answer 1 is better; the model says 1, 1 and "equal"
    p, prompts = np.array([0.9, 0.2, 0.6]), np.array([1, 2, 3])
    shares = pairwise.share_of_bayes(np.array([1.0, 2.0, 0.0]), p, prompts, 0.95)
    assert shares["expected"] == pytest.approx((0.9 + 0.2 + 0.5) / 3)
    assert shares["bayes"] == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert shares["share_of_bayes"] == pytest.approx(1.6 / 2.3)
    assert shares["share_of_bayes_advantage"] == pytest.approx((1.6 - 1.5) / (2.3 - 1.5))
    low, high = shares["share_interval"]
    assert 0 <= low < 1.6 / 2.3 < high <= 1
    guess = pairwise.share_of_bayes(np.ones(3), np.full(3, 0.5), prompts, 0.95)
    assert math.isnan(guess["share_of_bayes_advantage"]) and guess["share_of_bayes"] == 1.0


def test_the_share_of_bayes_owes_nothing_to_the_labels_that_were_drawn() -> None:
    """A perfect model reaches all of the best accuracy and log-loss, whichever labels were drawn; others less."""
    generator = np.random.default_rng(3)
    odds = generator.normal(size=400)
    p, prompts = 1 / (1 + np.exp(-odds)), np.arange(400) // 4
    best = pairwise.share_of_bayes(odds, p, prompts, 0.95)
    assert best["share_of_bayes"] == 1.0 and best["share_interval"][1] == 1.0
    logs = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
    assert pairwise.above_best(*logs, p) == pytest.approx(0.0, abs=1e-12)
    flat = pairwise.above_best(np.full(400, np.log(0.5)), np.full(400, np.log(0.5)), p)
    assert flat.mean() == pytest.approx(np.log(2) + np.mean(p * np.log(p) + (1 - p) * np.log(1 - p)))
    assert pairwise.above_best(np.log([0.3]), np.log([0.7]), np.array([1.0])) == pytest.approx(-np.log(0.3))


def test_the_interval_of_a_share_covers_what_new_labels_give() -> None:
    """The mean accuracy over many draws of labels is the expected one."""
    generator = np.random.default_rng(4)
    odds, noise = generator.normal(size=(2, 2000))
    p, difference = 1 / (1 + np.exp(-odds)), odds + noise
    drawn = [(np.sign(difference) == np.where(generator.random(2000) < p, 1, -1)).mean() for _ in range(200)]
    found = pairwise.share_of_bayes(difference, p, np.arange(2000), 0.95)
    assert np.mean(drawn) == pytest.approx(found["expected"], abs=3 * np.std(drawn) / np.sqrt(200))


def hard_cases(by: np.ndarray[Any, Any], bins: int, **changed: Any) -> list[dict[str, Any]]:
    """Four pairs, answer 1 better in all: right, wrong, right, a guess."""
    given = {
        "spread": np.array([3.0, 1.0, 4.0, 2.0]),
        "margin": np.array([0.5, 2.0, 1.0, 0.0]),
        "credit": np.array([1.0, 0.0, 1.0, 0.5]),
        "probability": np.array([0.6, 0.1, 0.8, 0.5]),
        "label": np.ones(4),
        "prompts": np.arange(4),
        "true_spread": None,
    }
    return pairwise.hard_cases(by, bins=bins, calibration_bins=15, level=0.95, **(given | changed))


def test_hard_cases_by_hand() -> None:
    spread = np.array([3.0, 1.0, 4.0, 2.0])
    low, high = hard_cases(spread, 2, true_spread=10 * spread)
    # the two pairs of small spread: wrong with a confidence of .9, and a guess with .5
    assert (low["spread"], low["true_spread"], low["count"]) == (1.5, 15.0, 2)
    assert (low["margin"], low["accuracy"], low["error_rate"]) == (1.0, 0.25, 0.75)
    assert low["ece"] == pytest.approx(0.7 - 0.25)  # few pairs: one bin, mean confidence against share right
    assert high["ece"] == pytest.approx(1.0 - 0.7) and high["accuracy"] == 1.0
    by_margin = hard_cases(np.array([0.5, 2.0, 1.0, 0.0]), 4)
    assert [row["accuracy"] for row in by_margin] == [0.5, 1.0, 1.0, 0.0]  # margins 0, .5, 1, 2
    assert by_margin[0]["true_spread"] is None
    assert hard_cases(np.ones(4), 2) == []


def test_a_bin_of_many_pairs_has_a_calibration_curve_of_its_own() -> None:
    """Half sure and always right, half unsure and always wrong: one point of 40 pairs would hide it, two show it."""
    sure = np.tile([0.9, 0.6], 20)
    right = np.tile([1.0, 0.0], 20)
    same = {"margin": sure, "credit": right, "probability": sure, "label": right, "true_spread": None,
            "prompts": np.arange(40), "level": 0.95}  # fmt: skip
    (found,) = pairwise.hard_cases(np.arange(40.0), spread=sure, bins=1, calibration_bins=15, **same)
    assert found["ece"] == pytest.approx((0.1 + 0.6) / 2)
    (one,) = pairwise.hard_cases(np.arange(40.0), spread=sure, bins=1, calibration_bins=1, **same)
    assert one["ece"] == pytest.approx(0.75 - 0.5)


def test_risk_coverage_by_hand() -> None:
    # kept in the order of doubt: right, right, wrong, right; error rates 0, 0, 1/3, 1/4
    found = pairwise.risk_coverage(np.array([0.3, 0.1, 0.9, 0.7]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert found["accuracy_at_80"] == pytest.approx(3 / 4)  # 3.2 of 4 pairs, rounded up
    five = pairwise.risk_coverage(np.arange(5.0), np.array([1.0, 1.0, 0.0, 1.0, 0.0]))
    assert five["accuracy_at_80"] == pytest.approx(3 / 4)  # just 4 of 5


def test_doubt_that_says_nothing_has_the_error_rate_as_its_area(rng: np.random.Generator) -> None:
    credit = (rng.random(500) < 0.7).astype(float)
    same = pairwise.risk_coverage(np.zeros(500), credit)
    assert same["aurc"] == pytest.approx(1 - credit.mean()) and same["accuracy_at_80"] == pytest.approx(credit.mean())
    perfect = pairwise.risk_coverage(1 - credit, credit)["aurc"]
    assert perfect < 0.1 < same["aurc"] < pairwise.risk_coverage(credit, credit)["aurc"]


def test_length_correlation_over_answers_and_within_pairs() -> None:
    """Two prompts whose scores fall with length between them and rise within: Simpson's case."""
    score = np.array([10.0, 20.0]), np.array([11.0, 21.0])
    length = np.array([8.0, 4.0]), np.array([9.0, 5.0])
    found = pairwise.length_correlation(*score, np.ones(2), *length)
    assert found["answers"]["score"] == pytest.approx(-0.6)  # ranks 1 3 2 4 against 3 1 4 2
    assert math.isnan(found["pairs"]["score"])  # every difference is the same
    assert found["longer"] == {"choice": 1.0, "label": 1.0, "n": 2}


def test_a_length_shortcut_is_told_from_a_length_preference(rng: np.random.Generator) -> None:
    """Labels that do not care and a model that does; the same model where the labels do care."""
    first, second = rng.integers(1, 50, 400).astype(float), rng.integers(1, 50, 400).astype(float)
    even = rng.integers(0, 2, 400).astype(float)
    shortcut = pairwise.length_correlation(first, second, even, first, second)
    assert shortcut["pairs"]["score"] == pytest.approx(1.0) and abs(shortcut["pairs"]["label"]) < 0.15
    assert shortcut["longer"]["choice"] == 1.0 and abs(shortcut["longer"]["label"] - 0.5) < 0.1
    assert shortcut["longer"]["n"] == int((first != second).sum())
    wanted = pairwise.length_correlation(first, second, 0.5 + 0.5 * np.sign(second - first), first, second)
    for part in ("answers", "pairs"):
        assert wanted[part]["choice"] == pytest.approx(wanted[part]["label"])
    # by the definition: a label of answer 1 is q, of answer 0 is 1 - q
    labels, lengths = np.r_[1 - even, even], np.r_[first, second]
    assert shortcut["answers"]["label"] == pytest.approx(spearmanr(labels, lengths).statistic)
    assert shortcut["pairs"]["label"] == pytest.approx(spearmanr(even, second - first).statistic)


def test_auc_equals_scikit_learn_and_effect_sizes_by_hand(rng: np.random.Generator) -> None:
    better, worse = rng.normal(0.5, 1, 80).round(1), rng.normal(0, 1, 80).round(1)  # rounding makes ties
    want = roc_auc_score([1] * 80 + [0] * 80, np.concatenate([better, worse]))
    assert pairwise.separation(better, worse)["auc"] == pytest.approx(want)
    # Means 3 and 1, variances 1 and 0: d = 2 / sqrt(1/2).  Differences 1 and 3: mean 2, deviation 1.
    found = pairwise.separation(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    assert found["d_pooled"] == pytest.approx(2 / math.sqrt(0.5))
    assert found["d_paired"] == pytest.approx(2.0)


def test_a_perfect_ranker_can_have_a_low_pooled_auc() -> None:
    prompt = np.repeat([0.0, 100.0], 50)  # what a score owes to its prompt
    found = pairwise.separation(prompt + 1.0, prompt)
    assert found["auc"] == pytest.approx(0.75)  # 1/2 from other prompts, right within the same level


# --- the table -------------------------------------------------------------------------------------------------------


class TableScorer(Scorer):
    """Scores read off the answer: "x:1.5" scores 1.5 on `up` and -1.5 on `down`."""

    def __init__(self, atoms: int = 1) -> None:
        super().__init__(("up", "down"), None)
        self.atoms = atoms

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> RewardBelief:
        values = torch.tensor([float(r.split(":")[1]) for r in responses])
        raw = torch.stack([values, -values], dim=1)[..., None]
        if self.atoms == 1:
            return point_belief(raw)
        gaps = values.abs()[:, None, None].expand(-1, 2, self.atoms - 1)  # a larger score is less sure
        return QUANTILE.belief(torch.cat([raw, gaps], -1))


class TableWorld:
    """Gold is twice the score; answer 1 is called better with probability .75 and .9."""

    name = "table"
    objectives = ("down", "up")  # another order than the scorer's

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> np.ndarray[Any, Any]:
        values = np.array([float(r.split(":")[1]) for r in responses])
        return np.stack([-2 * values, 2 * values], axis=1)

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.tile([3.0, 4.0], (len(responses), 1))

    def bayes_probabilities(self, rows: Sequence[Row]) -> np.ndarray[Any, Any]:
        return np.tile([0.75, 0.9], (len(rows), 1))


def row(prompt: str, first: float, second: float, up: float | None, down: float | None = None) -> Row:
    return Row(prompt=prompt, responses=(f"x:{first}", f"x:{second}"), labels={"up": up, "down": down})


ROWS = [
    row("p", 0.0, 1.0, 1.0, 0.0),  # both right
    row("p", 0.0, 2.0, 0.0),  # wrong on `up`; `down` is not labelled
    row("q", 1.0, 0.0, 0.0, 0.0),  # right on `up`, wrong on `down`
    row("q", 1.0, 1.0, 1.0, 1.0),  # equal scores: 1/2
    row("q", 3.0, 0.0, 0.5, 0.5),  # a tied label counts in no accuracy
]


def test_accuracy_with_ties_labels_and_clusters_by_hand() -> None:
    table, _, _ = QUALITY.measure(TableScorer(), ROWS, None, kind="scalar")
    up, down = table["accuracy"]["up"], table["accuracy"]["down"]
    # up: 1, 0 on prompt p and 1, 1/2 on prompt q: mean 5/8.
    assert up["value"] == pytest.approx(0.625) and (up["n"], up["prompts"]) == (4, 2)
    # Sums of residuals: p: 3/8 - 5/8 = -1/4, q: 3/8 - 1/8 = 1/4; sqrt(2/1 * (1/16 + 1/16)) / 4 = 1/8.
    assert up["stderr"] == pytest.approx(0.125)
    # two prompts: Student's t with one degree of freedom, whose .975 quantile is tan(.475 pi) = 12.706; Wilson's
    # interval of 15 effective pairs, .625 * .375 * 64, stays within [0, 1]
    spread = 12.7062**2 / 15
    middle, reach = (0.625 + spread / 2), math.sqrt(spread * (0.625 * 0.375 + spread / 4))
    assert up["interval"] == pytest.approx([(middle - reach) / (1 + spread), (middle + reach) / (1 + spread)], rel=1e-4)
    assert 0 < up["interval"][0] < up["interval"][1] < 1
    assert up["bayes"] is None and "share_of_bayes" not in up
    # down: label 0, scores 0 against -1: right; label 0, -1 against 0: wrong; equal: 1/2.
    assert down["value"] == pytest.approx(0.5) and down["n"] == 3
    assert table["agreement"] == {"up": None, "down": None} and table["gold"]["up"] is None
    assert table["objectives"] == ["up", "down"] and table["kind"] == "scalar"


def test_losses_of_a_point_are_those_of_its_logit() -> None:
    table, _, _ = QUALITY.measure(TableScorer(), ROWS[:2], None, kind="scalar")
    # up: differences 1 (label 1) and 2 (label 0): softplus(-1) and softplus(2).
    want = (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    assert table["log_loss"]["up"] == pytest.approx(want, rel=1e-5)
    sigma = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))]
    assert table["brier"]["up"] == pytest.approx(((1 - sigma[0]) ** 2 + sigma[1] ** 2) / 2, rel=1e-5)
    spread = table["spread"]["up"]
    assert spread["bins"] == [] and spread["true_spread_correlation"] is None  # a point has no spread
    assert [row["margin"] for row in spread["margin_bins"]] == pytest.approx([1.0, 2.0])
    assert [row["accuracy"] for row in spread["margin_bins"]] == [1.0, 0.0]


def test_a_margin_is_as_large_for_either_answer() -> None:
    rows = [row("p", 0.0, 1.0, 1.0), row("p", 2.0, 0.0, 0.0), row("q", 0.5, 0.0, 1.0)]  # differences 1, -2 and -1/2
    table, _, _ = QUALITY.measure(TableScorer(), rows, None, kind="scalar")
    bins = table["spread"]["up"]["margin_bins"]
    assert [row["margin"] for row in bins] == pytest.approx([0.5, 1.0, 2.0])
    assert [row["accuracy"] for row in bins] == [0.0, 1.0, 1.0]


def said(table: dict[str, Any]) -> list[str]:
    return reward_lines(record(table, RewardQuality, "reward.json"))


def test_the_summary_says_what_is_right_together() -> None:
    table, _, _ = QUALITY.measure(TableScorer(), ROWS, None, kind="scalar")
    lines = said(table)
    assert [line.split()[0] for line in lines if "accuracy" in line] == ["up", "down"]
    low, high = table["conflicts"]["all_right"]["interval"]  # of 1.25 of 4
    assert lines[-1] == f"all objectives that label a pair right: 0.312 [{low:.3f}, {high:.3f}] of 4 pairs"
    assert 0 <= low < 0.3 and 0.4 < high <= 1
    alone = said(QUALITY.measure(TableScorer(), [ROWS[1]], None, kind="scalar")[0])
    assert not any("together" in line or "all objectives" in line for line in alone)


def test_the_summary_says_what_is_noise_in_an_ece_and_in_an_accuracy() -> None:
    table, _, _ = QUALITY.measure(TableScorer(), ROWS[:4] * 15, TableWorld(), kind="scalar")  # type: ignore[arg-type]
    first, _, over = said(table)[:3]
    assert f"({table['calibration']['up']['ece_if_calibrated']:.3f} if calibrated)" in first
    assert math.isnan(table["calibration"]["up"]["error"]["value"]) and "calibration error" not in first
    assert "of the best accuracy 0.900" in over and "above the best" in over


def test_a_world_adds_bayes_gold_and_the_annotators_spread() -> None:
    table, numbers, examples = QUALITY.measure(TableScorer(atoms=3), ROWS, TableWorld(), kind="quantile")  # type: ignore[arg-type]
    up = table["accuracy"]["up"]
    assert up["bayes"] == pytest.approx(0.9) and table["accuracy"]["down"]["bayes"] == 0.75  # by name, not by place
    # of four decided pairs the scores say 1, 1, 0 and "equal"
    assert up["expected"] == pytest.approx((0.9 + 0.9 + 0.1 + 0.5) / 4)
    assert up["share_of_bayes"] == pytest.approx(0.6 / 0.9) and 0 <= up["share_interval"][0] < 0.6 / 0.9
    assert up["share_of_bayes_advantage"] == pytest.approx(0.1 / 0.4)
    assert table["log_loss_above_best"]["up"]["value"] > 0
    assert {line["true_probability"] for line in numbers if line["objective"] == "up"} == {0.9}
    points = np.array(table["agreement"]["up"])  # answers in order: 0 1 | 0 2 | 1 0 | 1 1 | 3 0, gold twice that
    np.testing.assert_allclose(points[:4], [[0, 0], [1, 2], [0, 0], [2, 4]], atol=1e-6)
    assert table["gold"]["up"]["pearson"] == pytest.approx(1.0)
    assert table["gold"]["down"]["pearson"] == pytest.approx(1.0)
    assert table["gold"]["up"] | {"pearson": 1} == {"pearson": 1, "order": 1.0, "n": 4}
    bins = table["spread"]["up"]["bins"]  # four pairs, one each
    # Three quantiles -g, 0, g with g = softplus(|x|) have the variance 2 g^2 / 3; the widest pair has x = 0 and x = 2.
    widest = math.sqrt(2 / 3 * (math.log(2) ** 2 + math.log1p(math.exp(2)) ** 2))
    assert len(bins) == 4 and bins[-1]["spread"] == pytest.approx(widest, rel=1e-3)
    assert [b["true_spread"] for b in bins] == pytest.approx([math.hypot(4, 4)] * len(bins))
    assert [b["spread"] for b in bins] == sorted(b["spread"] for b in bins)
    assert math.isnan(table["spread"]["up"]["true_spread_correlation"])  # the annotators' is the same for all pairs
    conflicts = table["conflicts"]
    assert conflicts["objectives"] == ["up", "down"] and conflicts["n"] == [[4, 3], [3, 3]]
    assert conflicts["conflict_rate"][0][1] == pytest.approx(1 / 3)  # labels (1, 0), (0, 0), (1, 1)
    assert conflicts["predicted_rate"][0][1] == pytest.approx(2 / 3)  # margins (1, -1), (-1, 1), (0, 0)
    # all objectives that label it: right; wrong alone on `up`; right and wrong; a guess on both; only ties, left out
    together = conflicts["all_right"]
    assert together["value"] == pytest.approx((1 + 0 + 0 + 0.25) / 4) and together["n"] == 4
    assert together["by_labels"] == [
        {"labels": 1, "value": 0.0, "n": 1},
        {"labels": 2, "value": pytest.approx(1.25 / 3), "n": 3},
    ]
    # sums of residuals: p: 1 - 2 * .3125, q: .25 - 2 * .3125, so sqrt(2 * 2 * .375^2) / 4
    assert together["stderr"] == pytest.approx(0.375 * 2 / 4)
    assert numbers[0]["gold_1"] == 2.0


def test_an_objective_without_labels_is_left_out_and_no_label_at_all_refused() -> None:
    table, numbers, examples = QUALITY.measure(TableScorer(), [ROWS[1]], None, kind="scalar")
    assert "down" not in table["accuracy"] and table["objectives"] == ["up", "down"]
    assert {line["objective"] for line in numbers} == {"up"}
    with pytest.raises(InputError, match="no held-out pair has a label on up, down"):
        QUALITY.measure(TableScorer(), [row("p", 0.0, 1.0, None)], None, kind="scalar")
    with pytest.raises(InputError, match="no held-out pair to measure"):
        QUALITY.measure(TableScorer(), [], None, kind="scalar")


def test_only_ties_give_no_accuracy() -> None:
    table, _, _ = QUALITY.measure(TableScorer(), [row("p", 0.0, 1.0, 0.5)], None, kind="scalar")
    assert table["accuracy"]["up"]["value"] is None and table["separation"]["up"] is None


def test_at_most_500_points_of_agreement() -> None:
    rows = [row(f"p{i}", i, i + 1, 1.0, 0.0) for i in range(400)]
    table, _, _ = QUALITY.measure(TableScorer(), rows, TableWorld(), kind="scalar")  # type: ignore[arg-type]
    assert len(table["agreement"]["up"]) == 500
    assert len(table["calibration"]["up"]["bins"]) == 15


def test_files(tmp_path: Path) -> None:
    table, numbers, examples = QUALITY.measure(TableScorer(), ROWS, TableWorld(), kind="scalar")  # type: ignore[arg-type]
    write(tmp_path / "tables", table, numbers, examples)
    assert read_json(tmp_path / "tables" / "reward.json")["accuracy"]["up"]["value"] == pytest.approx(0.625)
    with (tmp_path / "tables" / "pairs.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert set(lines[0]) >= {"prompt_id", "objective", "label", "probability", "gold_0"} and len(lines) == 5 + 4
    first = lines[0]
    assert (first["objective"], float(first["score_1"]), float(first["label"])) == ("up", 1.0, 1.0)
    assert float(first["probability"]) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-6)


def test_the_examples_are_the_answers_at_both_ends(tmp_path: Path) -> None:
    table, numbers, examples = QUALITY.measure(TableScorer(), ROWS, None, kind="scalar")
    up = [(e["end"], e["rank"], e["score"]) for e in examples if e["objective"] == "up"]
    # distinct answers score 3, 2, 1, 0 (prompts p and q both have a 0 and a 1)
    assert [row[:2] for row in up] == [("best", 1), ("best", 2), ("worst", 1), ("worst", 2)]
    scores = [row[2] for row in up]
    assert scores[0] == max(scores) and scores[2] == min(scores) and scores[0] > scores[1] > scores[3] >= scores[2]
    write(tmp_path, table, numbers, examples)
    text = (tmp_path / "examples.txt").read_text(encoding="utf-8")
    assert text.startswith("== up, best ==") and "== down, worst ==" in text
    assert len(read_lines(tmp_path / "examples.jsonl")) == len(examples) == 8


def test_a_temperature_is_fitted_on_the_other_half_of_the_prompts() -> None:
    """Scores four times too sure: a temperature of four repairs log-loss and calibration, on unseen prompts."""
    generator = np.random.default_rng(0)
    gaps = generator.normal(size=3000)
    labels = (generator.random(3000) < 1 / (1 + np.exp(-gaps))).astype(float)
    rows = [row(f"p{i}", 0.0, 4 * gap, label) for i, (gap, label) in enumerate(zip(gaps, labels, strict=True))]
    table, _, _ = QUALITY.measure(TableScorer(), rows, None, kind="scalar")
    tempered = table["temperature"]["up"]
    assert tempered["values"] == pytest.approx([4.0, 4.0], rel=0.2)
    assert tempered["log_loss"] < table["log_loss"]["up"] - 0.2
    assert tempered["calibration"]["ece"] < 0.04 < 0.1 < table["calibration"]["up"]["ece"]
    one = QUALITY.measure(TableScorer(), [row("p", 0.0, 1.0, 1.0)], None, kind="scalar")[0]
    assert one["temperature"]["up"] is None


def test_a_temperature_knows_nothing_of_the_pairs_that_it_is_judged_on() -> None:
    """One half of the prompts is always right, the other always wrong: each half's temperature suits the other one."""
    named = [f"p{i}" for i in range(60)]
    even = [name for name in named if Row(prompt=name).prompt_id % 2 == 0]
    rows = [row(name, 0.0, 2.0, float(name in even)) for name in named]
    tempered = QUALITY.measure(TableScorer(), rows, None, kind="scalar")[0]["temperature"]["up"]
    first, second = tempered["values"]  # even prompts are judged by what the odd ones, all wrong, taught
    assert first > 100 and second < 0.1


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"calibration_bins": 0}, {"points": -1}, {"examples": -1}])
def test_settings_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    settings = {"level": 0.95, "calibration_bins": 15, "spread_bins": 10, "points": 500, "examples": 2}
    with pytest.raises(InputError, match=f"evaluation.{next(iter(wrong))}="):
        Quality(**(settings | wrong))
