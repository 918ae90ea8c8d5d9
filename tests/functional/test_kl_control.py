from __future__ import annotations

import math

import pytest
import torch

from mora.errors import InputError
from mora.functional.advantages import token_rewards
from mora.functional.kl import token_kl_loss
from mora.functional.kl_control import KLControl

W = torch.tensor([[1.0, 0.0], [0.7, 0.3], [0.5, 0.5], [0.2, 0.8], [0.0, 1.0]])


def _alone(total):
    return total


def _settled(pull: torch.Tensor, target: float, rate: float = 0.1, degree: int = 1) -> tuple[KLControl, torch.Tensor]:
    """A world in which the KL of a preference is ``pull`` over the square of the weight, as that of a Gaussian."""
    control = KLControl(coef=0.15, target=target, rate=rate, degree=degree)
    for _ in range(300):
        control.observe(W, pull / control(W) ** 2, _alone)
    return control, pull / control(W) ** 2


def test_without_a_target_the_weight_is_the_same_at_every_preference_and_stays():
    control = KLControl(coef=0.15, target=None, rate=0.1, degree=1)
    control.observe(W, torch.full((5,), 9.0), _alone)
    assert control(W).tolist() == [0.15] * 5 and control.state_dict() == {"logs": None}


def test_a_world_that_is_log_linear_in_the_preference_has_its_target_at_every_one():
    pull = 0.02 * torch.exp(W @ torch.tensor([2.0, -1.0]))
    control, kl = _settled(pull, target=1.5)
    assert torch.allclose(kl, torch.full((5,), 1.5, dtype=kl.dtype), rtol=1e-3)
    assert torch.allclose(control(W), (pull / 1.5).sqrt().double(), rtol=1e-3)


def test_in_any_other_world_the_means_weighted_by_the_objectives_have_it():
    pull = torch.tensor([0.02, 0.3, 0.05, 0.2, 0.01])
    _, kl = _settled(pull, target=0.8)
    means = (W.T.double() @ kl) / W.sum(0)
    assert torch.allclose(means, torch.full((2,), 0.8, dtype=means.dtype), rtol=1e-3)
    assert (kl - 0.8).abs().max() > 0.1


def test_a_higher_degree_holds_more_of_the_simplex_at_the_target():
    """A KL that is high at both ends, which two numbers cannot follow and three can."""
    pull = 0.3 * (W[:, 0] - 0.5) ** 2 + 0.01
    off = [float((_settled(pull, 0.8, degree=degree)[1] / 0.8 - 1).abs().max()) for degree in (1, 2)]
    assert off[0] > 0.75 > 0.35 > off[1]


def test_a_rollout_moves_the_logarithm_of_the_weight_by_its_rate_at_most():
    control = KLControl(coef=0.2, target=1.0, rate=0.1, degree=1)
    control.observe(W, torch.tensor([50.0, 50.0, 50.0, 50.0, -3.0]), _alone)
    assert float(control(W[:1])[0]) == pytest.approx(0.2 * math.exp(0.1))
    control.observe(W, torch.full((5,), -2.0), _alone)
    assert torch.allclose(control(W), torch.tensor(0.2, dtype=torch.float64))
    control.observe(W, torch.full((5,), 1.4), _alone)
    assert torch.allclose(control(W), torch.tensor(0.2 * math.exp(0.04), dtype=torch.float64))


def test_an_objective_that_nothing_weighs_keeps_its_number():
    control = KLControl(coef=0.2, target=1.0, rate=0.1, degree=1)
    control.observe(W[:1].expand(3, -1), torch.full((3,), 5.0), _alone)
    assert control.logs.tolist() == pytest.approx([0.1, 0.0])


def test_rows_of_several_processes_are_observed_together():
    kl = torch.tensor([0.2, 1.1, 0.7, 0.4, 2.0])
    one, another = (KLControl(coef=0.2, target=1.0, rate=0.1, degree=1) for _ in range(2))
    one.observe(W, kl, _alone)
    rest = torch.stack([W[2:].T @ kl[2:], W[2:].sum(0)]).double()
    another.observe(W[:2], kl[:2], lambda sums: sums + rest)
    assert torch.allclose(one.logs, another.logs)


def test_what_is_kept_goes_on_to_the_bit():
    one, again = (KLControl(coef=0.2, target=1.0, rate=0.1, degree=1) for _ in range(2))
    one.observe(W, torch.arange(5.0), _alone)
    again.load_state_dict(one.state_dict())
    assert torch.equal(one(W), again(W))


def test_a_weight_of_zero_leads_to_no_target():
    with pytest.raises(InputError, match=r"algo.kl_coef=0 cannot be steered to algo.kl_target"):
        KLControl(coef=0.0, target=1.0, rate=0.1, degree=1)


def test_rows_pay_their_own_price_in_the_reward_and_in_the_loss():
    logps, ref = torch.randn(2, 3, 4, generator=torch.manual_seed(0))
    mask, prices, score = torch.ones(3, 4, dtype=torch.bool), torch.tensor([0.1, 0.0, 2.0]).double(), torch.ones(3, 1)
    together = token_rewards(score, logps, ref, mask, kl_coef=prices)
    losses = []
    for row, price in enumerate(prices.tolist()):
        some = slice(row, row + 1)
        own = token_rewards(score[some], logps[some], ref[some], mask[some], kl_coef=price)
        assert torch.equal(together[some], own)
        paid = {"estimator": "k3", "kl_coef": price, "normalizer": 2.0}
        losses.append(token_kl_loss(logps[some], ref[some], mask[some], **paid))
    whole = token_kl_loss(logps, ref, mask, estimator="k3", kl_coef=prices, normalizer=2.0)
    assert float(whole) == pytest.approx(float(sum(losses)), rel=1e-6) and losses[1] == 0
