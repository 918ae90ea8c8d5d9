from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from mora.functional.categorical import (
    categorical_log_likelihood,
    log_above_zero,
    shared_entropy,
    support,
    tilted_log_probabilities,
)
from mora.functional.margins import label_loss


def distributions(atoms: int, rows: int = 20, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, atoms, generator=generator, dtype=torch.float64)).log_softmax(-1)


def test_the_atoms_are_equally_spaced_and_mirrored() -> None:
    assert support(2) == (-1.0, 1.0)
    assert support(5) == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert support(10) == tuple(-place for place in support(10)[::-1])
    with pytest.raises(ValueError, match="at least 2"):
        support(1)


@pytest.mark.parametrize("atoms", [2, 3, 10])
def test_who_wins_equals_counting_over_all_pairs_of_atoms(atoms: int) -> None:
    one, other = distributions(atoms), distributions(atoms, seed=1)
    found = categorical_log_likelihood(one, other)
    for row, value in enumerate(found.tolist()):
        p, q = one[row].exp().tolist(), other[row].exp().tolist()
        want = sum(p[a] * q[b] * (1.0 if a > b else 0.5 if a == b else 0.0) for a in range(atoms) for b in range(atoms))
        assert value == pytest.approx(math.log(want), rel=1e-12)
    total = found.exp() + categorical_log_likelihood(other, one).exp()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_two_atoms_are_a_linear_probability() -> None:
    # P = p1 (1 - p0) + (p1 p0 + (1 - p1)(1 - p0)) / 2 = (1 + p1 - p0) / 2
    one, other = torch.tensor([0.3, 0.7]).double().log(), torch.tensor([0.9, 0.1]).double().log()
    assert categorical_log_likelihood(one, other).exp().item() == pytest.approx(0.8)


@pytest.mark.parametrize("lead", [-200.0, 200.0])
def test_answers_that_are_far_apart_have_a_finite_gradient_that_pulls_the_right_way(lead: float) -> None:
    raw = torch.zeros(2, 11)
    raw[0, 0], raw[1, 0] = lead, -lead
    raw.requires_grad_()
    log_p = tilted_log_probabilities(raw)
    wins = categorical_log_likelihood(log_p[0], log_p[1])
    wins.backward()
    assert log_p.dtype == wins.dtype == torch.float32
    assert wins.isfinite() and raw.grad is not None and raw.grad.isfinite().all()
    if (
        lead < 0
    ):  # the likeliest ways to win are the ten toss-ups: atom a costs one answer 200 (1 + s_a), the other the rest
        assert wins.item() == pytest.approx(-400 + math.log(10 / 2), rel=1e-5)
        assert raw.grad[0, 0] > 0.5 and raw.grad[1, 0] < -0.5
    else:
        assert wins.item() == pytest.approx(0.0, abs=1e-6)


def test_the_location_moves_mass_up_and_the_logits_reach_every_distribution() -> None:
    raw = torch.randn(5, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = torch.tensor(support(10), dtype=torch.float64)
    means = [
        (tilted_log_probabilities(raw + shift * torch.eye(11, dtype=torch.float64)[0]).exp() * places).sum(-1)
        for shift in (-1.0, 0.0, 1.0)
    ]
    assert (means[0] < means[1]).all() and (means[1] < means[2]).all()
    want = distributions(10)
    for location in (0.0, 3.0):  # at any location
        logits = want - location * places
        column = torch.full((len(want), 1), location, dtype=torch.float64)
        torch.testing.assert_close(tilted_log_probabilities(torch.cat([column, logits], -1)), want)


def test_entropy_of_the_pair_equals_scipy_and_a_pair_at_opposite_ends_has_a_bit_of_it() -> None:
    one, other = distributions(7), distributions(7, seed=1)
    want = entropy((one.exp() + other.exp()).numpy() / 2, axis=-1)
    np.testing.assert_allclose(shared_entropy(one, other), want, rtol=1e-12)
    ends = tilted_log_probabilities(torch.tensor([[1e3] + [0.0] * 10, [-1e3] + [0.0] * 10], requires_grad=True))
    value = shared_entropy(ends[0], ends[1])
    value.backward()
    assert value.item() == pytest.approx(math.log(2)) and value.isfinite()


def test_half_of_the_mass_at_zero_is_above_it() -> None:
    p = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    assert log_above_zero(p.log()).exp().item() == pytest.approx(0.3 / 2 + 0.25 + 0.15)
    assert log_above_zero(p[:4].log()).exp().item() == pytest.approx(0.3 + 0.25)  # four atoms: none is at 0


def judged_once(bonus: float) -> tuple[Tensor, float]:
    """Distributions (answers, 10) of forty answers in twenty pairs with a hard label each, and the log-loss."""
    generator = torch.Generator().manual_seed(0)
    quality = 2 * torch.randn(2, 20, generator=generator, dtype=torch.float64)
    label = (torch.rand(20, generator=generator) < torch.sigmoid(quality[1] - quality[0])).double()
    raw = torch.zeros(2, 20, 11, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(600):
        low, high = tilted_log_probabilities(raw)
        loss = label_loss(categorical_log_likelihood(high, low), categorical_log_likelihood(low, high), label)
        optimizer.zero_grad()
        (loss - bonus * shared_entropy(high, low)).sum().backward()
        optimizer.step()
    return torch.cat([low, high]).detach().exp(), loss.mean().item()


def test_without_the_entropy_answers_judged_once_collapse_to_the_end_atoms_and_with_it_they_do_not() -> None:
    """With it the better answer spreads over the upper half and the other over the lower: likelihood is not paid."""
    bare, held = judged_once(0.0), judged_once(0.1)
    assert (bare[0][:, [0, -1]].sum(-1) > 0.65).all()
    spread = held[0].sort(-1).values
    torch.testing.assert_close(spread[:, 5:], torch.full((40, 5), 0.2, dtype=torch.float64), atol=0.01, rtol=0)
    assert bare[1] < 1e-3 and held[1] < 1e-3
