"""Calibration: by hand, against simulation, and on models whose miscalibration is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mora.functional.calibration import calibration, squared_error
from mora.functional.pairs import equal_mass


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def measured(probability: np.ndarray, label: np.ndarray, *, bins: int = 15, prompts: Any = None) -> dict[str, Any]:
    clusters = np.arange(len(label)) if prompts is None else prompts
    return calibration(probability, label, clusters, bins=bins, level=0.95)


def test_calibration_by_hand() -> None:
    # Confidences .6 .6 .9 .9 in two bins; right: 1, 0 (label 1, p .4), 1, 1.  ECE = (2 * .1 + 2 * .1) / 4.
    probability, label = np.array([0.6, 0.4, 0.1, 0.9]), np.array([1.0, 1.0, 0.0, 1.0])
    found = measured(probability, label, bins=2)
    assert [b["count"] for b in found["bins"]] == [2, 2]
    assert [b["accuracy"] for b in found["bins"]] == [0.5, 1.0]
    assert [b["confidence"] for b in found["bins"]] == pytest.approx([0.6, 0.9])
    assert found["ece"] == pytest.approx(0.1)
    # Right of two at .6: 0, 1, 2 with .16, .48, .36, off from 1.2 by 1.2, .2, .8; at .9: .01, .18, .81 and 1.8, .8, .2.
    expected = (0.16 * 1.2 + 0.48 * 0.2 + 0.36 * 0.8 + 0.01 * 1.8 + 0.18 * 0.8 + 0.81 * 0.2) / 4
    assert found["ece_if_calibrated"] == pytest.approx(expected)
    # Products of the two residuals of a bin: .4 * -.6 and .1 * .1.
    assert found["error"]["squared"] == pytest.approx((-0.24 + 0.01) / 2)
    assert found["error"]["value"] == found["error"]["interval"][0] == 0.0


def test_pairs_of_one_prompt_are_not_multiplied() -> None:
    probability, label = np.full(4, 0.6), np.array([1.0, 1.0, 0.0, 1.0])
    found = measured(probability, label, bins=1, prompts=["p", "p", "q", "r"])
    d = np.array([0.4, 0.4, -0.6, 0.4])
    pairs = [d[0] * d[2], d[0] * d[3], d[1] * d[2], d[1] * d[3], d[2] * d[3]]
    assert found["error"]["squared"] == pytest.approx(np.mean(pairs))
    alone = measured(probability, label, bins=1, prompts=["p"] * 4)
    assert alone["error"] == {"value": None, "interval": None, "squared": None}


def test_without_clusters_it_is_the_plug_in_less_its_variance(rng: np.random.Generator) -> None:
    """Kumar, Liang and Ma (2019): (accuracy - confidence)^2 less the variance of the mean, of each bin."""
    probability, label = rng.random(300), rng.integers(0, 2, 300).astype(float)
    confidence = np.maximum(probability, 1 - probability)
    d = np.where(probability > 0.5, label, 1 - label) - confidence
    expected = sum(len(i) * (d[i].mean() ** 2 - d[i].var(ddof=1) / len(i)) for i in equal_mass(confidence, 10)) / 300
    assert squared_error(probability, label, np.arange(300), bins=10).value == pytest.approx(expected)


@pytest.mark.parametrize(("pairs", "by_chance"), [(2000, 0.027), (85, 0.132)])
def test_what_a_calibrated_model_scores(pairs: int, by_chance: float) -> None:
    """The mean ECE of simulated calibrated models is what is expected, and their debiased error is 0 on average."""
    eces, expected, squares, held = [], [], [], []
    for seed in range(80):
        generator = np.random.default_rng([seed, pairs])
        truth = generator.random(pairs)
        found = measured(truth, (generator.random(pairs) < truth).astype(float))
        eces.append(found["ece"])
        expected.append(found["ece_if_calibrated"])
        squares.append(found["error"]["squared"])
        held.append(found["error"]["interval"][0] == 0)
    assert np.mean(expected) == pytest.approx(by_chance, rel=0.03)
    assert np.mean(eces) == pytest.approx(np.mean(expected), rel=0.04)
    assert abs(np.mean(squares)) < 3 * np.std(squares) / np.sqrt(len(squares))
    assert np.mean(eces) ** 2 > 5 * abs(np.mean(squares)) and np.mean(held) > 0.94


def test_a_known_error_is_found_in_prompts_of_several_pairs() -> None:
    """Twice the true log-odds: the error over bins is .107, and its interval holds it in 95 % of models."""
    truth = np.random.default_rng(1).random(100_000)
    labels = truth  # in expectation
    sure = 1 / (1 + ((1 - truth) / truth) ** 2)
    true_error = squared_error(sure, labels, np.arange(len(truth)), bins=15).value
    assert np.sqrt(true_error) == pytest.approx(0.107, abs=0.002)
    squares, held = [], []
    for seed in range(120):
        generator = np.random.default_rng([seed, 7])
        p = generator.random(600)
        label, prompts = (generator.random(600) < p).astype(float), np.arange(600) // 3
        found = measured(1 / (1 + ((1 - p) / p) ** 2), label, prompts=prompts)["error"]
        squares.append(found["squared"])
        held.append(found["interval"][0] ** 2 <= true_error <= found["interval"][1] ** 2)
    assert np.mean(squares) == pytest.approx(true_error, abs=3 * np.std(squares) / np.sqrt(120))
    assert 0.9 < np.mean(held) <= 1.0


def test_calibration_does_not_depend_on_the_order_of_answers(rng: np.random.Generator) -> None:
    probability = rng.uniform(0, 1, 500)
    label = rng.choice([0.0, 0.5, 1.0, 0.3], 500)
    turned, found = measured(1 - probability, 1 - label), measured(probability, label)
    assert turned["ece"] == pytest.approx(found["ece"])
    assert turned["error"]["squared"] == pytest.approx(found["error"]["squared"])
    assert found["ece_if_calibrated"] is None  # fractions: their noise is not known


def test_an_overconfident_model(rng: np.random.Generator) -> None:
    truth = rng.uniform(0.05, 0.95, 4_000)
    label = (rng.random(4_000) < truth).astype(float)
    # Probabilities pushed to certainty: with p uniform, mean max(p, 1 - p) is .73, so a confidence near 1 errs by .27.
    found = measured(np.where(truth > 0.5, 0.999, 0.001), label)
    assert found["ece"] == pytest.approx(0.27, abs=0.02) and found["error"]["value"] == pytest.approx(0.27, abs=0.02)
    assert found["error"]["interval"][0] > 0.24
