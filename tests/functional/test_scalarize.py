from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from mora.errors import InputError
from mora.functional import risk, tilting
from mora.functional.expectation import expected_rewards
from mora.functional.scalarize import (
    Linear,
    Minimum,
    Tchebycheff,
    TchebycheffExpected,
    TchebycheffPrompt,
    check,
    check_sharing,
)
from mora.types import RewardBelief

REWARDS = torch.tensor([[1.0, 3.0], [2.0, -1.0]])
WEIGHTS = torch.tensor([[0.25, 0.75], [0.5, 0.5]])


def test_linear_is_the_weighted_sum():
    # .25 + 2.25 = 2.5;  1 - .5 = .5
    assert Linear()(REWARDS, WEIGHTS).tolist() == [2.5, 0.5]


def test_the_gradient_of_linear_is_the_preference():
    rewards = REWARDS.clone().requires_grad_()
    Linear()(rewards, WEIGHTS).sum().backward()
    assert torch.equal(rewards.grad, WEIGHTS)


def test_tchebycheff_is_the_worst_weighted_gap():
    # Gaps to 5: (-4, -2) and (-3, -6); weighted: (-1, -1.5) and (-1.5, -3).
    assert Tchebycheff(ideal=5.0, augment=0.0, temperature=0.0)(REWARDS, WEIGHTS).tolist() == [-1.5, -3.0]
    # One ideal per objective, (2, 4): gaps (-1, -1), (0, -5); weighted (-.25, -.75), (0, -2.5).
    assert Tchebycheff(ideal=[2.0, 4.0], augment=0.0, temperature=0.0)(REWARDS, WEIGHTS).tolist() == [-0.75, -2.5]


def test_the_augmentation_adds_a_share_of_the_weighted_sum():
    # -1.5 + .1 (-2.5) = -1.75;  -3 + .1 (-4.5) = -3.45
    gain = Tchebycheff(ideal=5.0, augment=0.1, temperature=0.0)(REWARDS, WEIGHTS)
    assert gain.tolist() == pytest.approx([-1.75, -3.45])


def test_the_smooth_minimum():
    # -mu log(exp(1/mu) + exp(1.5/mu)) with mu = .5: -.5 log(e^2 + e^3)
    soft = Tchebycheff(ideal=5.0, augment=0.0, temperature=0.5)(REWARDS, WEIGHTS)
    assert float(soft[0]) == pytest.approx(-0.5 * math.log(math.e**2 + math.e**3), rel=1e-6)
    hard = Tchebycheff(ideal=5.0, augment=0.0, temperature=0.0)(REWARDS, WEIGHTS)
    cold = Tchebycheff(ideal=5.0, augment=0.0, temperature=1e-3)(REWARDS, WEIGHTS)
    assert torch.allclose(cold, hard, atol=1e-5)
    assert bool((soft < hard).all())  # a soft minimum lies below the minimum


def test_a_reward_above_the_ideal_is_refused_with_the_objective():
    with pytest.raises(ValueError, match=r"objective 1 reached 3 and scalarize.ideal is 2"):
        Tchebycheff(ideal=2.0, augment=0.0, temperature=0.0)(REWARDS, WEIGHTS)
    with pytest.raises(ValueError, match="objective 1"):
        TchebycheffExpected(ideal=[5.0, 2.9], augment=0.0)(
            REWARDS[:1].repeat(2, 1), WEIGHTS[:1].repeat(2, 1), torch.arange(2)
        )


def test_a_reward_at_the_ideal_is_allowed():
    assert Tchebycheff(ideal=3.0, augment=0.0, temperature=0.0)(REWARDS[:1], WEIGHTS[:1]).tolist() == [-0.5]


