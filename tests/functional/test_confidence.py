"""Bounds on expected rewards, against scipy, closed forms, and exact coverage over all samples of small worlds."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, factorial, log, prod, sqrt

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import ttest_1samp

from mora.errors import InputError
from mora.functional.confidence import (
    BOUNDS,
    Confidence,
    least_mean,
    least_tail_mean,
    p_value,
    pessimistic,
    tail_p_value,
    terms,
)

SCORES = np.random.default_rng(7).uniform(-1.0, 1.0, 25)
SPAN = 2.0


def test_student_t_is_the_one_sided_test_of_scipy():
    test = ttest_1samp(SCORES, -0.3, alternative="greater")
    assert p_value(SCORES, -0.3, "student_t") == pytest.approx(test.pvalue, rel=1e-9)
    assert least_mean(SCORES, "student_t", 0.05) == pytest.approx(test.confidence_interval(0.95).low, abs=1e-12)


def test_the_other_bounds_are_their_formulas():
    mean, deviation = SCORES.mean(), SCORES.std(ddof=1)
    assert least_mean(SCORES, "hoeffding", 0.1, SPAN) == pytest.approx(mean - 2 * sqrt(log(10) / 50))
    expected = mean - deviation * sqrt(2 * log(20) / 25) - 7 * 2 * log(20) / (3 * 24)
    assert least_mean(SCORES, "empirical_bernstein", 0.1, SPAN) == pytest.approx(expected)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("floor", [-0.9, -0.5, -0.2])
def test_a_p_value_is_the_delta_at_which_the_bound_meets_the_floor(bound, floor):
    p = p_value(SCORES, floor, bound, SPAN)
    if p < 1:
        assert least_mean(SCORES, bound, p, SPAN) == pytest.approx(floor, abs=1e-9)
    else:
        assert least_mean(SCORES, bound, 0.999999, SPAN) < floor


@pytest.mark.parametrize(("above", "expected"), [(0.1, 0.0), (0.0, 0.0), (-0.1, 1.0)])
def test_equal_scores_have_no_deviation_to_test(above, expected):
    assert p_value([0.5, 0.5, 0.5], 0.5 - above, "student_t") == expected


@pytest.mark.parametrize("bound", [*BOUNDS, "tail"])
@pytest.mark.parametrize("failing", [0.02, 0.3, 0.7])
def test_bounds_hold_with_their_confidence_over_all_samples(bound, failing):
    """Scores 0 and 1, 40 of them: coverage summed over the binomial distribution.  Student's t fails the rare failure.

    With 2 % of failures 45 % of samples have none: no deviation, and a bound of 1 that is not true.
    """
    wrong = 0.0
    for failed in range(41):
        scores = np.repeat([0.0, 1.0], [failed, 40 - failed])
        if bound == "tail":
            truth, least = 1 - min(failing / 0.5, 1), least_tail_mean(scores, 0.5, 0.1, 0.0)
        else:
            truth, least = 1 - failing, least_mean(scores, bound, 0.1, 1.0)
        if least > truth + 1e-12:
            wrong += comb(40, failed) * failing**failed * (1 - failing) ** (40 - failed)
    if bound == "student_t" and failing == 0.02:
        assert wrong == pytest.approx(0.98**40, abs=1e-9)  # 45 %, and not 10 %
    else:
        assert wrong <= 0.1 + (0.02 if bound == "student_t" else 0.0)


def test_a_tail_bound_is_the_worst_distribution_within_the_band():
    """By a linear program over all distributions on the scores and on ``low`` that stay within the band."""
    scores, low, share, delta = np.sort(SCORES[:8]), -1.5, 0.4, 0.2
    moved = sqrt(log(1 / delta) / 16)
    places = np.array([low, *scores])
    allowed = np.minimum(np.arange(9) / 8 + moved, 1.0)  # the distribution function at each place, at most
    # The mean of the worst share: as little of the mass as possible, at most ``share`` in all.
    result = linprog(
        places / share,
        A_ub=np.tril(np.ones((9, 9))),
        b_ub=np.minimum(allowed, share),
        A_eq=np.ones((1, 9)),
        b_eq=[share],
    )
    assert least_tail_mean(scores, share, delta, low) == pytest.approx(result.fun, abs=1e-9)


def test_a_tail_p_value_inverts_its_bound():
    p = tail_p_value(SCORES, -0.97, 0.5, -1.0)
    assert 0 < p < 0.5 and least_tail_mean(SCORES, 0.5, p, -1.0) == pytest.approx(-0.97, abs=1e-9)
    assert tail_p_value(SCORES, 0.5, 0.5, -1.0) == 1.0 and tail_p_value(SCORES, -1.0, 0.5, -1.0) == 0.0


def test_the_tail_of_three_values_holds_over_all_samples():
    """-1, 0 and 1 with .2, .3 and .5, 12 of them; the worst 30 % have the mean -2/3."""
    wrong = 0.0
    for sample in combinations_with_replacement((-1.0, 0.0, 1.0), 12):
        counts = [sample.count(value) for value in (-1.0, 0.0, 1.0)]
        chance = factorial(12) * prod(p**n / factorial(n) for p, n in zip((0.2, 0.3, 0.5), counts, strict=True))
        wrong += chance * (least_tail_mean(np.array(sample), 0.3, 0.25, -1.0) > -2 / 3)
    assert wrong <= 0.25


def test_one_score_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        terms("student_t", 1, 0.1)


def test_pessimistic_rewards_have_the_mean_and_the_gradient_of_the_bound():
    """Over a softmax policy of 6 answers: autograd through mean - a deviation - b, and through E pessimistic."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, dtype=torch.float64, generator=generator, requires_grad=True)
    rewards = torch.randn(6, 1, dtype=torch.float64, generator=generator)
    probabilities = logits.softmax(0)
    mean = probabilities @ rewards
    deviation = (probabilities @ rewards**2 - mean**2).sqrt()
    bound = (mean - 0.7 * deviation - 0.2).sum()
    taken = (torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64))
    asked = pessimistic(rewards, mean.detach().expand(6, 1), deviation.detach().expand(6, 1), *taken)
    expected = (probabilities @ asked).sum()
    assert float(expected) == pytest.approx(float(bound), abs=1e-12)
    first, second = (torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (bound, expected))
    assert torch.allclose(first, second, atol=1e-12)
    equal = pessimistic(torch.ones(2, 1), torch.ones(2, 1), torch.zeros(2, 1), torch.ones(1), torch.full((1,), 0.25))
    assert equal.tolist() == [[0.75], [0.75]]


def made(**changed) -> Confidence:
    given = {"bound": "student_t", "delta": 0.1, "prompts": 100, "factor": 2.0, "limits": None}
    return Confidence(**{**given, **changed})


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(InputError, match=r"confidence\.bound=normal: must be one of student_t, hoeffding"):
        made(bound="normal")
    with pytest.raises(InputError, match=r"hoeffding needs the lowest and the highest score of safe: set .*limits"):
        made(bound="hoeffding").terms("safe")
    with pytest.raises(InputError, match=r"limits\.safe=\[1\.0, 0\.0\]: must be the lowest and the highest"):
        made(bound="hoeffding", limits={"safe": [1.0, 0.0]}).terms("safe")
    hoeffding = made(bound="hoeffding", limits={"safe": [0.0, 4.0]}).terms("safe")
    assert hoeffding == (0.0, pytest.approx(8 * sqrt(log(10) / 200)))
