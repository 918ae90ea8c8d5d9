"""The Lagrangian's gain, its KL term and its dual steps, against sums by hand and the exact constrained optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mora.errors import InputError
from mora.functional.lagrangian import Lagrangian
from mora.functional.tilting import constrained_optimum, expected, tilt

NAMES = ("help", "safe", "brief")


def made(**changed: Any) -> Lagrangian:
    given = {"floors": {"safe": 0.5}, "initial": 2.0, "largest": 8.0, "lr": 0.5, "delay": 0, "constant_kl": False}
    scalarize = Lagrangian(**{**given, **changed})
    scalarize.bind(NAMES, lambda scores: scores)
    return scalarize


def test_a_gain_is_the_free_preference_and_the_multipliers_over_one_plus_their_sum():
    """w = (.6, .3, .1): without the floored objective (6/7, 1/7); lambda 2: (6/7 * 1 + 2 * 4 + 1/7 * (-5)) / 3."""
    rewards, preference = torch.tensor([[1.0, 4.0, -5.0]]), torch.tensor([[0.6, 0.3, 0.1]])
    scalarize = made()
    assert float(scalarize(rewards, preference)) == pytest.approx((6 / 7 + 8 - 5 / 7) / 3)
    streams, weights = scalarize.streams(rewards, preference)
    assert torch.equal(streams, rewards) and float(weights.sum()) == pytest.approx(1)
    assert scalarize.count(3) == 3 and scalarize.kl_weight == pytest.approx(1 / 3)
    assert made(constant_kl=True).kl_weight == 1


def test_floors_are_put_into_the_units_of_training():
    scalarize = Lagrangian(floors={"brief": 3.0}, initial=1.0, largest=2.0, lr=0.1, delay=0, constant_kl=False)
    scalarize.bind(NAMES, lambda scores: (scores - 1.0) / 4.0)
    assert scalarize.bound.floors.tolist() == [-float("inf"), -float("inf"), 0.5]
    assert scalarize.bound.multipliers.tolist() == [0.0, 0.0, 1.0]


def test_a_step_is_gradient_descent_on_the_log_of_the_multiplier():
    """log 2 + .5 * 2 * (.5 - .2): of the floored objective alone, whatever the others are."""
    scalarize = made()
    scalarize.observe(torch.tensor([9.0, 0.2, -9.0]))
    assert scalarize.metrics() == pytest.approx({"multiplier/safe": 2 * np.exp(0.3), "violation/safe": 0.3})
    for _ in range(20):
        scalarize.observe(torch.tensor([0.0, -3.0, 0.0]))
    assert scalarize.metrics()["multiplier/safe"] == pytest.approx(8.0)


def test_the_first_batches_of_a_delay_move_nothing_and_a_checkpoint_knows_how_many_there_were():
    scalarize, other, means = made(delay=2), made(delay=2), torch.tensor([0.0, 0.1, 0.0])
    scalarize.observe(means)
    other.load_state_dict(scalarize.state_dict())
    for one in (scalarize, other):
        one.observe(means)
        assert one.metrics()["multiplier/safe"] == pytest.approx(2.0)
        one.observe(means)
        assert one.metrics()["multiplier/safe"] == pytest.approx(2 * np.exp(0.4))
    assert other.state_dict()["seen"] == 3


@pytest.mark.parametrize("preference", [[1.0, 0.0], [0.25, 0.75]])
def test_dual_steps_with_best_answers_find_the_multiplier_of_the_constrained_optimum(preference):
    """The policy that is best at the present multiplier, its exact means, a step; again and again."""
    generator = np.random.default_rng(3)
    logits, rewards = generator.normal(size=(2, 40)), generator.normal(size=(2, 40, 2))
    ref_logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    scalarize = Lagrangian(floors={"b": 0.6}, initial=1.0, largest=50.0, lr=0.5, delay=0, constant_kl=False)
    scalarize.bind(("a", "b"), lambda scores: scores)
    rows, weights = torch.tensor(rewards).flatten(0, 1), torch.tensor([preference]).double().expand(80, -1)
    for _ in range(300):
        gains = scalarize(rows, weights).view(2, 40).numpy()
        policy = tilt(ref_logps, gains, kl_coef=0.3 * scalarize.kl_weight)
        scalarize.observe(torch.tensor(expected(policy, rewards)))
    optimum = constrained_optimum(
        ref_logps, rewards, rewards[..., 0], floors=np.array([-np.inf, np.float32(0.6)]), kl_coef=0.3
    )
    assert optimum.multipliers is not None and optimum.multipliers[1] > 0.1
    assert scalarize.metrics()["multiplier/b"] == pytest.approx(optimum.multipliers[1], rel=1e-6)
    assert np.allclose(policy, optimum.logps, atol=1e-5)


@pytest.mark.parametrize("floors", [{}, {"safe": 0.1, "harm": 0.2}, dict.fromkeys(NAMES, 0.0)])
def test_floors_that_are_none_of_an_objective_or_leave_none_are_refused(floors):
    with pytest.raises(InputError, match="name some of help, safe, brief"):
        made(floors=floors)


def test_a_multiplier_at_its_limit_is_told():
    scalarize = made(initial=8.0)
    assert ["multiplier of safe is as large as it may be" in note for note in scalarize.notes()] == [True]
    assert made().notes() == []


def test_what_it_cannot_do_is_said():
    with pytest.raises(InputError, match="scalarize.initial=9 is above scalarize.largest=8"):
        made(initial=9.0)
    with pytest.raises(ValueError, match="no weight on an objective without a floor"):
        made().streams(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))
    unbound = Lagrangian(floors={"a": 0.0}, initial=1.0, largest=2.0, lr=0.1, delay=0, constant_kl=False)
    with pytest.raises(RuntimeError, match="before it was told"):
        unbound.streams(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
