"""Exact expectations in torch against those of numpy, the policy gradient, and the tilted optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from mora.functional import tilting
from mora.functional.expectation import exact_kl, exact_utility, expected_rewards

BETA = 0.3


def world(seed: int, prompts: int = 3, responses: int = 12, objectives: int = 2) -> tuple[np.ndarray, ...]:
    """Log-probabilities of a policy and its reference (X, Y), rewards (X, Y, M)."""
    generator = np.random.default_rng(seed)
    logps, ref_logps = log_softmax(2 * generator.normal(size=(2, prompts, responses)), axis=-1)
    return logps, ref_logps, generator.normal(size=(prompts, responses, objectives))


def test_by_hand():
    # prompt 0: (3/4, 1/4) against (1/2, 1/2), KL = .75 ln 1.5 + .25 ln .5; prompt 1: (1/2, 1/2), KL 0
    logps = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float64).log()
    ref_logps = torch.full((2, 2), 0.5, dtype=torch.float64).log()
    rewards = torch.tensor([[[4.0, 1.0], [0.0, 1.0]], [[9.0, 0.0], [1.0, 5.0]]], dtype=torch.float64)
    assert expected_rewards(logps, rewards).tolist() == [pytest.approx([3, 1]), pytest.approx([5, 2.5])]
    kl = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert float(exact_kl(logps, ref_logps)) == pytest.approx(kl)
    assert float(exact_utility(logps, ref_logps, rewards[..., 0], kl_coef=2.0)) == pytest.approx(4 - 2 * kl)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objectives", [1, 2, 6])
def test_agreement_with_the_functions_of_numpy(seed, objectives):
    logps, ref_logps, rewards = world(seed, objectives=objectives)
    policy, reference, scores = map(torch.from_numpy, (logps, ref_logps, rewards))
    np.testing.assert_allclose(expected_rewards(policy, scores).mean(0), tilting.expected(logps, rewards), atol=1e-14)
    assert float(exact_kl(policy, reference)) == pytest.approx(tilting.exact_kl(logps, ref_logps), abs=1e-14)
    assert float(exact_kl(policy, policy)) == 0.0
    gains = rewards.sum(-1)
    expected = tilting.response_utility(logps, ref_logps, gains, kl_coef=BETA)
    assert float(exact_utility(policy, reference, scores.sum(-1), kl_coef=BETA)) == pytest.approx(expected, abs=1e-14)


def test_objectives_and_prompts_may_be_permuted():
    policy, reference, rewards = map(torch.from_numpy, world(5, objectives=4))
    order, prompts = [2, 0, 3, 1], [1, 2, 0]
    whole = expected_rewards(policy, rewards)
    torch.testing.assert_close(expected_rewards(policy, rewards[..., order]), whole[:, order])
    torch.testing.assert_close(expected_rewards(policy[prompts], rewards[prompts]), whole[prompts])
    torch.testing.assert_close(exact_kl(policy[prompts], reference[prompts]), exact_kl(policy, reference))


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_policy_gradient(seed):
    """``mean_x sum_y pi (gain - beta log(pi / ref)) grad log pi`` on a table of logits (X, Y): grad log pi(y) with
    respect to the logits of its prompt is e_y - pi.
    """
    logps, ref_logps, rewards = world(seed)
    gains = rewards[..., 0]
    table = torch.from_numpy(logps).add(0.7).requires_grad_()  # logits are free up to a constant
    utility = exact_utility(table.log_softmax(-1), torch.from_numpy(ref_logps), torch.from_numpy(gains), kl_coef=BETA)
    (found,) = torch.autograd.grad(utility, table)
    expected = np.zeros_like(logps)
    for x, y in np.ndindex(*logps.shape):
        pi = np.exp(logps[x])
        score = np.eye(len(pi))[y] - pi
        expected[x] += pi[y] * (gains[x, y] - BETA * (logps[x, y] - ref_logps[x, y])) * score / len(logps)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert np.abs(expected).max() > 1e-2


def test_the_gradient_with_respect_to_free_log_probabilities():
    """``pi (gain - beta (log(pi / ref) + 1))`` over the number of prompts, where nothing keeps the sum at one."""
    logps, ref_logps, rewards = world(4)
    gains = rewards[..., 0]
    free = torch.from_numpy(logps).requires_grad_()
    utility = exact_utility(free, torch.from_numpy(ref_logps), torch.from_numpy(gains), kl_coef=BETA)
    (found,) = torch.autograd.grad(utility, free)
    expected = np.exp(logps) * (gains - BETA * (logps - ref_logps + 1)) / len(logps)
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("kl_coef", [0.05, 0.3, 2.0])
def test_the_gradient_vanishes_at_the_tilted_reference_and_nowhere_is_more_to_be_had(kl_coef):
    _, ref_logps, rewards = world(7)
    gains = rewards[..., 0]
    best = torch.from_numpy(tilting.tilt(ref_logps, gains, kl_coef=kl_coef))
    reference, gain = torch.from_numpy(ref_logps), torch.from_numpy(gains)
    table = best.clone().requires_grad_()
    utility = exact_utility(table.log_softmax(-1), reference, gain, kl_coef=kl_coef)
    (gradient,) = torch.autograd.grad(utility, table)
    assert float(gradient.abs().max()) < 1e-14
    generator = torch.Generator().manual_seed(0)
    for size in (0.01, 0.1, 1.0):
        moved = best + size * torch.randn(best.shape, dtype=torch.float64, generator=generator)
        assert exact_utility(moved.log_softmax(-1), reference, gain, kl_coef=kl_coef) < utility
    # At the optimum it is mean_x beta log E_ref exp(gain / beta).
    value = kl_coef * torch.logsumexp(reference + gain / kl_coef, -1).mean()
    assert utility.item() == pytest.approx(value.item(), abs=1e-12)


def test_the_kl_has_no_gradient_at_the_reference():
    """It is least there, although each of its terms has a gradient."""
    _, ref_logps, _ = world(8)
    table = torch.from_numpy(ref_logps).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(exact_kl(table.log_softmax(-1), torch.from_numpy(ref_logps)), table)
    assert float(gradient.abs().max()) < 1e-14
