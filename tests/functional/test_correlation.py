from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from mora.functional.correlation import kendall, mean, pearson, spearman


def ranks(values: np.ndarray) -> np.ndarray:
    """Mid-ranks by counting."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def test_correlations_equal_their_definitions() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=40).round(1)  # rounding makes ties
    second = (first + generator.normal(size=40)).round(1)
    product = ((first - first.mean()) * (second - second.mean())).mean() / (first.std() * second.std())
    assert pearson(first, second) == pytest.approx(product)
    assert spearman(first, second) == pytest.approx(pearson(ranks(first), ranks(second)))
    pairs = [(i, j) for i in range(40) for j in range(i)]
    signs = np.array([[np.sign(v[i] - v[j]) for i, j in pairs] for v in (first, second)])
    tau_b = signs.prod(0).sum() / math.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    assert kendall(first, second) == pytest.approx(tau_b)


def test_what_does_not_vary_correlates_with_nothing_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for of in (pearson, spearman, kendall):
            assert math.isnan(of(np.arange(3.0), np.ones(3)))
            assert math.isnan(of(np.array([1.0]), np.array([2.0]))) and math.isnan(of(np.array([]), np.array([])))
        assert math.isnan(mean(np.array([]))) and mean(np.array([1.0, 2.0])) == 1.5