def test_the_expected_form_takes_the_minimum_of_means():
    # Two preferences, two rows each.  First: means (1, 2), gaps to 5 weighted by .5: (-2, -1.5), so objective 0;
    # gains .5 r_0 = 0, 1.  Second, (.1, .9): means (0, 3): (-.5, -1.8), so objective 1: .9 r_1 = 1.8, 3.6.
    rewards = torch.tensor([[0.0, 4.0], [1.0, 2.0], [2.0, 0.0], [-1.0, 4.0]])
    weights = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.5, 0.5], [0.1, 0.9]])
    gain = TchebycheffExpected(ideal=5.0, augment=0.0)(rewards, weights, torch.arange(4))
    assert gain.tolist() == pytest.approx([0.0, 1.8, 1.0, 3.6])
    # The minimum of each row would pick other objectives: the two utilities differ.
    per_row = Tchebycheff(ideal=5.0, augment=0.0, temperature=0.0)(rewards, weights)
    assert float(per_row[0]) == pytest.approx(-2.5) and float(per_row[2]) == pytest.approx(-2.5)


def test_the_expected_form_follows_the_gradient_of_its_utility():
    """Three answers, enumerated: its policy gradient is that of the minimum of means with the augmentation."""
    rewards = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.4, 0.3]], dtype=torch.float64)
    w = torch.tensor([0.5, 0.5], dtype=torch.float64)
    logits = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64, requires_grad=True)
    gaps = w * (logits.softmax(-1) @ rewards - 2.0)
    (exact,) = torch.autograd.grad(gaps.amin() + 0.3 * gaps.sum(), logits)
    # 100000 rows, each answer as often as its probability says: the means are exact up to 1e-5.
    counts = (logits.detach().softmax(-1) * 100_000).round().long()
    rows = rewards.repeat_interleave(counts, dim=0)
    gain = TchebycheffExpected(ideal=2.0, augment=0.3)(rows, w.expand(len(rows), -1), torch.arange(len(rows)))
    answers = torch.arange(3).repeat_interleave(counts)
    (estimate,) = torch.autograd.grad((gain * logits.log_softmax(-1)[answers]).mean(), logits)
    assert torch.allclose(estimate, exact, atol=2e-5)


@pytest.mark.parametrize("form", [TchebycheffExpected, TchebycheffPrompt])
def test_a_mean_of_one_row_is_refused(form):
    with pytest.raises(ValueError, match="at least two rows to average"):
        form(ideal=5.0, augment=0.0)(REWARDS, WEIGHTS, torch.arange(2))


def test_two_prompts_that_lack_different_objectives_part_the_two_forms():
    """Rewards (0, -2) on one prompt and (-2, 0) on the other, equal weights, ideal 1.

    Over both prompts the means are (-1, -1): min_i w_i (E r_i - z_i) = .5 (-1 - 1) = -1.  Of each prompt it is the
    objective at -2 that is worst off: .5 (-2 - 1) = -1.5.  Rows of a tie follow the first objective.
    """
    rewards = torch.tensor([[0.0, -2.0], [0.0, -2.0], [-2.0, 0.0], [-2.0, 0.0]])
    weights, prompts = torch.full((4, 2), 0.5), torch.tensor([7, 7, 3, 3])
    expected, prompt = (form(ideal=1.0, augment=0.0) for form in (TchebycheffExpected, TchebycheffPrompt))
    assert expected(rewards, weights, prompts).tolist() == [0.0, 0.0, -1.0, -1.0]  # .5 r_0 of all
    assert prompt(rewards, weights, prompts).tolist() == [-1.0, -1.0, -1.0, -1.0]  # .5 r_1, then .5 r_0
    means = torch.tensor([[0.0, -2.0], [-2.0, 0.0]])
    assert float(expected.utility(means, weights[0])) == -1.0
    assert float(prompt.utility(means, weights[0])) == -1.5


