"""Tchebycheff by learned weights: gains by hand, steps of mirror descent, and the exact optimum at its kink."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mora.functional.tchebycheff import TchebycheffLearned
from mora.functional.tilting import expected, tchebycheff_expected_optimum, tchebycheff_expected_utility, tilt

NAMES = ("a", "b")


def alone(sums: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return sums


def made(*, one: bool = True, names: tuple[str, ...] = NAMES, **changed: Any) -> TchebycheffLearned:
    given = {"ideal": 3.0, "augment": 0.0, "lr": 0.5, "steps": 2}
    scalarize = TchebycheffLearned(**{**given, **changed})
    scalarize.bind(names, lambda scores: scores, one=one)
    return scalarize


def test_before_it_is_bound_it_says_so():
    unbound = TchebycheffLearned(ideal=3.0, augment=0.0, lr=0.5, steps=2)
    with pytest.raises(RuntimeError, match="before it was told"):
        unbound.streams(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))


def test_a_gain_weighs_by_preference_and_by_who_is_worst_off():
    """mu = (.8, .2) at w = (.25, .75): weights .2 and .15 over .35, and a nat costs 1 / .35 as much."""
    scalarize = made()
    scalarize.learned.shares[:] = torch.tensor([[0.8], [0.2]])
    preference, rewards = torch.tensor([[0.25, 0.75]]), torch.tensor([[1.0, -2.0]])
    assert float(scalarize(rewards, preference)) == pytest.approx((0.2 - 0.3) / 0.35)
    assert float(scalarize.kl_weights(preference)) == pytest.approx(1 / 0.35)
    assert scalarize.count(2) == 2 and scalarize.metrics() == pytest.approx({"worst_off/a": 0.8, "worst_off/b": 0.2})
    augmented = made(augment=0.1)
    augmented.learned.shares[:] = torch.tensor([[0.8], [0.2]])
    assert float(augmented(rewards, preference)) == pytest.approx((0.9 * 0.25 - 0.3 * 0.75 * 2) / (0.225 + 0.225))


def test_a_step_raises_the_weight_of_what_lies_further_below_its_ideal():
    """Gaps .5 (1 - 3) and .5 (2 - 3): weights move by .25 either way of .5, to (.625, .375), and not beyond 1."""
    scalarize = made()
    batch = torch.tensor([[0.0, 2.0], [2.0, 2.0]]), torch.tensor([[0.5, 0.5]]).expand(2, -1)
    scalarize.observe(*batch, alone)
    assert scalarize.learned.shares[:, 0].tolist() == pytest.approx([0.625, 0.375])
    for _ in range(60):
        scalarize.observe(*batch, alone)
    assert scalarize.learned.shares[:, 0].tolist() == [1.0, 0.0]
    scalarize.observe(torch.tensor([[2.0, 1.0]]), batch[1][:1], alone)
    assert scalarize.learned.shares[:, 0].tolist() == pytest.approx([0.875, 0.125])  # back at once
    other = made()
    other.load_state_dict(scalarize.state_dict())
    assert torch.equal(other.learned.shares, scalarize.learned.shares)


def test_a_step_over_two_processes_is_that_over_one():
    generator = torch.Generator().manual_seed(0)
    rewards, weight = torch.randn(6, 2, generator=generator), torch.rand(6, 1, generator=generator)
    preference, kept = torch.cat([weight, 1 - weight], 1), []
    made(one=False).observe(rewards[2:], preference[2:], lambda sums: kept.append(sums) or sums)
    whole, parts = made(one=False), made(one=False)
    whole.observe(rewards, preference, alone)
    parts.observe(rewards[:2], preference[:2], lambda sums: sums + kept[0])
    assert torch.allclose(whole.learned.shares, parts.learned.shares)
    assert float((whole.learned.shares - 0.5).abs().max()) > 0


GENERATOR = np.random.default_rng(4)
LOGITS, REWARDS = GENERATOR.normal(size=(3, 30)), GENERATOR.normal(size=(3, 30, 2)).clip(-2.9, 2.9)
REF_LOGPS = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
KL_COEF = 0.2
GIVEN = {"kl_coef": KL_COEF, "ideal": np.array([3.0, 3.0]), "augment": 0.0}


def best_answers(scalarize: TchebycheffLearned, preference: torch.Tensor) -> np.ndarray:
    """The log-probabilities (X, Y) of the policy that is best for the present gain."""
    rows = torch.tensor(REWARDS).flatten(0, 1)
    gains = scalarize(rows, preference.expand(len(rows), -1)).view(3, 30).numpy()
    price = KL_COEF * float(scalarize.kl_weights(preference))
    return tilt(REF_LOGPS, gains, kl_coef=price)


@pytest.mark.parametrize("weight", [0.5, 0.45, 0.2, 1.0])
def test_with_best_answers_it_finds_the_exact_optimum(weight):
    """At .5 and .45 the optimum keeps both level, at .2 and 1 it does not."""
    preference = torch.tensor([[weight, 1 - weight]]).double()
    exact = tchebycheff_expected_optimum(REF_LOGPS, REWARDS, preference[0].numpy(), **GIVEN)
    gaps = (expected(exact.logps, REWARDS) - 3) * preference[0].numpy()
    assert (abs(gaps[0] - gaps[1]) < 1e-3) == (weight in (0.5, 0.45))
    scalarize = made(lr=0.2)
    for _ in range(200):
        policy = best_answers(scalarize, preference)
        means = torch.tensor(expected(policy, REWARDS))[None]
        scalarize.observe(means, preference, alone)
    reached = tchebycheff_expected_utility(policy, REF_LOGPS, REWARDS, preference[0].numpy(), **GIVEN)
    assert reached == pytest.approx(exact.utility, abs=1e-4)


def test_of_many_preferences_the_weights_follow_the_kink():
    """Eleven preferences at once: each within .1 % of the gain of its own exact optimum, the kink in the middle too."""
    share = torch.linspace(0, 1, 11).double()
    preferences = torch.stack([share, 1 - share], 1)
    scalarize = made(one=False, lr=0.2, steps=16)
    for _ in range(100):
        policies = [best_answers(scalarize, one[None]) for one in preferences]
        means = torch.stack([torch.tensor(expected(policy, REWARDS)) for policy in policies])
        scalarize.observe(means, preferences, alone)
    for one, policy in zip(preferences.numpy(), policies, strict=True):
        best = tchebycheff_expected_optimum(REF_LOGPS, REWARDS, one, **GIVEN).utility
        mine, start = (tchebycheff_expected_utility(p, REF_LOGPS, REWARDS, one, **GIVEN) for p in (policy, REF_LOGPS))
        assert (best - mine) / (best - start) < 0.001


def test_its_utility_is_panaceas():
    means, preference = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.5, 0.5])
    assert float(made(augment=0.1).utility(means, preference)) == pytest.approx(0.5 * -2.5 + 0.1 * 0.5 * (-2.5 - 2.0))
    assert made().expects == "preference" and made().shares is None


def test_an_ideal_that_a_mean_exceeds_is_refused():
    with pytest.raises(ValueError, match="needs an ideal above every reward: objective 1 reached 3.5"):
        made().observe(torch.tensor([[0.0, 4.0], [1.0, 3.0]]), torch.tensor([[0.5, 0.5]]).expand(2, -1), alone)
