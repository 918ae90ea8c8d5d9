from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ttest_1samp

from mora.functional.stats import Interval, clustered_stderr, holm, p_value, verdict


def test_one_row_per_cluster_is_the_ordinary_standard_error():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    assert_allclose(clustered_stderr(values, [3, 1, 2, 0]), values.std(ddof=1) / sqrt(4))


def test_copies_within_a_cluster_add_no_information():
    values = np.array([[1.0, 5.0], [2.0, 3.0], [4.0, 4.0]])
    single = clustered_stderr(values, ["a", "b", "c"])
    assert_allclose(clustered_stderr(np.repeat(values, 8, axis=0), np.repeat(["a", "b", "c"], 8)), single)
    assert single.shape == (2,)


def test_by_hand():
    # mean 2; sums of deviations per cluster: -2 + 0 = -2 and 0 + 2 = 2; sqrt(2/1 * (4 + 4)) / 4 = 1
    assert clustered_stderr([0.0, 2.0, 2.0, 4.0], [0, 0, 1, 1]) == pytest.approx(1.0)


def test_unequal_clusters():
    # mean 3; sums: (0-3) + (3-3) = -3 and (6-3) = 3; sqrt(2 * 18) / 3 = 2
    assert clustered_stderr([0.0, 3.0, 6.0], [0, 0, 9]) == pytest.approx(2.0)


def test_one_cluster_cannot_tell():
    assert np.isnan(clustered_stderr([1.0, 2.0], [5, 5]))
    assert clustered_stderr(np.zeros((4, 3)), [1, 1, 1, 1]).shape == (3,)


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="number of rows"):
        clustered_stderr([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="number of rows"):
        clustered_stderr([], [])


# --- intervals, p-values, verdicts -----------------------------------------------------------------------------------


def around(center: float, *, error: float = 1.0, level: float = 0.95) -> Interval:
    return Interval(estimate=center, center=center, standard_error=error, degrees_of_freedom=9.0, level=level)


def test_interval_and_p_value_of_a_mean_are_those_of_the_t_test():
    values = np.random.default_rng(0).normal(0.4, size=10)
    mean, error = values.mean(), values.std(ddof=1) / sqrt(10)
    test, found = ttest_1samp(values, 0.0), around(mean, error=error, level=0.9)
    expected = test.confidence_interval(0.9)
    assert_allclose([found.low, found.high, p_value(found, 0.0)], [expected.low, expected.high, test.pvalue])
    assert p_value(found, mean) == pytest.approx(1.0)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_p_value_and_verdict_agree_with_the_interval(level):
    for center in np.linspace(-4, 4, 33):
        found = around(center, level=level)
        outside = not found.low <= 0 <= found.high
        assert (p_value(found, 0.0) < 1 - level) == outside
        assert verdict(found) == ("undecided" if not outside else "A > B" if center > 0 else "B > A")


def test_the_adjusted_p_value_decides_where_there_is_one():
    found = around(3.0)  # p = .015
    assert verdict(found) == "A > B"
    assert verdict(found, 0.06) == "undecided"
    assert verdict(found, 0.05) == "A > B"
    assert verdict(around(-3.0), 0.01) == "B > A"


def test_without_error_only_the_estimate_itself_is_possible():
    assert (p_value(around(0.0, error=0.0), 0.0), p_value(around(0.1, error=0.0), 0.0)) == (1.0, 0.0)
    assert verdict(around(0.0, error=0.0)) == "undecided"
    assert (around(0.1, error=0.0).low, around(0.1, error=0.0).high) == (0.1, 0.1)


# --- many comparisons ------------------------------------------------------------------------------------------------


def test_holm_by_hand():
    # sorted .01 .02 .03 .5 times 4 3 2 1: .04 .06 .06 .5 (never falling)
    assert_allclose(holm([0.03, 0.5, 0.01, 0.02]), [0.06, 0.5, 0.04, 0.06])
    assert_allclose(holm([0.4, 0.9, 0.5]), [1.0, 1.0, 1.0])
    assert_allclose(holm([0.04]), [0.04])
    assert holm([]).shape == (0,)


def test_holm_rejects_as_the_step_down_procedure_does():
    """Reject the smallest p-values one after another while p_(i) <= alpha / (K - i + 1)."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        values, alpha = generator.beta(0.3, 3.0, size=7), generator.uniform(0.01, 0.2)
        rejected = np.zeros(7, dtype=bool)
        for rank, index in enumerate(np.argsort(values)):
            if values[index] > alpha / (7 - rank):
                break
            rejected[index] = True
        assert_array_equal(holm(values) <= alpha, rejected)


def test_holm_keeps_order_and_never_lowers_a_value():
    values = np.random.default_rng(1).uniform(size=12)
    adjusted = holm(values)
    assert (adjusted >= values).all()
    assert_array_equal(holm(values[::-1]), adjusted[::-1])


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [np.nan], [[0.1, 0.2]]])
def test_holm_refuses_what_are_no_p_values(wrong):
    with pytest.raises(ValueError, match="vector within"):
        holm(wrong)
