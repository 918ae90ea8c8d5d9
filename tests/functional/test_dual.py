from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from scipy.special import log_softmax

from mora.functional.dual import Dual, Point, model_minimum
from mora.functional.hull import best_minimum, weighted_gaps
from mora.functional.tilting import (
    Solution,
    constrained_optimum,
    exact_kl,
    expected,
    linear_optimum,
    response_optimum,
    tchebycheff_expected_optimum,
    tchebycheff_gains,
    tilt,
)

BETA = 0.3
LOW = -np.inf
IDEAL = np.array([5.0, 5.0, 5.0])
PREFERENCE = np.array([0.2, 0.3, 0.5])
FLOORS = np.array([LOW, 0.3, 0.2])  # bind in every world below; asserted where it matters


def world(objectives: int = 3, prompts: int = 3, responses: int = 30) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(objectives)
    ref_logps = log_softmax(generator.normal(size=(prompts, responses)), axis=-1)
    return ref_logps, generator.normal(size=(prompts, responses, objectives))


def linear(ref_logps: np.ndarray, rewards: np.ndarray, kl_coef: float) -> Solution:
    return linear_optimum(ref_logps, rewards, PREFERENCE, kl_coef=kl_coef)


def response(ref_logps: np.ndarray, rewards: np.ndarray, kl_coef: float) -> Solution:
    gains = tchebycheff_gains(rewards, PREFERENCE, ideal=IDEAL, augment=0.0)
    return response_optimum(ref_logps, gains, rewards, kl_coef=kl_coef)


def least(ref_logps: np.ndarray, rewards: np.ndarray, kl_coef: float) -> Solution:
    return tchebycheff_expected_optimum(ref_logps, rewards, PREFERENCE, ideal=IDEAL, augment=0.0, kl_coef=kl_coef)


def floored(ref_logps: np.ndarray, rewards: np.ndarray, kl_coef: float) -> Solution:
    return constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=FLOORS, kl_coef=kl_coef)


optima = pytest.mark.parametrize("optimum", [linear, response, least, floored])


# --- symmetries ------------------------------------------------------------------------------------------------------


def assert_same(one: Solution, two: Solution) -> None:
    assert_allclose(one.rewards, two.rewards, atol=1e-9)
    assert one.utility == pytest.approx(two.utility, abs=1e-11)
    assert one.kl == pytest.approx(two.kl, abs=1e-9)
    if one.multipliers is not None:
        assert_allclose(one.multipliers, two.multipliers, atol=1e-9)


@optima
def test_the_order_of_prompts_and_responses_does_not_matter(optimum):
    ref_logps, rewards = world()
    best, generator = optimum(ref_logps, rewards, BETA), np.random.default_rng(0)
    for _ in range(3):
        x, y = generator.permutation(3)[:, None], generator.permutation(30)
        moved = optimum(ref_logps[x, y], rewards[x, y], BETA)
        assert_same(best, moved)
        assert_allclose(np.exp(moved.logps), np.exp(best.logps)[x, y], atol=1e-9)


@optima
def test_prompts_and_responses_may_be_repeated(optimum):
    # every prompt twice: the same means; every response twice at half the probability: the same distribution
    ref_logps, rewards = world()
    best = optimum(ref_logps, rewards, BETA)
    assert_same(best, optimum(np.repeat(ref_logps, 2, 0), np.repeat(rewards, 2, 0), BETA))
    assert_same(best, optimum(np.repeat(ref_logps, 2, 1) - np.log(2), np.repeat(rewards, 2, 1), BETA))


@optima
def test_rewards_and_price_share_a_unit(optimum, monkeypatch):
    ref_logps, rewards = world()
    best = optimum(ref_logps, rewards, BETA)
    monkeypatch.setitem(globals(), "IDEAL", 100 * IDEAL)
    monkeypatch.setitem(globals(), "FLOORS", 100 * FLOORS)
    scaled = optimum(ref_logps, 100 * rewards, 100 * BETA)
    assert scaled.utility == pytest.approx(100 * best.utility, abs=1e-9)
    assert_allclose(np.exp(scaled.logps), np.exp(best.logps), atol=1e-9)


@optima
def test_a_response_that_the_reference_never_gives_is_never_given(optimum):
    ref_logps, rewards = world()
    barred = np.append(np.full((3, 1), LOW), ref_logps, axis=1)
    tempting = np.append(np.full((3, 1, 3), 5.0), rewards, axis=1)
    best = optimum(barred, tempting, BETA)
    assert_same(best, optimum(ref_logps, rewards, BETA))
    assert_array_equal(best.logps[:, 0], LOW)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimum", [linear, response, least])
def test_a_high_price_gives_the_reference(optimum):
    # |log pi - log ref| <= range of the gain / beta, and a gain's range is below 10 here
    ref_logps, rewards = world()
    best = optimum(ref_logps, rewards, 1e6)
    assert 0 < np.abs(best.logps - ref_logps).max() < 1e-5
    assert_allclose(best.rewards, expected(ref_logps, rewards), atol=1e-4)
    assert abs(best.kl) < 1e-10