def test_rows_may_count_differently():
    """Means by probability: of rewards (0, 1) and (1, 0) at 3 to 1 objective 0 is worst off, at 1 to 3 objective 1."""
    rewards, weights = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.full((2, 2), 0.5)
    gain = TchebycheffExpected(ideal=2.0, augment=0.0)
    assert gain(rewards, weights, torch.arange(2), torch.tensor([3.0, 1.0])).tolist() == [0.0, 0.5]
    assert gain(rewards, weights, torch.arange(2), torch.tensor([1.0, 3.0])).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("form", "unit", "prompts", "samples", "allowed"),
    [
        (TchebycheffExpected, "sample", 2, 1, True),
        (TchebycheffExpected, "batch", 2, 1, True),
        (TchebycheffExpected, "row", 64, 4, False),
        (TchebycheffExpected, "group", 64, 4, False),  # a minimum of each prompt under another name
        (TchebycheffExpected, "batch", 1, 64, False),
        (TchebycheffPrompt, "group", 1, 2, True),
        (TchebycheffPrompt, "batch", 64, 2, True),
        (TchebycheffPrompt, "row", 64, 4, False),
        (TchebycheffPrompt, "sample", 64, 4, False),
        (TchebycheffPrompt, "group", 64, 1, False),
    ],
)
def test_a_rollout_must_have_the_rows_that_a_mean_is_taken_over(form, unit, prompts, samples, allowed):
    scalarize = form(ideal=5.0, augment=0.0)
    if allowed:
        check_sharing(scalarize, unit, prompts=prompts, samples=samples)
    else:
        with pytest.raises(InputError, match="preference="):
            check_sharing(scalarize, unit, prompts=prompts, samples=samples)
    check_sharing(Linear(), unit, prompts=prompts, samples=samples)  # takes no means


@pytest.mark.parametrize(
    "scalarize",
    [
        Linear(),
        Tchebycheff(ideal=9.0, augment=0.1, temperature=0.0),
        Tchebycheff(ideal=9.0, augment=0.0, temperature=0.3),
        TchebycheffExpected(ideal=9.0, augment=0.1),
        TchebycheffPrompt(ideal=9.0, augment=0.1),
        Minimum(augment=0.2, temperature=0.0),
        Minimum(augment=0.0, temperature=0.5),
    ],
    ids=["linear", "tchebycheff", "smooth", "expected", "prompt", "minimum", "smooth minimum"],
)
def test_objectives_and_rows_may_be_permuted(scalarize):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(8, 3, generator=generator)
    weights = torch.rand(4, 3, generator=generator).repeat(2, 1)
    weights = weights / weights.sum(-1, keepdim=True)
    prompts = (torch.arange(8) % 4,) if scalarize.shares else ()
    gain = scalarize(rewards, weights, *prompts)
    order, rows = [2, 0, 1], torch.randperm(8, generator=generator)
    assert torch.allclose(scalarize(rewards[:, order], weights[:, order], *prompts), gain)
    assert torch.allclose(scalarize(rewards[rows], weights[rows], *(one[rows] for one in prompts)), gain[rows])


def test_one_objective_leaves_its_reward():
    rewards, weights = torch.tensor([[1.0], [-2.0]]), torch.ones(2, 1)
    assert Linear()(rewards, weights).tolist() == [1.0, -2.0]
    assert Tchebycheff(ideal=5.0, augment=0.0, temperature=0.0)(rewards, weights).tolist() == [-4.0, -7.0]  # r - z


# --- the expected form's utility -------------------------------------------------------------------------------------


def test_the_utility_of_expectations_by_hand():
    # Gaps to 5: (-4, -2) and (-3, -6); weighted (-1, -1.5), (-1.5, -3): least plus .1 of the sums -2.5 and -4.5.
    for form in (TchebycheffExpected, TchebycheffPrompt):  # of one prompt they are the same
        plain, augmented = form(ideal=5.0, augment=0.0), form(ideal=5.0, augment=0.1)
        assert [float(plain.utility(REWARDS[[i]], WEIGHTS[i])) for i in (0, 1)] == [-1.5, -3.0]
        found = [float(augmented.utility(REWARDS[[i]], WEIGHTS[i])) for i in (0, 1)]
        assert found == pytest.approx([-1.75, -3.45])
        # One ideal per objective, (2, 4): weighted (-.25, -.75), (0, -2.5).
        several = form(ideal=[2.0, 4.0], augment=0.2)
        found = [float(several.utility(REWARDS[[i]], WEIGHTS[i])) for i in (0, 1)]
        assert found == pytest.approx([-0.75 - 0.2, -2.5 - 0.5])
        # A weight of 0 leaves a gap of 0, which never decides: objective 1 does, .9 (0 - 5) against 0.
        assert float(plain.utility(torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0]))) == -5.0


