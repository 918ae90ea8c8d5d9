from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mora.functional.stats import bootstrap_interval, clustered_stderr


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


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(lambda index: values[index].mean(), 400, samples=2000, level=0.95, seed=0)
    error = values.std() / sqrt(400)
    assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.15 * error)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    generator, hits = np.random.default_rng(2), 0
    for study in range(200):
        values = generator.normal(size=60)
        low, high = bootstrap_interval(lambda i, v=values: v[i].mean(), 60, samples=200, level=0.9, seed=study)
        hits += bool(low <= 0.0 <= high)
    assert 0.83 <= hits / 200 <= 0.95  # 0.9 +- 3 standard errors of 0.021, percentile intervals being a little short


def test_bootstrap_depends_on_the_seed_alone_and_keeps_shapes():
    values = np.random.default_rng(3).normal(size=(20, 3))

    def interval(seed: int):
        return bootstrap_interval(lambda index: values[index].mean(0), 20, samples=50, level=0.8, seed=seed)

    assert_array_equal(interval(4), interval(4))
    assert np.abs(np.subtract(interval(4), interval(5))).max() > 0
    low, high = interval(4)
    assert low.shape == high.shape == (3,)
    assert (low < high).all()


def test_bootstrap_of_a_constant_is_that_constant():
    low, high = bootstrap_interval(lambda index: 2.5, 7, samples=10, level=0.95, seed=0)
    assert (low, high) == (2.5, 2.5)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"samples": 0}, {"prompts": 0}])
def test_bootstrap_arguments_are_checked(wrong):
    arguments = {"prompts": 5, "samples": 10, "level": 0.9, "seed": 0} | wrong
    prompts = arguments.pop("prompts")
    with pytest.raises(ValueError, match="need 0 < level < 1"):
        bootstrap_interval(lambda index: 0.0, prompts, **arguments)
