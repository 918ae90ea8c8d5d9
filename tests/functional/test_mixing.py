"""Geometric mixtures of a policy and its reference, against enumeration of every answer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax, logsumexp

from mora.functional.mixing import at_kl_budget, geometric_path
from mora.functional.tilting import Solution, exact_kl, expected, linear_optimum

EXPONENTS = np.linspace(0, 1, 11)
X, Y = 48, 100
GENERATOR = np.random.default_rng(0)
REFERENCE = log_softmax(GENERATOR.normal(size=(X, Y)), -1)
REWARDS = GENERATOR.normal(size=(X, Y, 2))
WEIGHTS = np.array([0.7, 0.3])


def optimum(kl_coef: float) -> Solution:
    return linear_optimum(REFERENCE, REWARDS, WEIGHTS, kl_coef=kl_coef)


def mixture(logps: np.ndarray, exponent: float) -> np.ndarray:
    mixed = exponent * logps + (1 - exponent) * REFERENCE
    return mixed - logsumexp(mixed, -1, keepdims=True)


def enumerated(logps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """KL (1, G) and rewards (1, G, 2) along the path."""
    policies = [mixture(logps, a) for a in EXPONENTS]
    return np.array([[exact_kl(p, REFERENCE) for p in policies]]), np.array([[expected(p, REWARDS) for p in policies]])


def drawn(logps: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    sums = np.exp(logps).cumsum(-1)
    return (generator.random((X, samples, 1)) > (sums / sums[:, -1:])[:, None]).sum(-1)


def sampled(logps: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``enumerated``, from answers, and the effective number of them (1, G)."""
    generator, rows = np.random.default_rng(seed), np.arange(X)[:, None]
    own, base = drawn(logps, samples, generator), drawn(REFERENCE, samples, generator)
    ratios = logps - REFERENCE
    path = geometric_path(ratios[rows, own], ratios[rows, base], REWARDS[rows, own], REWARDS[rows, base], EXPONENTS)
    return path.kl.mean(0)[None], path.values.mean(0)[None], path.effective.mean(0)[None]


def test_one_optimum_is_a_mixture_of_another():
    """pi_ref^(1-a) pi^a of the optimum at a KL weight of .3 is the one at .6 for a = .5."""
    assert_allclose(mixture(optimum(0.3).logps, 0.5), optimum(0.6).logps, atol=1e-12)


def test_two_optima_of_one_problem_are_equal_at_matched_kl():
    """Their utilities are 1.43 and .67; a mixture of answers would leave the first .29 at the KL of the second."""
    far, near = optimum(0.3), optimum(0.8)
    assert far.kl > 5 * near.kl and (far.rewards - near.rewards) @ WEIGHTS > 0.7
    kl, rewards = enumerated(far.logps)
    assert_allclose(at_kl_budget(kl, rewards, near.kl)[0], near.rewards, atol=1e-3)  # between two exponents
    at_half = at_kl_budget(kl, rewards, optimum(0.6).kl)[0]
    assert_allclose(at_half, optimum(0.6).rewards, atol=1e-9)  # at one of them


@pytest.mark.parametrize(("samples", "bias"), [(8, 0.012), (32, 0.006)])
def test_sampled_optima_are_equal_too_but_for_a_small_bias(samples, bias):
    far, near = optimum(0.3), optimum(0.8)
    budget, gaps, effective = 0.9 * near.kl, [], []
    for seed in range(20):
        one, two = sampled(far.logps, samples, seed), sampled(near.logps, samples, seed)
        gaps.append(float(((at_kl_budget(*one[:2], budget) - at_kl_budget(*two[:2], budget)) @ WEIGHTS)[0]))
        effective.append(one[2].mean())
    assert abs(np.mean(gaps)) < bias + 3 * np.std(gaps) / np.sqrt(len(gaps))
    assert abs(np.mean(gaps)) < 0.02  # of .95 between their own
    assert 0.5 * samples < np.mean(effective) < 2 * samples