def test_under_floors_a_high_price_gives_the_nearest_policy():
    # then only the KL counts: the optimum for a gain of 0, whatever the price
    ref_logps, rewards = world()
    best = floored(ref_logps, rewards, 1e6)
    nearest = constrained_optimum(ref_logps, rewards, np.zeros((3, 30)), floors=FLOORS, kl_coef=1.0)
    assert nearest.kl > 0.01 and nearest.multipliers[1:].max() > 0.01
    assert best.kl == pytest.approx(nearest.kl, abs=1e-6)
    assert_allclose(np.exp(best.logps), np.exp(nearest.logps), atol=1e-5)


def free(optimum: Callable, ref_logps: np.ndarray, rewards: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest utility without a price of the KL, and a policy (X, Y) of that utility."""
    shape = ref_logps.shape
    if optimum is least:
        gaps = weighted_gaps(rewards, PREFERENCE, IDEAL)
        return best_minimum(gaps, gaps.sum(-1), allowed=np.ones(shape, dtype=bool))
    if optimum is floored:
        found = linprog(
            -rewards[..., 0].ravel() / 3,
            A_ub=-rewards[..., 1:].reshape(-1, 2).T / 3,
            b_ub=-FLOORS[1:],
            A_eq=np.kron(np.eye(3), np.ones(shape[1])),
            b_eq=np.ones(3),
        )
        return -found.fun, found.x.reshape(shape)
    tchebycheff = tchebycheff_gains(rewards, PREFERENCE, ideal=IDEAL, augment=0.0)
    gains = rewards @ PREFERENCE if optimum is linear else tchebycheff
    return gains.max(-1).mean(), np.eye(shape[1])[gains.argmax(-1)]


@optima
@pytest.mark.parametrize("kl_coef", [1e-1, 1e-2, 1e-3, 1e-4])
def test_a_low_price_gives_the_optimum_of_the_linear_program(optimum, kl_coef):
    # the policy p of the program is one candidate: V - beta KL(p) <= U <= V, as the KL is never negative
    ref_logps, rewards = world()
    value, policy = free(optimum, ref_logps, rewards)
    with np.errstate(divide="ignore"):
        price = kl_coef * exact_kl(np.log(policy), ref_logps)
    best = optimum(ref_logps, rewards, kl_coef)
    assert value - price - 1e-9 <= best.utility <= value + 1e-9
    assert price > 1e-6


# --- degenerate worlds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kl_coef", [10.0, 0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("kind", ["twins", "constant", "lattice", "alike"])
def test_multipliers_that_are_not_unique_do_no_harm(kind, kl_coef):
    # each answer passed its own certificate; here the dual is computed once more, by its definition
    ref_logps, rewards = world()
    rewards = {
        "twins": rewards[..., [0, 1, 1]],
        "constant": rewards * [1, 1, 0],
        "lattice": np.round(rewards),
        "alike": np.ones_like(rewards),
    }[kind]
    best = tchebycheff_expected_optimum(ref_logps, rewards, PREFERENCE, ideal=IDEAL, augment=0.1, kl_coef=kl_coef)
    gains = (rewards - IDEAL) @ (PREFERENCE * (best.multipliers + 0.1))
    dual = kl_coef * np.logaddexp.reduce(ref_logps + gains / kl_coef, axis=-1).mean()
    assert best.utility == pytest.approx(dual, abs=1e-10 * max(kl_coef, abs(dual)))
    assert best.multipliers.min() >= 0 and best.multipliers.sum() == pytest.approx(1)
    floors = np.append(LOW, expected(tilt(ref_logps, rewards.sum(-1), kl_coef=1.0), rewards)[1:] - 1e-6)
    best = constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=floors, kl_coef=kl_coef)
    gains = rewards[..., 0] + (rewards - np.where(floors > LOW, floors, 0)) @ best.multipliers
    dual = kl_coef * np.logaddexp.reduce(ref_logps + gains / kl_coef, axis=-1).mean()
    assert best.utility == pytest.approx(dual, abs=2e-9 * max(kl_coef, abs(dual)))
    assert (best.rewards >= floors - 1e-8).all()


def test_a_price_beyond_double_precision_is_refused_with_the_gap():
    ref_logps, rewards = world()
    with pytest.raises(RuntimeError, match=r"relative duality gap \d\.\d\de[-+]\d+ exceeds 1e-10"):
        least(ref_logps, rewards, 1e-13)
    with pytest.raises(RuntimeError, match=r"relative KKT error \d\.\d\de[-+]\d+ exceeds 1e-09"):
        floored(ref_logps, rewards, 1e-13)


# --- what can be reached ---------------------------------------------------------------------------------------------


def test_a_floor_may_ask_for_the_best_there_is():
    # only the best response of each prompt keeps the floor, so the policy is known; its multiplier has no finite value
    ref_logps, rewards = world(2)
    best = rewards[..., 1].max(-1).mean()
    found = constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=[LOW, best], kl_coef=BETA)
    assert_array_equal(found.logps.argmax(-1), rewards[..., 1].argmax(-1))
    assert_allclose(np.exp(found.logps.max(-1)), 1, atol=1e-8)


def test_floors_out_of_reach_are_refused():
    ref_logps, rewards = world(2)
    best, gains = rewards.max(1).mean(0), rewards[..., 0]
    with pytest.raises(ValueError, match=r"floor .* of objective 1 is above .*, its largest attainable"):
        constrained_optimum(ref_logps, rewards, gains, floors=[LOW, best[1] + 1e-6], kl_coef=BETA)
    with pytest.raises(ValueError, match="cannot hold together"):
        constrained_optimum(ref_logps, rewards, gains, floors=best - 0.1, kl_coef=BETA)
    # the best response is out of reach where the reference never gives it
    barred = np.where(rewards[..., 1] == rewards[..., 1].max(-1, keepdims=True), LOW, ref_logps)
    barred = log_softmax(barred, axis=-1)
    with pytest.raises(ValueError, match="largest attainable"):
        constrained_optimum(barred, rewards, gains, floors=[LOW, best[1]], kl_coef=BETA)


def test_the_border_of_reach_is_found():
    # the largest t with E r_i >= t for both objectives, by linear programming; a floor each side of it
    ref_logps, rewards = world(2)
    border, _ = best_minimum(rewards, rewards.sum(-1), allowed=np.ones(ref_logps.shape, dtype=bool))
    inside = constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=[border - 1e-4] * 2, kl_coef=BETA)
    assert inside.rewards.min() >= border - 1e-4 - 1e-8
    with pytest.raises(ValueError, match="cannot hold together"):
        constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=[border + 1e-4] * 2, kl_coef=BETA)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_worlds_that_make_no_sense_are_refused():
    ref_logps, rewards = world()
    gains = rewards[..., 0]
    with pytest.raises(ValueError, match=r"same shape \(X, Y\)"):
        tilt(ref_logps, gains[:, :-1], kl_coef=BETA)
    with pytest.raises(ValueError, match="gains must be finite"):
        tilt(ref_logps, np.where(gains > 1, np.nan, gains), kl_coef=BETA)
    for price in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="kl_coef must be above 0"):
            linear(ref_logps, rewards, price)
    with pytest.raises(ValueError, match="sum to one"):
        tilt(ref_logps + 0.01, gains, kl_coef=BETA)
    with pytest.raises(ValueError, match=r"finite and \(X, Y, M\)"):
        constrained_optimum(ref_logps, rewards, gains, floors=[0.0, 0.0], kl_coef=BETA)
    with pytest.raises(ValueError, match="objective 1 reaches .*, its ideal is 1"):
        tchebycheff_expected_optimum(ref_logps, rewards, PREFERENCE, ideal=[5, 1, 5], augment=0.0, kl_coef=BETA)
    with pytest.raises(ValueError, match="weights >= 0"):
        tchebycheff_gains(rewards, [0.5, -0.5, 1.0], ideal=IDEAL, augment=0.0)


# --- one step of the solver ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("simplex", [True, False])
def test_a_step_minimizes_its_model(simplex):
    generator = np.random.default_rng(0)
    active = 0
    for size in (1, 2, 3, 4, 5, 6):
        for _ in range(5):
            scales = 10 ** generator.uniform(-2, 0, size=(size, 1))
            root, slope = scales * generator.normal(size=(size, size)), scales[:, 0] * generator.normal(size=size)
            model, start = root @ root.T + 1e-12 * np.eye(size), generator.dirichlet(np.ones(size))
            at = Point(multipliers=start, logps=np.zeros((1, 1)), value=0.0, gradient=slope, hessian=model)
            found = model_minimum(model, at, simplex=simplex)
            # first-order conditions: one slope where y > 0 (0 without the sum), and none lower elsewhere
            slopes = slope + model @ (found - start)
            level = slopes[found > 0].mean() if simplex else 0.0
            assert_allclose(slopes[found > 0], level, atol=1e-10)
            assert found.min() >= 0 and (slopes >= level - 1e-10).all()
            assert not simplex or found.sum() == pytest.approx(1, abs=1e-14)
            active += (found == 0).sum()
    assert active > 20


def test_derivatives_of_the_dual():
    ref_logps, rewards = world()
    dual = Dual(ref_logps=ref_logps, gains=rewards[..., 0], features=rewards, kl_coef=BETA)
    mu, h = np.array([0.1, 0.5, 0.2]), 1e-5
    ends = [(dual.at(mu + h * axis), dual.at(mu - h * axis)) for axis in np.eye(3)]
    assert_allclose(dual.at(mu).gradient, [(up.value - down.value) / (2 * h) for up, down in ends], atol=1e-8)
    assert_allclose(dual.at(mu).hessian, [(up.gradient - down.gradient) / (2 * h) for up, down in ends], atol=1e-8)
