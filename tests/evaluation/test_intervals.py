from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from mora.errors import InputError
from mora.evaluation.indicators import indicators
from mora.evaluation.intervals import check_resamples, per_prompt, with_intervals
from mora.functional.pareto import default_grid

GRID = default_grid(2)
Z = [-1.0, -1.0]


def scores(prompts: int, seed: int = 0) -> np.ndarray:
    """Per-prompt scores (P, X, M): a front plus noise that the preferences of a prompt share."""
    generator = np.random.default_rng(seed)
    noise = 0.2 * generator.standard_normal((1, prompts, 2)) + 0.05 * generator.standard_normal((11, prompts, 2))
    return np.sqrt(GRID)[:, None, :] + noise


def measured(values: np.ndarray, *, resamples: int = 400, level: float = 0.95) -> dict:
    table = indicators(values.mean(1).tolist(), GRID, Z)
    return with_intervals(table, values, GRID, Z, level=level, resamples=resamples, seed=0)


def test_the_interval_of_a_mean_is_students_over_prompts():
    """The inner product is linear in the scores, so its interval is known: mean +- t s / sqrt(X)."""
    values = scores(40)
    utilities = (values * GRID[:, None, :]).sum(-1).mean(0)
    half = student.ppf(0.975, 39) * utilities.std(ddof=1) / 40**0.5
    low, high = measured(values, resamples=4000)["inner_product"]["interval"]
    assert (low, high) == pytest.approx((utilities.mean() - half, utilities.mean() + half), abs=0.1 * half)


def test_smooth_indicators_have_intervals_and_the_others_none():
    table = measured(scores(16))
    with_them = {name for name, entry in table.items() if "interval" in entry}
    assert with_them == {"hypervolume", "inner_product", "expected_utility", "steering_regret"}
    for name in with_them:
        low, high = table[name]["interval"]
        assert low < high and table[name]["level"] == 0.95 and "new prompts" in table[name]["covers"]
    assert all("definition" in entry for entry in table.values())


def test_more_prompts_and_less_coverage_make_intervals_narrower():
    wide = np.ptp(measured(scores(16))["hypervolume"]["interval"])
    assert np.ptp(measured(scores(256))["hypervolume"]["interval"]) < 0.5 * wide
    assert np.ptp(measured(scores(16), level=0.5)["hypervolume"]["interval"]) < 0.5 * wide


@pytest.mark.parametrize(("prompts", "resamples"), [(7, 1000), (16, 0)])
def test_too_few_prompts_or_no_resamples_give_no_interval(prompts, resamples):
    table = measured(scores(prompts), resamples=resamples)
    assert not any("interval" in entry for entry in table.values())
    assert table["hypervolume"]["value"] > 0


def test_answers_of_a_prompt_stand_together():
    answers = np.arange(12, dtype=np.float64).reshape(6, 2)
    assert per_prompt([answers, answers + 1], 3).tolist() == [[[2, 3], [8, 9]], [[3, 4], [9, 10]]]


def test_so_few_resamples_that_they_mean_nothing_are_refused():
    check_resamples(0)
    check_resamples(100)
    with pytest.raises(InputError, match="evaluation.resamples"):
        check_resamples(50)
