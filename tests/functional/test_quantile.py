from __future__ import annotations

import math
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora.functional.margins import bradley_terry_loss, label_loss
from mora.functional.quantile import (
    MIN_GAP,
    comonotone_log_likelihood,
    dbt_log_likelihood,
    gap_bias,
    mean_gaps,
    midpoint_levels,
    pinball_loss,
    running_sum,
)


def loss_of(log_likelihood, z_1: Tensor, z_0: Tensor, label: Tensor) -> Tensor:
    return label_loss(log_likelihood(z_1, z_0), log_likelihood(z_0, z_1), label)


def test_midpoint_levels() -> None:
    assert midpoint_levels(1) == (0.5,)
    assert midpoint_levels(4) == (0.125, 0.375, 0.625, 0.875)


def test_running_sum() -> None:
    assert running_sum(torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 1.0]])).tolist() == [[1, 3, 7], [0, -1, 0]]


def test_mean_gaps_are_ascending_and_centered_on_the_location() -> None:
    raw = torch.randn(64, 3, 9, generator=torch.Generator().manual_seed(0)) * 5
    quantiles = mean_gaps(raw)
    assert (quantiles.diff(dim=-1) >= 0.9 * MIN_GAP).all()
    torch.testing.assert_close(quantiles.mean(-1), raw[..., 0], atol=1e-5, rtol=0)


def test_initial_gaps_and_known_quantiles() -> None:
    # Three quantiles with location 2 and gaps of 0.1: 1.9, 2.0, 2.1.
    raw = torch.tensor([2.0, gap_bias(0.1), gap_bias(0.1)], dtype=torch.float64)
    torch.testing.assert_close(mean_gaps(raw), torch.tensor([1.9, 2.0, 2.1], dtype=torch.float64))
    with pytest.raises(ValueError, match="least one"):
        gap_bias(0.0)


def test_one_quantile_is_the_location() -> None:
    raw = torch.tensor([[1.5], [-2.0]])
    assert torch.equal(mean_gaps(raw), raw)


def test_low_precision_input_is_computed_in_float32() -> None:
    raw = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert mean_gaps(raw).dtype == torch.float32
    assert (mean_gaps(raw).diff(dim=-1) > 0).all()
    assert dbt_log_likelihood(raw, raw).dtype == torch.float32
    assert comonotone_log_likelihood(raw, raw).dtype == torch.float32


def test_dbt_known_probability() -> None:
    # Utilities {0, ln 3} against {0, 0}: sigma is 1/2 twice and 3/4 twice, so P = 5/8.
    z_1 = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    assert math.isclose(dbt_log_likelihood(z_1, torch.zeros(2).double()).item(), math.log(5 / 8))
    # Label 1/4: -(1/4 ln 5/8 + 3/4 ln 3/8).
    got = loss_of(dbt_log_likelihood, z_1, torch.zeros(2).double(), torch.tensor(0.25, dtype=torch.float64)).item()
    assert math.isclose(got, -(0.25 * math.log(5 / 8) + 0.75 * math.log(3 / 8)))


def test_comonotone_known_probability() -> None:
    # Utilities {0, ln 3} against {0, ln 9}, level by level: sigma(0) = 1/2 and sigma(-ln 3) = 1/4, so P = 3/8.
    z_1 = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    z_0 = torch.tensor([0.0, math.log(9)], dtype=torch.float64)
    assert math.isclose(comonotone_log_likelihood(z_1, z_0).item(), math.log(3 / 8))
    assert math.isclose(comonotone_log_likelihood(z_0, z_1).item(), math.log(5 / 8))


@pytest.mark.parametrize("log_likelihood", [dbt_log_likelihood, comonotone_log_likelihood])
def test_equal_quantiles_are_bradley_terry(log_likelihood) -> None:
    generator = torch.Generator().manual_seed(2)
    score_1, score_0 = torch.randn(2, 50, generator=generator, dtype=torch.float64) * 3
    label = torch.rand(50, generator=generator, dtype=torch.float64)
    got = loss_of(log_likelihood, score_1[:, None].expand(-1, 9), score_0[:, None].expand(-1, 9), label)
    torch.testing.assert_close(got, bradley_terry_loss(score_1, score_0, label, margin=0.0), atol=1e-6, rtol=0)