@pytest.mark.parametrize("form", [TchebycheffExpected, TchebycheffPrompt])
def test_the_utility_of_expectations_refuses_one_above_the_ideal(form):
    with pytest.raises(ValueError, match=r"objective 1 reached 3 and scalarize.ideal is 2\.9"):
        form(ideal=[5.0, 2.9], augment=0.0).utility(REWARDS[:1], WEIGHTS[0])


@pytest.mark.parametrize("form", [TchebycheffExpected, TchebycheffPrompt])
@pytest.mark.parametrize("objectives", [2, 3, 6])
@pytest.mark.parametrize("augment", [0.0, 0.25])
def test_the_gradient_of_the_utility_is_the_weight_of_the_worst_objective(form, objectives, augment):
    """dU/dE r_i = w_i [i is worst] + rho w_i, of all prompts together or of each: a fifth of that for each of five."""
    generator = torch.Generator().manual_seed(objectives)
    expected = torch.randn(5, objectives, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.rand(objectives, dtype=torch.float64, generator=generator).softmax(-1)
    value = form(ideal=6.0, augment=augment).utility(expected, weights)
    (gradient,) = torch.autograd.grad(value, expected)
    expected = expected.detach()
    w, found = weights.tolist(), []
    for row in range(5):
        judged = expected.mean(0) if form is TchebycheffExpected else expected[row]
        gaps = [w[i] * (float(judged[i]) - 6.0) for i in range(objectives)]
        worst = gaps.index(min(gaps))
        wanted = [w[i] * (augment + (i == worst)) / 5 for i in range(objectives)]
        assert gradient[row].tolist() == pytest.approx(wanted)
        found.append(min(gaps) + augment * sum(gaps))
    assert float(value.detach()) == pytest.approx(sum(found) / 5)


@pytest.mark.parametrize("augment", [0.0, 0.1])
@pytest.mark.parametrize(
    ("form", "solve"),
    [
        (TchebycheffExpected, tilting.tchebycheff_expected_optimum),
        (TchebycheffPrompt, tilting.tchebycheff_prompt_optimum),
    ],
)
def test_the_utility_of_expectations_is_that_of_the_optimum_before_its_kl(form, solve, augment):
    generator = np.random.default_rng(3)
    ref_logps = log_softmax(generator.normal(size=(2, 20)), axis=-1)
    rewards = generator.normal(size=(2, 20, 3))
    scalarize = form(ideal=[4.0, 4.0, 5.0], augment=augment)

    def utility(logps, weights):
        means = expected_rewards(torch.from_numpy(logps), torch.from_numpy(rewards))
        return float(scalarize.utility(means, torch.tensor(weights, dtype=torch.float64)))

    for weights in ([0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0]):
        best = solve(ref_logps, rewards, weights, ideal=[4.0, 4.0, 5.0], augment=augment, kl_coef=0.3)
        assert utility(best.logps, weights) - 0.3 * best.kl == pytest.approx(best.utility, abs=1e-12)
        assert utility(ref_logps, weights) < best.utility - 1e-3  # the reference itself, at KL 0, is worth less


# --- the minimum across objectives -----------------------------------------------------------------------------------


def test_the_minimum_is_over_objectives_with_any_weight():
    gain = Minimum(augment=0.0, temperature=0.0)
    assert gain(REWARDS, WEIGHTS).tolist() == [1.0, -1.0]
    corners = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert gain(REWARDS, corners).tolist() == [3.0, 2.0]
    assert gain(REWARDS, torch.tensor([[1e-3, 1 - 1e-3], [1 - 1e-3, 1e-3]])).tolist() == [1.0, -1.0]  # however small


def test_the_augmentation_of_the_minimum_lets_the_weights_steer():
    # 1 + .1 * 2.5 and -1 + .1 * .5
    assert Minimum(augment=0.1, temperature=0.0)(REWARDS, WEIGHTS).tolist() == pytest.approx([1.25, -0.95])
    still, moved = (Minimum(augment=rho, temperature=0.0) for rho in (0.0, 0.1))
    other = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    assert torch.equal(still(REWARDS, other), still(REWARDS, WEIGHTS))
    assert not torch.equal(moved(REWARDS, other), moved(REWARDS, WEIGHTS))


def test_the_smooth_minimum_across_objectives():
    soft = Minimum(augment=0.0, temperature=0.5)
    want = -0.5 * math.log(math.exp(-2.0) + math.exp(-6.0))
    assert soft(REWARDS[:1], WEIGHTS[:1]).item() == pytest.approx(want, rel=1e-6)
    assert soft(REWARDS[:1], torch.tensor([[0.0, 1.0]])).item() == pytest.approx(
        3.0
    )  # one that does not count is not there
    cold = Minimum(augment=0.0, temperature=1e-3)(REWARDS, WEIGHTS)
    assert torch.allclose(cold, Minimum(augment=0.0, temperature=0.0)(REWARDS, WEIGHTS), atol=1e-5)


def test_at_equal_weights_the_minimum_is_tchebycheff_whatever_the_ideal_and_elsewhere_it_is_not():
    rewards = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    least = Minimum(augment=0.0, temperature=0.0)
    equal = torch.full((20, 3), 1 / 3, dtype=torch.float64)
    for z in (4.0, 50.0):
        tchebycheff = Tchebycheff(ideal=z, augment=0.0, temperature=0.0)
        torch.testing.assert_close(least(rewards, equal), 3 * tchebycheff(rewards, equal) + z)
    slanted = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).expand(20, 3)
    far = Tchebycheff(ideal=4.0, augment=0.0, temperature=0.0)(rewards, slanted)
    assert not torch.equal(far.argsort(), least(rewards, slanted).argsort())  # another order of responses


