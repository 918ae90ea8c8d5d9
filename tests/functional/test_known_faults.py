"""Faults of tests/mutation that nothing else would notice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mora.functional.preference import Sampler, dirichlet
from mora.functional.scalarize import TchebycheffExpected
from mora.functional.steering import inner_product

KEYS = torch.arange(64) * 977 + 5


def test_every_row_gets_another_preference_at_every_step():
    """Inside the simplex, where a draw is never met twice by chance; the vertices' own draw is left out."""
    steps = [dirichlet(KEYS, 3, concentration=1.0, seed=0, step=step) for step in range(4)]
    steps.append(dirichlet(KEYS, 3, concentration=1.0, seed=1, step=0))
    for number, one in enumerate(steps):
        assert all(bool((one != other).any(-1).all()) for other in steps[:number])


def test_every_row_stands_at_every_vertex_in_time():
    """Of 40 steps with probability 1/3 each, a row misses a vertex with 9e-8; one draw for all steps misses two."""
    sampler = Sampler(unit="row", vertex_probability=1.0, concentration=1.0)
    drawn = torch.stack([sampler(KEYS, KEYS, KEYS, 3, seed=0, step=step) for step in range(40)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert bool((drawn.sum(0) > 0).all())


def test_a_preference_that_reaches_a_dominated_point_counts_in_the_inner_product():
    points = np.array([[4.0, 4.0], [1.0, 2.0], [3.0, 3.0]])  # the first dominates the others
    preferences = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert inner_product(points, preferences) == pytest.approx((4.0 + 1.5 + 3.0) / 3)


def test_groups_of_different_size_do_not_touch_each_other():
    """Four rows at one preference, two at another: each group gains what it gains alone.

    By hand for the two: means (2.5, 3.5), gaps to 5 weighted by (.4, .6) are (-1, -.9), so objective 0 is worst off.
    """
    rewards = torch.tensor([[1.0, 2.0], [3.0, 0.0], [2.0, 4.0], [0.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    weights = torch.tensor([[0.7, 0.3]] * 4 + [[0.4, 0.6]] * 2)
    scalarize = TchebycheffExpected(ideal=5.0, augment=0.1)
    together = scalarize(rewards, weights, torch.arange(6))
    assert torch.allclose(together[:4], scalarize(rewards[:4], weights[:4], torch.arange(4)))
    assert torch.allclose(together[4:], scalarize(rewards[4:], weights[4:], torch.arange(2)))
    plain = TchebycheffExpected(ideal=5.0, augment=0.0)(rewards, weights, torch.arange(6))
    assert plain[4:].tolist() == pytest.approx([0.8, 1.2])  # .4 r_0
