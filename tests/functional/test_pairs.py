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


def test_calibration_by_hand() -> None:
    # Confidences .6 .6 .9 .9 in two bins; right: 1, 0 (label 1, p .4), 1, 1.  ECE = (2 * .1 + 2 * .1) / 4.
    probability, label = np.array([0.6, 0.4, 0.1, 0.9]), np.array([1.0, 1.0, 0.0, 1.0])
    found = pairs.calibration(probability, label, bins=2)
    assert [b["count"] for b in found["bins"]] == [2, 2]
    assert [b["accuracy"] for b in found["bins"]] == [0.5, 1.0]
    assert [b["confidence"] for b in found["bins"]] == pytest.approx([0.6, 0.9])
    assert found["ece"] == pytest.approx(0.1)


def test_calibration_of_a_calibrated_and_of_an_overconfident_model(rng: np.random.Generator) -> None:
    truth = rng.uniform(0.05, 0.95, 40_000)
    label = (rng.random(40_000) < truth).astype(float)
    assert pairs.calibration(truth, label, bins=15)["ece"] < 0.015
    # Probabilities pushed to certainty: with p uniform, mean max(p, 1 - p) is .73, so a confidence near 1 errs by .27.
    sure = np.where(truth > 0.5, 0.999, 0.001)
    assert pairs.calibration(sure, label, bins=15)["ece"] == pytest.approx(0.27, abs=0.02)


def test_calibration_does_not_depend_on_the_order_of_answers(rng: np.random.Generator) -> None:
    probability = rng.uniform(0, 1, 500)
    label = rng.choice([0.0, 0.5, 1.0, 0.3], 500)
    turned = pairs.calibration(1 - probability, 1 - label, bins=15)["ece"]
    assert turned == pytest.approx(pairs.calibration(probability, label, bins=15)["ece"])


def test_bins_hold_equally_many_and_are_never_empty(rng: np.random.Generator) -> None:
    bins = pairs.equal_mass(rng.random(50), 15)
    assert sorted(len(b) for b in bins) == [3] * 10 + [4] * 5
    assert sorted(np.concatenate(bins)) == list(range(50))
    assert [len(b) for b in pairs.equal_mass(rng.random(3), 15)] == [1, 1, 1]
    assert pairs.equal_mass(np.array([]), 15) == []
