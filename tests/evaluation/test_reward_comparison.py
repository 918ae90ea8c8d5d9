"""Comparisons of reward models whose scores are read off the answers: every number has a second way to it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.judgements import EVALUATOR, QUALITY, compared, judgement, method, rows

from mora.errors import InputError
from mora.evaluation import distributions
from mora.evaluation.reward_comparison import CREDIT, DECIDED, LABELLED, LOSS, CompareRewards, agreement, cells
from mora.evaluation.reward_comparison_tables import write_tables
from mora.evaluation.reward_curves import standardized
from mora.evaluation.study import NEW_SEEDS
from mora.files import read_json, read_lines
from mora.functional.bootstrap import difference_interval, interval
from mora.functional.pairs import credits
from mora.functional.stats import clustered_share_interval, holm

Compared = tuple[dict[str, Any], dict[str, Any], list[Any]]


def line(prompt: int, label: float, score_0: float, score_1: float, objective: str = "up") -> dict[str, Any]:
    odds = score_1 - score_0
    return {"prompt_id": prompt, "objective": objective, "label": label, "score_0": score_0, "score_1": score_1,
            "probability": 1 / (1 + np.exp(-odds)), "log_odds": odds, "spread": 0.0,
            "true_probability": np.nan}  # fmt: skip


@pytest.fixture(scope="module")
def single() -> Compared:
    return compared(3)


@pytest.fixture(scope="module")
def several() -> Compared:
    return compared(2, seeds=3)


# --- cells -----------------------------------------------------------------------------------------------------------


def test_cells_are_sums_over_the_pairs_of_a_prompt() -> None:
    lines = [line(7, 1.0, 0.0, 2.0), line(9, 0.0, 1.0, 0.0), line(7, 0.0, 0.0, 1.0), line(9, 0.5, 0.0, 1.0),
             line(7, 1.0, 0.0, 3.0, "down")]  # fmt: skip
    found = cells(lines, ("up", "down"))
    assert found.shape[:2] == (2, 2)
    assert found[0, :, CREDIT].tolist() == [1.0, 1.0] and found[0, :, DECIDED].tolist() == [2.0, 1.0]
    assert found[0, :, LABELLED].tolist() == [2.0, 2.0]  # a tie has a log-loss, but no order
    seven = np.log1p(np.exp(-2)) + np.log1p(np.exp(1))
    nine = np.log1p(np.exp(-1)) + (np.log1p(np.exp(1)) + np.log1p(np.exp(-1))) / 2
    assert found[0, :, LOSS] == pytest.approx([seven, nine])
    assert found[1, :, LABELLED].tolist() == [1.0, 0.0] and found[1, 1, LOSS] == 0.0


def test_sure_models_have_a_finite_loss() -> None:
    found = cells([line(1, 0.0, -50.0, 50.0)], ("up",))
    assert found[0, 0, LOSS] == pytest.approx(100.0)


# --- methods ---------------------------------------------------------------------------------------------------------


def test_every_metric_is_the_mean_of_the_seeds_own_tables(several: Compared) -> None:
    table, _, methods = several
    for entry, one in zip(table["methods"], methods, strict=True):
        own = [seed.table for seed in one.seeds]
        for objective in ("cure", "care"):
            expected = {
                "accuracy": [t["accuracy"][objective]["value"] for t in own],
                "share_of_bayes": [
                    t["accuracy"][objective]["expected"] / t["accuracy"][objective]["bayes"] for t in own
                ],
                "log_loss_above_best": [t["log_loss_above_best"][objective]["value"] for t in own],
                "ece_if_calibrated": [t["calibration"][objective]["ece_if_calibrated"] for t in own],
                "log_loss": [t["log_loss"][objective] for t in own],
                "brier": [t["brier"][objective] for t in own],
                "ece": [t["calibration"][objective]["ece"] for t in own],
                "ece_tempered": [t["temperature"][objective]["calibration"]["ece"] for t in own],
                "log_loss_tempered": [t["temperature"][objective]["log_loss"] for t in own],
                "error_rate": [1 - t["accuracy"][objective]["value"] for t in own],
                "aurc_margin": [t["risk_coverage"][objective]["margin"]["aurc"] for t in own],
                "auc": [t["separation"][objective]["auc"] for t in own],
                "d_pooled": [t["separation"][objective]["d_pooled"] for t in own],
                "d_paired": [t["separation"][objective]["d_paired"] for t in own],
                "gold_pearson": [t["gold"][objective]["pearson"] for t in own],
                "gold_order": [t["gold"][objective]["order"] for t in own],
                "length_answers": [t["length"][objective]["answers"]["score"] for t in own],
                "length_pairs": [t["length"][objective]["pairs"]["score"] for t in own],
            }
            found = entry["metrics"][objective]
            assert set(found) == {*expected, "aurc_spread", "calibration_error"} == set(table["metrics"])
            squares = [t["calibration"][objective]["error"]["squared"] for t in own]
            assert found["calibration_error"]["value"] == pytest.approx(np.sqrt(max(np.mean(squares), 0)))
            for name, values in expected.items():
                assert found[name]["by_seed"] == pytest.approx(values), name
                assert found[name]["value"] == pytest.approx(np.mean(values), rel=1e-5), name
    plain, spread = (entry["metrics"]["cure"]["aurc_spread"] for entry in table["methods"])
    assert plain["value"] is None and plain["by_seed"] == [None] * 3
    assert spread["value"] == pytest.approx(
        np.mean([seed.table["risk_coverage"]["cure"]["spread"]["aurc"] for seed in methods[1].seeds])
    )


def statistic(objective: int, metric: str) -> Any:
    over, under = {"accuracy": (CREDIT, DECIDED), "log_loss": (LOSS, LABELLED)}[metric]
    return lambda mean: float(mean[objective, over] / mean[objective, under])


def stacked(one: Any) -> np.ndarray:
    return np.stack([cells(seed.lines, ("cure", "care")) for seed in one.seeds])


@pytest.mark.parametrize("kind", ["single", "several"])
def test_intervals_are_those_of_the_bootstrap(kind: str, request: pytest.FixtureRequest) -> None:
    table, _, methods = request.getfixturevalue(kind)
    for row, objective in enumerate(("cure", "care")):
        for metric in ("accuracy", "log_loss"):
            want = interval(
                stacked(methods[0]), statistic(row, metric), level=0.95, samples=100, seed=3,
                new_seeds=kind == "several", bias_corrected=True,
            )  # fmt: skip
            found = table["methods"][0]["metrics"][objective][metric]
            ends = [want.low, want.high]
            if metric == "accuracy":  # a share: Wilson's interval by the same error
                ends = clustered_share_interval(want.center, want.standard_error, 24, want.degrees_of_freedom, 0.95)
            assert found["interval"] == pytest.approx(ends)
            assert found["value"] == pytest.approx(want.estimate)
    covers = NEW_SEEDS if kind == "several" else "new prompts, these trained reward models"
    assert {entry["covers"] for entry in table["methods"]} == {covers}
    assert {p["covers"].split(", seeds")[0] for p in table["pairs"]} == {covers}


def test_a_tie_is_no_error() -> None:
    given = rows(160)
    for row in given[::2]:
        row.labels["cure"] = 0.5  # type: ignore[index]
    one = judgement("x", given)
    entry = EVALUATOR.compare([method("a", one)], seed=0)[0]["methods"][0]["metrics"]["cure"]["accuracy"]
    assert entry["value"] == pytest.approx(entry["by_seed"][0]) == one.table["accuracy"]["cure"]["value"]
    assert entry["interval"][0] < entry["value"] < entry["interval"][1]


# --- differences -----------------------------------------------------------------------------------------------------


def test_differences_are_paired_and_corrected_together(single: Compared) -> None:
    table, _, methods = single
    assert [(p["a"], p["b"]) for p in table["pairs"]] == [
        ("method 0", "method 1"), ("method 0", "method 2"), ("method 1", "method 2")
    ]  # fmt: skip
    assert table["family"] == 3 * 2 * 2
    both = [(0, 1), (0, 2), (1, 2)]
    raw = []
    for (a, b), pair in zip(both, table["pairs"], strict=True):
        for row, objective in enumerate(("cure", "care")):
            for metric, entry in pair["objectives"][objective].items():
                want = difference_interval(
                    stacked(methods[a]), stacked(methods[b]), statistic(row, metric), level=0.95, samples=100, seed=3,
                    new_seeds=False, paired_seeds=False, bias_corrected=True,
                )  # fmt: skip
                assert entry["difference"] == pytest.approx(want.estimate)
                assert entry["interval"] == pytest.approx([want.low, want.high])
                raw.append((entry, entry["p"]))
    adjusted = holm([p for _, p in raw])
    assert [entry["p_holm"] for entry, _ in raw] == pytest.approx(adjusted)


def test_a_verdict_names_the_better_model() -> None:
    """Method 0 is right more often and loses less: both verdicts are its own, and the differences have two signs."""
    given = rows(400, prompts=60)
    models = [
        method(f"method {i}", judgement(f"r{i}", given, seed=i, noise=noise)) for i, noise in ((0, 0.2), (2, 3.0))
    ]
    (pair,) = EVALUATOR.compare(models, seed=0)[0]["pairs"]
    found = pair["objectives"]["cure"]
    assert found["accuracy"]["difference"] > 0 > found["log_loss"]["difference"]
    assert found["accuracy"]["verdict"] == found["log_loss"]["verdict"] == "A > B"
    assert found["log_loss"]["interval"][1] < 0
    assert "method 0 > method 2 in accuracy of cure" in pair["said"] and "log-loss of cure" in pair["said"]


def test_a_pair_of_equal_models_is_undecided() -> None:
    given = rows(120)
    table, _ = EVALUATOR.compare([method("a", judgement("x", given)), method("b", judgement("y", given))], seed=0)
    (pair,) = table["pairs"]
    for entries in pair["objectives"].values():
        for entry in entries.values():
            assert entry == {"difference": 0.0, "interval": [0.0, 0.0], "p": 1.0, "p_holm": 1.0, "verdict": "undecided"}
    assert pair["said"].startswith("a and b undecided in accuracy of cure, accuracy of care, log-loss of cure and ")


def test_pairs_of_a_prompt_are_drawn_together() -> None:
    """Each pair stands ten times under its prompt: ten times the pairs tell no more."""
    given = rows(60, prompts=40)
    once = EVALUATOR.compare([method("a", judgement("x", given))], seed=0)[0]
    tenfold = EVALUATOR.compare([method("a", judgement("x", given * 10))], seed=0)[0]
    found = [t["methods"][0]["metrics"]["cure"]["accuracy"]["interval"] for t in (once, tenfold)]
    assert found[0] == pytest.approx(found[1])


# --- agreement -------------------------------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    # differences 1, 2, -1, 4 and 3, -1, -2, 0
    first = [line(1, 1.0, 2.0, 3.0), line(2, 1.0, 0.0, 2.0), line(3, 1.0, 5.0, 4.0), line(4, 1.0, -4.0, 0.0)]
    other = [line(1, 1.0, 0.0, 3.0), line(2, 1.0, 9.0, 8.0), line(3, 1.0, 0.0, -2.0), line(4, 1.0, 7.0, 7.0)]
    models = [SimpleJudgement("x", first), SimpleJudgement("y", other)]
    (found,) = agreement([method("a", models[0]), method("b", models[1])], ("up",))  # type: ignore[arg-type]
    assert found["same_order"] == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found["correlation"] == pytest.approx(np.corrcoef([1, 2, -1, 4], [3, -1, -2, 0])[0, 1])
    assert (found["run_a"], found["run_b"], found["a"], found["b"]) == ("x", "y", "a", "b")


class SimpleJudgement:
    def __init__(self, run: str, lines: list[dict[str, Any]]) -> None:
        self.run, self.lines = run, lines


def test_every_two_runs_are_held_against_each_other(several: Compared) -> None:
    found = several[0]["agreement"]
    assert len(found) == 2 * 15  # objectives, and pairs of six runs
    same = [row["same_order"] for row in found if row["a"] == row["b"] == "method 0"]
    apart = [row["same_order"] for row in found if row["a"] != row["b"]]
    assert len(same) == 6 and np.mean(same) > np.mean(apart)


# --- what cannot be said ---------------------------------------------------------------------------------------------


def test_an_objective_with_few_prompts_has_numbers_and_no_verdict() -> None:
    given = rows(120)
    for place, row in enumerate(given):
        if place >= 7:
            row.labels["care"] = None  # type: ignore[index]
    table, _ = EVALUATOR.compare(
        [method("a", judgement("x", given)), method("b", judgement("y", given, seed=1))], seed=0
    )
    entry = table["methods"][0]["metrics"]
    assert entry["care"]["accuracy"]["value"] is not None and "interval" not in entry["care"]["accuracy"]
    assert list(table["pairs"][0]["objectives"]) == ["cure"] and table["family"] == 2
    assert table["warnings"] == ["Pairs of fewer than 8 prompts have a decided label on care: no interval, no verdict."]


def test_fewer_than_eight_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="held-out pairs of 7 prompts are too few"):
        EVALUATOR.compare([method("a", judgement("x", rows(100, prompts=7)))], seed=0)


def test_other_pairs_are_no_comparison() -> None:
    models = [method(name, judgement(name, rows(100, seed=seed))) for seed, name in enumerate(("x", "y"))]
    with pytest.raises(ValueError, match="must have judged the same pairs"):
        EVALUATOR.compare(models, seed=0)


def test_without_a_world_there_is_no_bayes_and_no_gold() -> None:
    table, curves = EVALUATOR.compare([method("a", judgement("x", rows(100), world=False))], seed=0)
    entry = table["methods"][0]["metrics"]["cure"]
    assert table["bayes"] == {"cure": None, "care": None}
    assert entry["share_of_bayes"]["value"] is None and entry["gold_pearson"]["value"] is None
    assert curves["cure"]["methods"]["a"]["gold"] is None and table["pairs"] == [] and table["family"] == 0


@pytest.mark.parametrize(
    "wrong", [{"resamples": 99}, {"curve_points": 1}, {"density_points": 1}, {"histogram_bins": 0}]
)
def test_settings_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    given = {"resamples": 100, "curve_points": 5, "density_points": 5, "histogram_bins": 2} | wrong
    with pytest.raises(InputError, match=f"evaluation.{next(iter(wrong))}="):
        CompareRewards(quality=QUALITY, **given)


# --- curves ----------------------------------------------------------------------------------------------------------


def test_scores_are_drawn_in_a_models_own_unit() -> None:
    lines = [line(1, 1.0, 1.0, 5.0), line(2, 0.0, 3.0, 3.0), line(3, 0.0, 7.0, -1.0)]
    better, worse = standardized(lines)
    scores = np.array([1.0, 5.0, 3.0, 3.0, 7.0, -1.0])
    unit = (np.array([[5.0, 3.0, 7.0], [1.0, 3.0, -1.0]]) - scores.mean()) / scores.std()
    assert better == pytest.approx(unit[0]) and worse == pytest.approx(unit[1])
    same = standardized([line(1, 1.0, 2.0, 2.0)])
    assert same[0].tolist() == same[1].tolist() == [0.0]


def test_densities_of_all_methods_share_grid_and_bandwidth(several: Compared) -> None:
    _, curves, methods = several
    drawn = curves["cure"]
    grid, edges = np.array(drawn["grid"]), np.array(drawn["edges"])
    assert len(grid) == 41 and len(edges) == 13 and edges[0] == grid[0] and edges[-1] == grid[-1]
    for one in methods:
        sides = [standardized([x for x in seed.lines if x["objective"] == "cure"]) for seed in one.seeds]
        for pair in sides:
            assert distributions.scott(np.concatenate(pair)) == pytest.approx(drawn["bandwidth"])
        better, worse = (np.concatenate([pair[i] for pair in sides]) for i in (0, 1))
        for name, sample in {"better": better, "worse": worse, "margin": better - worse}.items():
            found = drawn["methods"][one.name]["densities"][name]
            want = distributions.kernel_density(sample, grid, drawn["bandwidth"])
            assert found["density"] == pytest.approx(want)
            assert found["histogram"] == pytest.approx(np.histogram(sample, edges, density=True)[0])


def test_curves_of_seeds_are_means(several: Compared) -> None:
    _, curves, methods = several
    found = curves["care"]["methods"]["method 1"]
    seeds = [[x for x in seed.lines if x["objective"] == "care"] for seed in methods[1].seeds]
    heights = [
        distributions.at_rates(distributions.roc(*standardized(lines)), np.array(found["roc"]["false_positive"]))
        for lines in seeds
    ]
    assert found["roc"]["true_positive"] == pytest.approx(np.mean(heights, axis=0))
    credit = [credits(np.array([x["log_odds"] for x in lines]), np.array([x["label"] for x in lines]))
              for lines in seeds]  # fmt: skip
    doubt = [-np.abs([x["log_odds"] for x in lines]) for lines in seeds]
    risks = [distributions.risk_curve(d, c, 21)[1] for d, c in zip(doubt, credit, strict=True)]
    assert found["risk"]["margin"] == pytest.approx(np.mean(risks, axis=0))
    assert found["risk"]["margin"][-1] == pytest.approx(np.mean([1 - c.mean() for c in credit]))
    assert found["risk"]["spread"] is not None and curves["care"]["methods"]["method 0"]["risk"]["spread"] is None
    bins = [seed.table["calibration"]["care"]["bins"] for seed in methods[1].seeds]
    assert found["calibration"]["accuracy"] == pytest.approx(
        np.mean([[b["accuracy"] for b in x] for x in bins], axis=0)
    )
    assert found["gold"] == methods[1].seeds[0].table["agreement"]["care"]


def test_ties_are_in_no_curve_but_calibration() -> None:
    given = rows(100)
    for row in given:
        row.labels["care"] = 0.5  # type: ignore[index]
    _, curves = EVALUATOR.compare([method("a", judgement("x", given))], seed=0)
    assert list(curves) == ["cure"]


# --- files -----------------------------------------------------------------------------------------------------------


def test_files(several: Compared, tmp_path: Path) -> None:
    table, curves, methods = several
    write_tables(tmp_path / "tables", table, curves, methods)
    assert read_json(tmp_path / "tables" / "reward_comparison.json")["family"] == 4

    def read(name: str) -> list[dict[str, str]]:
        with (tmp_path / "tables" / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    pairs = read("pairs.csv")
    assert len(pairs) == 6 * 2 * 160 and {row["run"] for row in pairs} == {
        f"run-{m}-{s}" for m in (0, 1) for s in range(3)
    }
    assert set(pairs[0]) >= {"method", "prompt_id", "objective", "label", "score_0", "score_1", "probability",
                             "log_odds", "spread", "gold_0", "gold_1"}  # fmt: skip
    own = [row for row in pairs if row["run"] == "run-1-2" and row["objective"] == "cure"]
    right = [(float(r["score_1"]) > float(r["score_0"])) == (float(r["label"]) > 0.5) for r in own]
    assert np.mean(right) == pytest.approx(table["methods"][1]["metrics"]["cure"]["accuracy"]["by_seed"][2])
    differences = read("differences.csv")
    assert [(r["objective"], r["metric"], r["family"]) for r in differences] == [
        (o, m, "4") for o in ("cure", "care") for m in ("accuracy", "log_loss")
    ]
    metrics = {(r["method"], r["objective"], r["metric"]): r for r in read("metrics.csv")}
    assert metrics["method 0", "care", "aurc_spread"]["value"] == "" and metrics["method 0", "care", "brier"]["low"]
    assert len(read("agreement.csv")) == 30
    assert len(read_lines(tmp_path / "tables" / "examples.jsonl")) == 6 * 2 * 2 * 2
