from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from mora.functional import pairs


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_credit_by_hand() -> None:
    difference, label = np.array([1.0, -1.0, 0.0, 2.0, -3.0]), np.array([1.0, 1.0, 1.0, 0.5, 0.2])
    credit = pairs.credits(difference, label)
    assert credit[:3].tolist() == [1.0, 0.0, 0.5] and credit[4] == 1.0
    assert math.isnan(credit[3])


def test_log_loss_and_brier_equal_scikit_learn(rng: np.random.Generator) -> None:
    probability = rng.uniform(0.01, 0.99, 200)
    label = (rng.random(200) < 0.5).astype(float)
    got = pairs.log_loss(np.log(probability), np.log1p(-probability), label)
    assert got == pytest.approx(log_loss(label, probability))
    assert pairs.brier(probability, label) == pytest.approx(brier_score_loss(label, probability))


def test_bins_hold_equally_many_and_are_never_empty(rng: np.random.Generator) -> None:
    bins = pairs.equal_mass(rng.random(50), 15)
    assert sorted(len(b) for b in bins) == [3] * 10 + [4] * 5
    assert sorted(np.concatenate(bins)) == list(range(50))
    assert [len(b) for b in pairs.equal_mass(rng.random(3), 15)] == [1, 1, 1]
    assert pairs.equal_mass(np.array([]), 15) == []