def test_a_path_of_many_answers_is_that_of_enumeration():
    kl, rewards, _ = sampled(optimum(0.5).logps, 1000, seed=1)
    exact_nats, exact_rewards = enumerated(optimum(0.5).logps)
    assert_allclose(kl, exact_nats, atol=0.02)
    assert_allclose(rewards, exact_rewards, atol=0.02)


def test_the_ends_are_what_was_measured():
    generator = np.random.default_rng(3)
    own, base = generator.normal(2, 2, size=(5, 4)), generator.normal(-2, 2, size=(5, 6))
    mine, theirs = generator.normal(size=(5, 4, 2)), generator.normal(size=(5, 6, 2))
    path = geometric_path(own, base, mine, theirs, EXPONENTS)
    assert_allclose(path.values[:, 0], theirs.mean(1))
    assert_allclose(path.values[:, -1], mine.mean(1))
    assert_allclose(path.kl[:, [0, -1]], np.stack([np.zeros(5), own.mean(1)], 1), atol=1e-12)


def test_a_policy_that_is_its_reference_stays_there():
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    path = geometric_path(np.zeros((3, 4)), np.zeros((3, 4)), values, values, EXPONENTS)
    assert_allclose(path.kl, 0, atol=1e-15)
    assert_allclose(path.effective, 8)
    assert_allclose(at_kl_budget(path.kl, path.values, 1.0), values.mean(1))


def test_answers_that_say_nothing_of_what_lies_between_are_few():
    """Log-ratios that spread over tens of nats leave one or two answers in the middle of the path."""
    generator = np.random.default_rng(0)
    own, base = generator.normal(40, 30, size=(50, 8)), generator.normal(-40, 30, size=(50, 8))
    path = geometric_path(own, base, own[..., None], base[..., None], EXPONENTS)
    assert path.effective[:, 5].mean() < 2 < 6 < path.effective[:, 0].mean()


def test_budgets_move_points_along_the_square_root_of_the_kl():
    kl, values = [[0.0, 1.0, 4.0]], [[[0.0], [1.0], [5.0]]]
    found = [float(at_kl_budget(kl, values, budget)[0, 0]) for budget in (0.0, 0.25, 1.0, 2.25, 4.0, 9.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 3.0, 5.0, 5.0])
    falling = [[0.0, 2.0, 1.0, -1.0]]  # noise: no less than the most so far
    assert at_kl_budget(falling, [[[0.0], [1.0], [2.0], [3.0]]], 3.0)[0, 0] == 3.0
    assert at_kl_budget(np.zeros((1, 3)), values, 0.0)[0, 0] == 5.0  # nothing was spent: nothing is given back


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": -1.0}, "finite, and a budget"),
        ({"kl": [[0.0, np.nan]]}, "finite, and a budget"),
        ({"values": [[[np.inf], [0.0]]]}, "finite, and a budget"),
        ({"kl": [[0.0, 1.0, 2.0]]}, "same two or more exponents"),
    ],
)
def test_budgets_are_checked(wrong, said):
    with pytest.raises(ValueError, match=said):
        at_kl_budget(**({"kl": [[0.0, 1.0]], "values": [[[1.0], [2.0]]], "budget": 1.0} | wrong))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"own_ratios": [np.nan, 0.0]}, "finite"),
        ({"exponents": [1.5]}, "within"),
        ({"own_values": [[1.0]]}, "do not fit"),
    ],
)
def test_paths_are_checked(wrong, said):
    given = {"own_ratios": [1.0, 0.0], "reference_ratios": [0.0, 0.0], "exponents": EXPONENTS}
    given |= {"own_values": [[1.0], [2.0]], "reference_values": [[1.0], [2.0]]}
    with pytest.raises(ValueError, match=said):
        geometric_path(**(given | wrong))
