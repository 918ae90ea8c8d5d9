"""Annotators: the quadrature against numeric integration, labels against their probability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from mora.dataset.worlds import annotators
from mora.errors import InputError
from mora.types import Row

PROMPT = "slugs eat my rose near the cat"


@pytest.mark.parametrize("difference", [-6.0, -1.0, 0.0, 0.3, 4.0, 16.0])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.5, 3.7, 5.0])
def test_probability_is_the_integral(difference, spread):
    if spread:
        expected = quad(lambda z: expit(difference + spread * z) * norm.pdf(z), -12, 12, epsabs=1e-10, limit=400)[0]
    else:
        expected = expit(difference)
    assert annotators.probability(np.array(difference), np.array(spread)) == pytest.approx(expected, abs=1e-7)


def test_probability_of_the_other_answer_is_the_rest():
    difference, spread = np.linspace(-5, 5, 11), np.linspace(0, 4, 11)
    total = annotators.probability(difference, spread) + annotators.probability(-difference, spread)
    np.testing.assert_allclose(total, 1, atol=1e-12)


def test_labels_come_with_their_probability():
    draws = 40_000
    gap, spread = np.array([0.5, 2.0, -3.0]), np.array([[0.2, 2.0, 1.0], [0.2, 1.0, 2.5]])
    utility = np.stack([np.zeros((draws, 3)), np.broadcast_to(gap, (draws, 3))])
    noise = np.random.default_rng(0).random((3, draws, 3))
    labels, felt = annotators.judge(utility, np.broadcast_to(spread[:, None], (2, draws, 3)), noise)
    expected = annotators.probability(gap, np.hypot(*spread))
    # A share of 40,000 has a standard error of at most 0.0025.
    np.testing.assert_allclose(labels.mean(0), expected, atol=0.01)
    # What was felt has the utility as its mean and the spread as its deviation (standard errors below .013 and .009).
    np.testing.assert_allclose(felt.mean(1), utility[:, 0], atol=0.06)
    np.testing.assert_allclose(felt.std(1), spread, atol=0.04)
    # Without the spread the probabilities would be .62, .88 and .05: the test can tell.
    assert abs(expit(2.0) - expected[1]) > 0.05


def test_bayes_accuracy_by_hand(world, settings):
    garden, slope = world("cure", "care"), settings()["slope"]
    twin = Row(prompt=PROMPT, responses=("feed cat .", "calm cat ."))
    # Against the floor, mild act: slope * 0.234375 apart; spread of both 0.2, joint 0.283.
    clear = Row(prompt=PROMPT, responses=("nonsense", "pick slugs ."))
    cure = annotators.probability(np.array(slope * 0.234375), np.array(np.hypot(0.2, 0.2)))
    np.testing.assert_allclose(garden.bayes_probability(twin), [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(garden.bayes_probability(clear), [cure, 0.5], atol=1e-12)
    flipped = Row(prompt=PROMPT, responses=clear.responses[::-1])
    np.testing.assert_allclose(garden.bayes_probability(flipped), [1 - cure, 0.5], atol=1e-12)
    np.testing.assert_allclose(garden.bayes_accuracy([twin, clear, flipped]), [(0.5 + 2 * cure) / 3, 0.5], atol=1e-12)


def test_bold_acts_blur_the_choice(world):
    garden = world("cure")
    # Equal gold: two mild acts or one bold act, against the floor; people differ more about the bold one.
    mild, bold = (
        garden.bayes_probability(Row(prompt=PROMPT, responses=("nonsense", answer)))[0]
        for answer in ("pick slugs , rinse slugs .", "spray slugs .")
    )
    assert mild > bold > 0.9


def test_a_row_that_is_no_pair_is_refused(world):
    with pytest.raises(InputError, match="file:3.*two responses"):
        world("cure").bayes_accuracy([Row(prompt=PROMPT, responses=("feed cat .",), where="file:3")])
