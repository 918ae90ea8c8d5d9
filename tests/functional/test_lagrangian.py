"""The Lagrangian's gain, its KL term and its dual steps, against sums by hand and the exact constrained optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax

from mora.errors import InputError
from mora.functional.confidence import Confidence
from mora.functional.lagrangian import Lagrangian
from mora.functional.tilting import constrained_optimum, expected, tilt

NAMES = ("help", "safe", "brief")
MIXED = torch.tensor([[0.6, 0.3, 0.1]])


def alone(sums: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return sums


def step(scalarize: Lagrangian, *means: float) -> None:
    """A step from one row, which is its own mean."""
    scalarize.observe(torch.tensor([means]), MIXED, alone)


def unbound(**changed: Any) -> Lagrangian:
    given = {"floors": {"safe": 0.5}, "initial": 2.0, "largest": 8.0, "lr": 0.5, "delay": 0, "degree": 1}
    given |= {"constant_kl": False, "rectified": False, "from_reference": False, "confidence": None}
    return Lagrangian(**{**given, **changed})


def made(*, one: bool = True, **changed: Any) -> Lagrangian:
    scalarize = unbound(**changed)
    scalarize.bind(NAMES, lambda scores: scores, one=one)
    return scalarize


def test_a_gain_is_the_free_preference_and_the_multipliers_over_one_plus_their_sum():
    """w = (.6, .3, .1): without the floored objective (6/7, 1/7); lambda 2: (6/7 * 1 + 2 * 4 + 1/7 * (-5)) / 3."""
    rewards, preference = torch.tensor([[1.0, 4.0, -5.0]]), torch.tensor([[0.6, 0.3, 0.1]])
    scalarize = made()
    assert float(scalarize(rewards, preference)) == pytest.approx((6 / 7 + 8 - 5 / 7) / 3)
    streams, weights = scalarize.streams(rewards, preference)
    assert torch.equal(streams, rewards) and float(weights.sum()) == pytest.approx(1)
    assert scalarize.count(3) == 3 and float(scalarize.kl_weights(preference)) == pytest.approx(1 / 3)
    assert float(made(constant_kl=True).kl_weights(preference)) == 1


def test_floors_are_put_into_the_units_of_training():
    scalarize = unbound(floors={"brief": 3.0}, initial=1.0, largest=2.0, lr=0.1)
    scalarize.bind(NAMES, lambda scores: (scores - 1.0) / 4.0, one=True)
    assert scalarize.bound.floors.tolist() == [-float("inf"), -float("inf"), 0.5]
    assert scalarize.multipliers(torch.tensor([[0.5, 0.5, 0.0]])).tolist() == [[0.0, 0.0, 1.0]]


def test_a_step_is_gradient_descent_on_the_log_of_the_multiplier():
    """log 2 + .5 * 2 * (.5 - .2): of the floored objective alone, whatever the others are."""
    scalarize = made()
    step(scalarize, 9.0, 0.2, -9.0)
    assert scalarize.metrics() == pytest.approx({"multiplier/safe": 2 * np.exp(0.3), "violation/safe": 0.3})
    for _ in range(20):
        step(scalarize, 0.0, -3.0, 0.0)
    assert scalarize.metrics()["multiplier/safe"] == pytest.approx(8.0)


def test_the_first_batches_of_a_delay_move_nothing_and_a_checkpoint_knows_how_many_there_were():
    scalarize, other, means = made(delay=2), made(delay=2), (0.0, 0.1, 0.0)
    step(scalarize, *means)
    other.load_state_dict(scalarize.state_dict())
    for one in (scalarize, other):
        step(one, *means)
        assert one.metrics()["multiplier/safe"] == pytest.approx(2.0)
        step(one, *means)
        assert one.metrics()["multiplier/safe"] == pytest.approx(2 * np.exp(0.4))
    assert other.state_dict()["seen"] == 3


@pytest.mark.parametrize("preference", [[1.0, 0.0], [0.25, 0.75]])
def test_dual_steps_with_best_answers_find_the_multiplier_of_the_constrained_optimum(preference):
    """The policy that is best at the present multiplier, its exact means, a step; again and again."""
    generator = np.random.default_rng(3)
    logits, rewards = generator.normal(size=(2, 40)), generator.normal(size=(2, 40, 2))
    ref_logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    scalarize = unbound(floors={"b": 0.6}, initial=1.0, largest=50.0, lr=0.5)
    scalarize.bind(("a", "b"), lambda scores: scores, one=True)
    rows, weights = torch.tensor(rewards).flatten(0, 1), torch.tensor([preference]).double().expand(80, -1)
    for _ in range(300):
        gains = scalarize(rows, weights).view(2, 40).numpy()
        policy = tilt(ref_logps, gains, kl_coef=0.3 * float(scalarize.kl_weights(weights[:1])))
        scalarize.observe(torch.tensor(expected(policy, rewards))[None], weights[:1], alone)
    optimum = constrained_optimum(
        ref_logps, rewards, rewards[..., 0], floors=np.array([-np.inf, np.float32(0.6)]), kl_coef=0.3
    )
    assert optimum.multipliers is not None and optimum.multipliers[1] > 0.1
    assert scalarize.metrics()["multiplier/b"] == pytest.approx(optimum.multipliers[1], rel=1e-6)
    assert np.allclose(policy, optimum.logps, atol=1e-5)


def test_of_many_preferences_a_multiplier_is_log_linear_in_the_weights_without_the_floor():
    """Numbers log 2 + .5 and log 2 - .25 of help and brief: at (.6, .3, .1) they count by 6/7 and 1/7."""
    scalarize = made(one=False)
    scalarize.bound.logs[1] += torch.tensor([0.5, -0.25])
    found = scalarize.multipliers(torch.cat([MIXED, torch.tensor([[0.0, 0.4, 0.6]])]))
    expected_ = [2 * np.exp(0.5 * 6 / 7 - 0.25 / 7), 2 * np.exp(-0.25)]
    assert found[:, 1].tolist() == pytest.approx(expected_) and not found[:, [0, 2]].any()
    assert float(scalarize.kl_weights(MIXED)) == pytest.approx(1 / (1 + expected_[0]))
    assert scalarize.metrics() == pytest.approx(
        {"multiplier/safe.help": 2 * np.exp(0.5), "multiplier/safe.brief": 2 * np.exp(-0.25)}
    )
    _, weights = scalarize.streams(torch.zeros(1, 3), MIXED)
    assert weights[0].tolist() == pytest.approx([part / (1 + expected_[0]) for part in (6 / 7, expected_[0], 1 / 7)])


def test_a_step_over_many_preferences_is_the_mean_weighted_by_each_objective():
    """Rows at help, at brief and between; the between one counts half for each.  Over two processes as over one."""
    rewards = torch.tensor([[0.0, 0.2, 0.0], [0.0, 0.9, 0.0], [0.0, 0.1, 0.0]])
    preference = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])
    one, parts = made(one=False), made(one=False)
    one.observe(rewards, preference, alone)
    missed = {"help": (0.3 + 0.5 * 0.4) / 1.5, "brief": (-0.4 + 0.5 * 0.4) / 1.5}
    for name, value in missed.items():
        assert one.metrics()[f"violation/safe.{name}"] == pytest.approx(value, abs=1e-6)
        assert one.metrics()[f"multiplier/safe.{name}"] == pytest.approx(2 * np.exp(0.5 * 2 * value), rel=1e-6)
    sums: list[torch.Tensor] = []
    made(one=False).observe(rewards[1:], preference[1:], lambda some: sums.append(some) or some)
    parts.observe(rewards[:1], preference[:1], lambda some: some + sums[0])
    assert torch.allclose(parts.bound.logs, one.bound.logs)


def test_rectified_floors_are_asked_of_every_answer():
    """Safety .9 and .1 over a floor of .5: the mean keeps it; rectified, .4 is missed by one of two."""
    rewards, preference = torch.tensor([[1.0, 0.9, 0.0], [2.0, 0.1, 0.0]]), MIXED.expand(2, -1)
    plain, rectified = made(), made(rectified=True)
    for one in (plain, rectified):
        one.observe(rewards, preference, alone)
    assert plain.metrics() == pytest.approx({"multiplier/safe": 2.0, "violation/safe": 0.0}, abs=1e-6)
    assert rectified.metrics() == pytest.approx({"multiplier/safe": 2 * np.exp(0.2), "violation/safe": 0.2})
    streams, weights = made(rectified=True).streams(rewards, preference)
    assert torch.allclose(streams, torch.tensor([[1.0, 0.0, 0.0], [2.0, -0.4, 0.0]]))
    assert torch.equal(weights, made().streams(rewards, preference)[1])


def test_an_objective_that_no_row_weighs_keeps_its_multiplier():
    scalarize = made(one=False)
    scalarize.observe(torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), alone)
    assert scalarize.metrics()["multiplier/safe.brief"] == pytest.approx(2.0)
    assert scalarize.metrics()["multiplier/safe.help"] > 2.0


@pytest.mark.parametrize(("degree", "off"), [(1, 0.39), (2, 0.09), (6, 0.04)])
def test_dual_steps_over_many_preferences_come_as_near_the_floor_as_their_degree_lets_them(degree, off):
    """Exact answers at eleven preferences.  The front bends: its middle needs a smaller multiplier than its ends."""
    generator = np.random.default_rng(3)
    logits, rewards = generator.normal(size=(1, 40)), generator.normal(size=(1, 40, 3))
    ref_logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    scalarize = made(one=False, initial=1.0, largest=50.0, floors={"safe": 0.9}, degree=degree)
    rows, share = torch.tensor(rewards).flatten(0, 1), torch.linspace(0, 1, 11).double()
    preferences = torch.stack([share, 0 * share, 1 - share], 1)
    for _ in range(300):
        means = []
        for one in preferences:
            price = 0.3 * float(scalarize.kl_weights(one[None]))
            gains = scalarize(rows, one[None].expand(40, -1)).view(1, 40).numpy()
            means.append(torch.tensor(expected(tilt(ref_logps, gains, kl_coef=price), rewards)))
        scalarize.observe(torch.stack(means), preferences, alone)
    assert float((torch.stack(means)[:, 1] - 0.9).abs().max()) == pytest.approx(off, abs=0.01)
    if degree > 1:
        found = scalarize.multipliers(preferences)[:, 1].numpy()
        floors = np.array([-np.inf, 0.9, -np.inf])
        for place in (0, 5, 10):
            gains = rewards @ preferences[place].numpy()
            best = constrained_optimum(ref_logps, rewards, gains, floors=floors, kl_coef=0.3)
            assert found[place] == pytest.approx(best.multipliers[1], abs=0.03)


def _answers(prompts: int = 4, samples: int = 60) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).normal(size=(prompts, samples, 3)))


@pytest.mark.parametrize("preference", [[1.0, 0.0, 0.0], [0.3, 0.2, 0.5]])
def test_multipliers_from_reference_answers_are_those_of_the_optimum_under_the_floor(preference):
    """Of equally likely answers: E safe of the policy tilted by the gain found is at the floor."""
    scalarize, rewards, weights = made(from_reference=True), _answers(), torch.tensor([preference])
    scalarize.solve(rewards, weights[0], kl_coef=0.4)
    gains = scalarize(rewards.flatten(0, 1), weights.double().expand(240, -1)).view(4, 60).numpy()
    even = np.full((4, 60), -np.log(60))
    policy = tilt(even, gains, kl_coef=0.4 * float(scalarize.kl_weights(weights)))
    assert expected(policy, rewards.numpy())[1] == pytest.approx(0.5, abs=1e-6)
    assert scalarize.metrics()["multiplier/safe"] > 0.1


def test_multipliers_of_the_whole_simplex_are_exact_at_the_points_of_the_grid_and_near_between():
    scalarize, rewards = made(one=False, from_reference=True, degree=2), _answers()
    scalarize.solve(rewards, None, kl_coef=0.4)
    for weight, near in ((0.0, 1e-6), (0.5, 1e-6), (1.0, 1e-6), (0.25, 0.2), (0.75, 0.2)):
        alone_, preference = made(), torch.tensor([[weight, 0.0, 1 - weight]])
        alone_.solve(rewards, preference[0], kl_coef=0.4)
        exact = alone_.metrics()["multiplier/safe"]
        assert float(scalarize.multipliers(preference)[0, 1]) == pytest.approx(exact, rel=near)


def test_few_answers_make_a_multiplier_too_large_and_say_so_by_their_effective_number():
    """Independent normal rewards, whose exact multiplier is ``beta d / var``: .5 * .5."""
    generator, found = np.random.default_rng(0), {}
    for samples in (4, 4096):
        scalarize = made(from_reference=True)
        rewards = torch.from_numpy(generator.normal(size=(50, samples, 3)))
        effective = scalarize.solve(rewards, torch.tensor([1.0, 0.0, 0.0]), kl_coef=0.5)
        found[samples] = scalarize.metrics()["multiplier/safe"], effective
    assert found[4][0] > 1.3 * 0.25 and found[4][1] < 4
    assert found[4096][0] == pytest.approx(0.25, rel=0.1) and found[4096][1] > 20


def test_floors_that_no_reference_answers_reach_are_told():
    with pytest.raises(
        InputError, match="60 answers of the reference policy to each of 4 prompts reaches safe at least 9"
    ):
        made(floors={"safe": 9.0}, from_reference=True).solve(_answers(), MIXED[0], kl_coef=0.4)
    for other in ("rectified", "constant_kl"):
        with pytest.raises(InputError, match=f"scalarize.{other} asks for another"):
            made(from_reference=True, **{other: True})


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
    with pytest.raises(InputError, match="weighs nothing but what is kept above a floor"):
        made().streams(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))
    never = unbound(floors={"a": 0.0}, initial=1.0, largest=2.0, lr=0.1)
    with pytest.raises(RuntimeError, match="before it was told"):
        never.streams(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))


def _confident(**changed: Any) -> Confidence:
    given = {"bound": "student_t", "delta": 0.1, "prompts": 20, "factor": 1.5, "limits": None}
    return Confidence(**{**given, **changed})


def test_dual_steps_under_a_bound_find_the_policy_that_is_best_under_it():
    """Six answers: the fixed point keeps the bound, and no policy that scipy finds under the same bound is better."""
    generator = np.random.default_rng(1)
    logits, rewards = generator.normal(size=6), generator.normal(size=(6, 2))
    reference = np.exp(logits) / np.exp(logits).sum()
    scalarize = unbound(floors={"b": 0.4}, initial=1.0, largest=50.0, lr=0.5, confidence=_confident())
    scalarize.bind(("a", "b"), lambda scores: scores, one=True)
    a = float(scalarize.bound.taken[0, 1])
    rows, weights = torch.tensor(rewards), torch.tensor([[1.0, 0.0]]).double().expand(6, -1)
    policy, size = reference, 2_000  # rows by their probabilities, as in a large sample
    for _ in range(400):
        drawn = rows.repeat_interleave(torch.tensor((policy * size).round()).long(), 0)
        scalarize.observe(drawn, weights[:1].expand(len(drawn), -1), alone)
        gains = scalarize(rows, weights).numpy()[None]
        target = np.exp(tilt(np.log(reference)[None], gains, kl_coef=0.3 * float(scalarize.kl_weights(weights[:1]))))[0]
        policy = 0.9 * policy + 0.1 * target

    def bound(p: Any) -> float:
        mean = p @ rewards[:, 1]
        return mean - a * np.sqrt(p @ rewards[:, 1] ** 2 - mean**2)

    def utility(p: Any) -> float:
        return p @ rewards[:, 0] - 0.3 * (p * np.log(p / reference)).sum()

    best = minimize(
        lambda z: -utility(softmax(z)),
        np.log(reference),
        constraints=[{"type": "ineq", "fun": lambda z: bound(softmax(z)) - 0.4}],
    )
    assert best.success and bound(reference) < 0.3 and a == pytest.approx(1.5 * 1.3277 / np.sqrt(20), rel=1e-4)
    assert bound(policy) == pytest.approx(0.4, abs=0.005) and utility(policy) == pytest.approx(-best.fun, abs=0.005)


def test_bounds_of_many_preferences_have_moments_of_their_own_and_a_constant_has_the_unit_of_the_reward():
    """At the ends the moments are those of their rows; Hoeffding takes its margin off, divided by the unit."""
    scalarize = unbound(confidence=_confident())
    scalarize.bind(NAMES, lambda scores: scores, one=False)
    preference = torch.tensor([[1.0, 0.0, 0.0]] * 2 + [[0.0, 0.0, 1.0]] * 2)
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.6, 0.0]])
    scalarize.observe(rewards, preference, alone)
    streams, _ = scalarize.streams(rewards, preference)
    a = float(scalarize.bound.taken[0, 1])
    assert streams[:2, 1].mean() == pytest.approx(2 - a * 1.0) and streams[2:, 1].mean() == pytest.approx(0.4 - a * 0.2)
    assert torch.equal(streams[:, [0, 2]], rewards[:, [0, 2]])
    hoeffding = unbound(confidence=_confident(bound="hoeffding", limits={"safe": [0.0, 8.0]}))
    hoeffding.bind(NAMES, lambda scores: (scores - 1.0) / 4.0, one=True)
    hoeffding.observe(rewards, preference, alone)
    off = rewards[:, 1] - hoeffding.streams(rewards, preference)[0][:, 1]
    assert off.tolist() == pytest.approx([1.5 * 2.0 * np.sqrt(np.log(10) / 40)] * 4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rectified": True}, "rectified=true asks floors of every answer, and scalarize.confidence"),
        ({"from_reference": True}, "scalarize.confidence asks for another"),
    ],
)
def test_a_bound_goes_with_floors_of_means_that_are_learned(changed, said):
    with pytest.raises(InputError, match=said):
        unbound(confidence=_confident(), **changed)


def test_a_bound_that_needs_limits_is_refused_without_them():
    with pytest.raises(InputError, match=r"limits=\{safe: \[LOW, HIGH\]\}"):
        unbound(confidence=_confident(bound="empirical_bernstein")).check(NAMES)