def test_the_gradient_of_the_minimum_is_that_of_the_worst_counted_objective():
    rewards = torch.tensor([[1.0, 3.0, -2.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.4, 0.6, 0.0]], dtype=torch.float64)
    Minimum(augment=0.5, temperature=0.0)(rewards, weights).backward()
    assert rewards.grad.tolist() == [[1.2, 0.3, 0.0]]
    for temperature in (0.0, 0.3):
        rewards.grad = None
        Minimum(augment=0.0, temperature=temperature)(rewards, weights).backward()
        assert rewards.grad.isfinite().all() and rewards.grad.sum().item() == pytest.approx(1.0)


def test_where_hierarchical_pessimism_coincides_with_a_plain_one_is_said():
    least = Minimum(augment=0.0, temperature=0.0)
    assert "across objectives alone" in check(least, objectives=2, atoms=1)[0]
    assert "scalarize=linear" in check(least, objectives=1, atoms=9)[0]
    assert check(least, objectives=2, atoms=9) == []
    assert check(Linear(), objectives=1, atoms=1) == []


def test_hierarchical_pessimism_is_a_risk_and_then_the_minimum():
    """With the minimum within it is the least atom of all; one optimistic objective does not make up for another."""
    atoms = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(2))
    belief = RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 0.2), kind="member")
    equal, least = torch.full((6, 3), 1 / 3), Minimum(augment=0.0, temperature=0.0)
    assert torch.equal(least(risk.minimum(belief), equal), atoms.flatten(1).amin(-1))
    for reduce in (partial(risk.cvar, alpha=0.4), partial(risk.entropic, beta=0.5)):
        inner, outer = reduce(belief), least(reduce(belief), equal)
        assert (outer >= atoms.flatten(1).amin(-1)).all() and (outer < risk.mean(belief).mean(-1)).all()
        assert torch.equal(outer, inner.amin(-1))