def test_a_spread_that_both_answers_share_leaves_no_trace_only_if_comonotone() -> None:
    spread = torch.linspace(-4, 4, 9, dtype=torch.float64)
    comonotone = comonotone_log_likelihood(1.5 + spread, spread)
    assert math.isclose(comonotone.item(), -math.log1p(math.exp(-1.5)))
    assert dbt_log_likelihood(1.5 + spread, spread) < comonotone - 0.1


@pytest.mark.parametrize("log_likelihood", [dbt_log_likelihood, comonotone_log_likelihood])
def test_probabilities_of_both_outcomes_sum_to_one(log_likelihood) -> None:
    generator = torch.Generator().manual_seed(3)
    z_1, z_0 = torch.randn(2, 40, 9, generator=generator, dtype=torch.float64) * 4
    total = log_likelihood(z_1, z_0).exp() + log_likelihood(z_0, z_1).exp()
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("log_likelihood", [dbt_log_likelihood, comonotone_log_likelihood])
def test_likelihoods_are_finite_far_in_the_tail(log_likelihood) -> None:
    far = torch.full((9,), -300.0, requires_grad=True)
    value = log_likelihood(far, torch.zeros(9))
    value.backward()
    assert math.isclose(value.item(), -300.0, rel_tol=1e-5)  # log sigma(-300) = -300
    assert far.grad is not None and math.isclose(far.grad.sum().item(), 1.0, rel_tol=1e-4)


def mean_of_log_loss(z_1: Tensor, z_0: Tensor, label: Tensor) -> Tensor:
    """The form with the logarithm inside the mean: no likelihood, and lowered by any contraction of the spread."""
    difference = z_1[..., :, None] - z_0[..., None, :]
    return -(label * logsigmoid(difference).mean((-1, -2)) + (1 - label) * logsigmoid(-difference).mean((-1, -2)))


def fitted_spread(loss: object) -> tuple[float, float]:
    """Spread that a loss recovers for items whose utility varies little (0.3) and much (3.0) between annotators.

    Sixteen items, all pairs; the label of a pair is its exact win probability, which is what infinitely many
    comparisons would give, since the losses are linear in the label.
    """
    items, atoms = 16, 9
    true_spread = torch.tensor([0.3, 3.0], dtype=torch.float64).repeat(items // 2)
    location = torch.linspace(-2, 2, items, dtype=torch.float64)
    normal = torch.tensor([NormalDist().inv_cdf(level) for level in midpoint_levels(101)], dtype=torch.float64)
    utility = location[:, None] + true_spread[:, None] * normal
    first, second = torch.triu_indices(items, items, offset=1)
    label = torch.sigmoid(utility[first][:, :, None] - utility[second][:, None, :]).mean((-1, -2))
    raw = torch.zeros(items, atoms, dtype=torch.float64)
    raw[:, 1:] = gap_bias(0.3)
    raw.requires_grad_(True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(600):
        quantiles = mean_gaps(raw)
        value = loss(quantiles[first], quantiles[second], label).mean()  # type: ignore[operator]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    spread = mean_gaps(raw.detach()).std(-1, correction=0)
    return spread[0::2].mean().item(), spread[1::2].mean().item()


def test_the_likelihood_recovers_spreads_and_the_mean_of_logs_collapses_them() -> None:
    small, large = fitted_spread(partial(loss_of, dbt_log_likelihood))
    assert small < 1.0 and 2.0 < large < 4.0, (small, large)
    small, large = fitted_spread(mean_of_log_loss)
    assert large < 0.3, (small, large)


def test_pinball_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    target, quantiles = generator.normal(size=30), generator.normal(size=(30, 3))
    levels = (0.1, 0.5, 0.8)
    want = sum(mean_pinball_loss(target, quantiles[:, k], alpha=level) for k, level in enumerate(levels))
    got = pinball_loss(torch.tensor(quantiles), torch.tensor(target), torch.tensor(levels, dtype=torch.float64)).mean()
    assert math.isclose(got.item(), want)
