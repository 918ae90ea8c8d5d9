from __future__ import annotations

import math

import numpy as np
import pytest

from mora.functional.sections import coefficients, stratified_stderr, top_credit
from mora.functional.stats import clustered_stderr


@pytest.mark.parametrize(
    ("chosen", "rejected", "strict", "shared"),
    [
        ([2.0], [1.0], 1.0, 1.0),
        ([1.0], [2.0], 0.0, 0.0),
        ([1.0], [1.0], 0.0, 0.5),  # a tie: wrong, or half
        ([3.0], [1.0, 3.0, 3.0], 0.0, 1 / 3),  # best of four: one over those tied for the top
        ([3.0], [1.0, 2.0, 2.0], 1.0, 1.0),  # ties below the top do not matter
        ([3.0, 3.0, 0.0], [1.0], 1.0, 1.0),  # right answers may tie
        ([3.0, 3.0], [3.0], 0.0, 2 / 3),
    ],
)
def test_credit_by_hand(chosen: list[float], rejected: list[float], strict: float, shared: float) -> None:
    assert top_credit(chosen, rejected) == (strict, pytest.approx(shared))


@pytest.mark.parametrize(("chosen", "rejected"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.inf])])
def test_what_cannot_be_ranked_is_refused(chosen: list[float], rejected: list[float]) -> None:
    with pytest.raises(ValueError, match="finite scores"):
        top_credit(chosen, rejected)


SUBSETS = ["a", "a", "b", "b", "b", "b", "c"]
CREDIT = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.5])


def test_a_section_is_the_mean_of_its_subsets_by_weight() -> None:
    # accuracies 1/2, 3/4, 1/2; by rows (2 + 4), and by given weights 30 and 10
    assert coefficients(SUBSETS, ["a", "b"], {}) @ CREDIT == pytest.approx((2 * 0.5 + 4 * 0.75) / 6)
    assert coefficients(SUBSETS, ["a", "b"], {"a": 30, "b": 10}) @ CREDIT == pytest.approx((30 * 0.5 + 10 * 0.75) / 40)
    # a weight stands beside a count: a weighs 6, b its 4 rows
    assert coefficients(SUBSETS, ["a", "b"], {"a": 6}) @ CREDIT == pytest.approx((6 * 0.5 + 4 * 0.75) / 10)
    # a subset without rows weighs nothing, whatever its weight
    assert coefficients(SUBSETS, ["a", "b", "d"], {"d": 900}) @ CREDIT == pytest.approx(4 / 6)
    assert (
        coefficients(SUBSETS, ["a", "b"], {}).sum() == pytest.approx(1) and not coefficients(SUBSETS, ["d"], {}).any()
    )


def test_mathematics_counts_as_much_as_code() -> None:
    """The Reasoning section of RewardBench: 447 rows weigh 984, as 6 x 164 of code."""
    subsets = ["math-prm"] * 447 + ["hep-go"] * 984
    credit = np.r_[np.ones(447), np.zeros(984)]
    assert coefficients(subsets, ["math-prm", "hep-go"], {"math-prm": 984}) @ credit == pytest.approx(0.5)


def test_the_error_of_one_subset_is_that_of_a_mean_by_prompt() -> None:
    generator = np.random.default_rng(0)
    credit, prompts = generator.random(60), generator.integers(0, 12, 60)
    found = stratified_stderr(np.full(60, 1 / 60), credit, ["a"] * 60, prompts.tolist())
    assert found == pytest.approx(float(clustered_stderr(credit, prompts)))


def test_the_error_of_a_section_is_the_spread_of_its_score_over_new_prompts() -> None:
    """Simulated: subsets of other difficulty, 4 rows a prompt; the mean estimate meets the deviation over studies."""
    generator = np.random.default_rng(1)
    subsets, weights = ["a"] * 80 + ["b"] * 40, {"a": 10.0, "b": 30.0}
    prompts = np.repeat(np.arange(30), 4)
    coefficient = coefficients(subsets, ["a", "b"], weights)
    scores, errors = [], []
    for _ in range(600):
        ability = np.repeat(generator.normal(size=30), 4) + np.r_[np.full(80, 1.0), np.full(40, -1.0)]
        credit = (ability + generator.normal(size=120) > 0).astype(float)
        scores.append(coefficient @ credit)
        errors.append(stratified_stderr(coefficient, credit, subsets, prompts.tolist()))
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.08)


def test_rows_outside_a_section_and_lone_prompts_give_no_error() -> None:
    coefficient = coefficients(SUBSETS, ["a"], {})
    wild = np.r_[CREDIT[:2], 100 * np.ones(5)]
    prompts = [0, 1, 2, 3, 4, 5, 6]
    assert stratified_stderr(coefficient, wild, SUBSETS, prompts) == stratified_stderr(
        coefficient, CREDIT, SUBSETS, prompts
    )
    assert math.isnan(stratified_stderr(coefficient, CREDIT, SUBSETS, [0] * 7))
    assert math.isnan(stratified_stderr(np.zeros(7), CREDIT, SUBSETS, prompts))
