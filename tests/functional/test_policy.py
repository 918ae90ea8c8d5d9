from __future__ import annotations

import math

import pytest
import torch

from mora.functional.policy import clipped_surrogate_loss, clipped_value_loss


def _random(rows: int = 6, length: int = 5):
    generator = torch.Generator().manual_seed(1)
    old = -torch.rand(rows, length, generator=generator, dtype=torch.float64) * 3
    new = old + 0.4 * torch.randn(rows, length, generator=generator, dtype=torch.float64)
    advantages = torch.randn(rows, length, generator=generator, dtype=torch.float64)
    mask = torch.arange(length)[None, :] < torch.tensor([5, 1, 3, 2, 4, 5])[:, None]
    return new, old, advantages, mask


def _written_out(new, old, advantages, mask, clip):
    """PPO's objective token by token: the sum of terms, the gradient by each new log-probability, tokens clipped."""
    total, gradient, clipped = 0.0, torch.zeros_like(new), 0
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if not mask[b, t]:
                continue
            ratio, a = math.exp(float(new[b, t] - old[b, t])), float(advantages[b, t])
            if (a > 0 and ratio > 1 + clip) or (a < 0 and ratio < 1 - clip):
                total += a * (1 + clip if a > 0 else 1 - clip)
                clipped += 1
            else:
                total += ratio * a
                gradient[b, t] = ratio * a
    return total, gradient, clipped


def test_the_clipped_surrogate_against_its_cases_written_out():
    new, old, advantages, mask = _random()
    new.requires_grad_()
    loss, clipped = clipped_surrogate_loss(new, old, advantages, mask, clip=0.2, normalizer=12.5)
    loss.backward()
    total, gradient, count = _written_out(new.detach(), old, advantages, mask, 0.2)
    assert 0 < count < int(mask.sum())
    assert loss.item() == pytest.approx(-total / 12.5, rel=1e-12)
    assert torch.allclose(new.grad, -gradient / 12.5, atol=1e-14)
    assert int(clipped) == count


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"), [(0.5, 1.0, False), (0.5, -1.0, True), (-0.5, -1.0, False), (-0.5, 1.0, True)]
)
def test_the_clip_removes_the_gradient_only_where_the_ratio_went_too_far(log_ratio, advantage, moves):
    new = torch.tensor([[log_ratio]], requires_grad=True)
    one = torch.ones(1, 1, dtype=torch.bool)
    loss, clipped = clipped_surrogate_loss(
        new, torch.zeros(1, 1), torch.full((1, 1), advantage), one, clip=0.2, normalizer=1.0
    )
    loss.backward()
    assert bool(new.grad.item() != 0) == moves
    assert int(clipped) == (not moves)


def test_at_ratio_one_the_gradient_is_that_of_the_advantage_weighted_likelihood():
    _, old, advantages, mask = _random()
    new = old.clone().requires_grad_()
    loss, clipped = clipped_surrogate_loss(new, old, advantages, mask, clip=0.2, normalizer=1.0)
    loss.backward()
    assert torch.allclose(new.grad, torch.where(mask, -advantages, 0.0))
    assert int(clipped) == 0


def test_a_token_weighs_the_same_in_a_long_and_in_a_short_answer():
    old = torch.zeros(2, 4)
    new = torch.zeros(2, 4, requires_grad=True)
    mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    loss, _ = clipped_surrogate_loss(new, old, torch.ones(2, 4), mask, clip=0.2, normalizer=8.0)
    loss.backward()
    assert new.grad[mask].tolist() == [-1 / 8] * 5


def test_padding_with_infinite_log_probabilities_gives_no_nan():
    new = torch.tensor([[0.0, -float("inf")]], requires_grad=True)
    old = torch.tensor([[0.0, float("inf")]])
    mask = torch.tensor([[True, False]])
    loss, _ = clipped_surrogate_loss(new, old, torch.ones(1, 2), mask, clip=0.2, normalizer=1.0)
    loss.backward()
    assert math.isfinite(loss.item()) and new.grad.tolist() == [[-1.0, 0.0]]


def test_scalarizing_then_clipping_once_is_not_clipping_each_objective():
    """Ratio 1.5, advantages 1 and -.9, weights 1/2: once, min(1.5 .05, 1.2 .05) = .06; apart, .5 (1.2) - .5 (1.35)."""
    new, old = torch.tensor([[math.log(1.5)]]), torch.zeros(1, 1)
    one, per_objective = torch.ones(1, 1, dtype=torch.bool), torch.tensor([1.0, -0.9])
    once, _ = clipped_surrogate_loss(new, old, per_objective.mean().view(1, 1), one, clip=0.2, normalizer=1.0)
    apart = sum(
        0.5 * clipped_surrogate_loss(new, old, a.view(1, 1), one, clip=0.2, normalizer=1.0)[0] for a in per_objective
    )
    assert float(once) == pytest.approx(-0.06, abs=1e-6)
    assert float(apart) == pytest.approx(0.075, abs=1e-6)


def test_the_value_loss_by_hand():
    # Two streams of one row, two tokens, the second masked.  Old values 0, new 3, clip 1 -> near 1.
    # Return 2: max((3-2)^2, (1-2)^2) = 1.  Return 5: max(4, 16) = 16.  Half the sum over 4: (1 + 16) / 2 / 4.
    values = torch.tensor([[[3.0, 3.0], [9.0, 9.0]]], requires_grad=True)
    returns = torch.tensor([[[2.0, 5.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, False]])
    loss = clipped_value_loss(values, torch.zeros(1, 2, 2), returns, mask, clip=1.0, normalizer=4.0)
    assert loss.item() == pytest.approx(17 / 8)
    loss.backward()
    # The second stream's larger term is the clipped one, whose value no longer moves with V.
    assert values.grad[0, 1].tolist() == [0.0, 0.0] and values.grad[0, 0, 1] == 0.0


def test_within_the_clip_the_value_loss_is_half_the_squared_error():
    generator = torch.Generator().manual_seed(0)
    old, returns = torch.randn(2, 3, 4, 2, generator=generator)
    values = (old + 0.1).requires_grad_()
    mask = torch.ones(3, 4, dtype=torch.bool)
    loss = clipped_value_loss(values, old, returns, mask, clip=5.0, normalizer=2.0)
    assert loss.item() == pytest.approx(((values - returns) ** 2).sum().item() / 4, rel=1e-6)
    loss.backward()
    assert torch.allclose(values.grad, (values - returns).detach() / 2, atol=1e-6)
