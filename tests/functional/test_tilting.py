from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, rel_entr, softmax

from mora.functional.hull import weighted_gaps
from mora.functional.tilting import (
    constrained_optimum,
    exact_kl,
    expected,
    linear_optimum,
    linear_utility,
    response_optimum,
    response_utility,
    tchebycheff_expected_optimum,
    tchebycheff_expected_utility,
    tchebycheff_gains,
    tchebycheff_prompt_optimum,
    tchebycheff_prompt_utility,
    tilt,
)

OBJECTIVES = [2, 3, 4, 5, 6]
BETA, AUGMENT = 0.3, 0.05
LOW = -np.inf


def world(objectives: int, prompts: int = 3, responses: int = 30) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(objectives)
    ref_logps = log_softmax(generator.normal(size=(prompts, responses)), axis=-1)
    return ref_logps, generator.normal(size=(prompts, responses, objectives))


def weights(objectives: int) -> np.ndarray:
    return np.random.default_rng([objectives, 1]).dirichlet(np.ones(objectives))


def ideal(rewards: np.ndarray) -> np.ndarray:
    return rewards.max((0, 1)) + 0.1


def reachable_floors(ref_logps: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """No floor for objective 0; for the others a little less than what some policy reaches in all at once."""
    floors = expected(tilt(ref_logps, rewards.sum(-1), kl_coef=2.0), rewards) - 0.05
    return np.append(LOW, floors[1:])


def primal(ref_logps: np.ndarray, gains: np.ndarray, terms: np.ndarray, *, minimum: bool) -> np.ndarray:
    """A policy found by SLSQP without any dual: maximize E gain - beta KL (+ t) subject to E terms_k >= 0 (or t).

    The variables are the square roots of the probabilities, and t: the optimum lies inside their range.
    """
    prompts, size = len(ref_logps), ref_logps.size
    gain, log_ref = gains.ravel(), ref_logps.ravel()
    flat = terms.reshape(size, -1).T / prompts
    rows = np.kron(np.eye(prompts), np.ones(ref_logps.shape[1]))

    def objective(z):
        root, t = z[:-1], z[-1]
        log_ratio = 2 * np.log(np.abs(root) + 1e-300) - log_ref
        value = root**2 @ (gain - BETA * log_ratio) / prompts + minimum * t
        return -value, -np.append(2 * root * (gain - BETA * (log_ratio + 1)) / prompts, float(minimum))

    def pad(matrix, z, last):
        return np.hstack([matrix * 2 * z[:-1], np.full((len(matrix), 1), last)])

    constraints = [
        {"type": "eq", "fun": lambda z: rows @ z[:-1] ** 2 - 1, "jac": lambda z: pad(rows, z, 0.0)},
        {
            "type": "ineq",
            "fun": lambda z: flat @ z[:-1] ** 2 - minimum * z[-1],
            "jac": lambda z: pad(flat, z, -float(minimum)),
        },
    ]
    start = np.append(np.exp(log_ref / 2), expected(ref_logps, terms).min())
    options = {"ftol": 1e-16, "maxiter": 200}
    found = minimize(objective, start, jac=True, method="SLSQP", constraints=constraints, options=options)
    return 2 * np.log(np.abs(found.x[:-1]).reshape(ref_logps.shape))


# --- moments of a policy ---------------------------------------------------------------------------------------------


def test_moments_by_hand():
    # prompt 0: (3/4, 1/4) against (1/2, 1/2): KL = .75 ln 1.5 + .25 ln .5; prompt 1: (0, 1) against (1/2, 1/2): ln 2
    logps = np.array([[np.log(0.75), np.log(0.25)], [LOW, 0.0]])
    reference = np.full((2, 2), np.log(0.5))
    divergence = (0.75 * np.log(1.5) + 0.25 * np.log(0.5) + np.log(2)) / 2
    assert exact_kl(logps, reference) == pytest.approx(divergence, abs=1e-15)
    assert exact_kl(reference, logps) == np.inf
    assert exact_kl([[0.0, -800.0]], [[0.0, LOW]]) == np.inf  # although exp(-800) is 0 in double precision
    rewards = np.array([[[4.0, 1.0], [0.0, 1.0]], [[9.0, 0.0], [2.0, 5.0]]])
    assert_allclose(expected(logps, rewards), [(3 + 2) / 2, (1 + 5) / 2])
    assert linear_utility(logps, reference, rewards, [0.5, 0.5], kl_coef=2.0) == pytest.approx(2.75 - 2 * divergence)
    # gaps of the expectations to (10, 10), weighted: -3.75 and -3.5
    utility = tchebycheff_expected_utility(
        logps, reference, rewards, [0.5, 0.5], ideal=[10, 10], augment=0.1, kl_coef=2.0
    )
    assert utility == pytest.approx(-3.75 - 0.725 - 2 * divergence)
    gains = tchebycheff_gains(rewards, [0.5, 0.5], ideal=[10, 10], augment=0.1)
    assert_allclose(gains, [[-4.5 - 0.75, -5 - 0.95], [-5 - 0.55, -4 - 0.65]])


def test_exact_kl_agrees_with_scipy():
    ref_logps, rewards = world(2)
    logps = tilt(ref_logps, rewards[..., 0], kl_coef=BETA)
    assert exact_kl(logps, ref_logps) == pytest.approx(rel_entr(np.exp(logps), np.exp(ref_logps)).sum(-1).mean())
    assert exact_kl(logps, logps) == 0.0


# --- gains of single responses ---------------------------------------------------------------------------------------


def test_tilt_agrees_with_a_softmax():
    ref_logps, rewards = world(2)
    logps = tilt(ref_logps, rewards[..., 0], kl_coef=BETA)
    assert_allclose(np.exp(logps), softmax(ref_logps + rewards[..., 0] / BETA, axis=-1), atol=1e-15)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_linear_optimum_agrees_with_gradient_ascent_on_logits(objectives):
    ref_logps, rewards = world(objectives)
    gains = rewards @ weights(objectives)

    def negative(logits):
        logps = log_softmax(logits.reshape(ref_logps.shape), axis=-1)
        p, pull = np.exp(logps), gains - BETA * (logps - ref_logps)
        slope = p * (pull - (p * pull).sum(-1, keepdims=True)) / len(p)
        return -(p * pull).sum() / len(p), -slope.ravel()

    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000, "maxfun": 10000}
    found = minimize(negative, ref_logps.ravel(), jac=True, method="L-BFGS-B", options=options)
    best = linear_optimum(ref_logps, rewards, weights(objectives), kl_coef=BETA)
    assert best.utility == pytest.approx(-found.fun, abs=1e-10)
    assert_allclose(np.exp(best.logps), softmax(found.x.reshape(ref_logps.shape), axis=-1), atol=1e-5)


def test_the_closed_form_of_the_utility_is_gain_minus_price():
    ref_logps, rewards = world(3)
    gains = tchebycheff_gains(rewards, weights(3), ideal=ideal(rewards), augment=AUGMENT)
    best = response_optimum(ref_logps, gains, rewards, kl_coef=BETA)
    assert best.utility == pytest.approx(BETA * np.log((np.exp(ref_logps + gains / BETA)).sum(-1)).mean(), abs=1e-13)
    assert best.utility == pytest.approx(response_utility(best.logps, ref_logps, gains, kl_coef=BETA), abs=1e-13)
    assert best.kl == pytest.approx((expected(best.logps, gains[..., None])[0] - best.utility) / BETA, abs=1e-12)
    assert_allclose(best.rewards, expected(best.logps, rewards))
    assert best.multipliers is None


# --- the minimum of expectations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_expected_tchebycheff_agrees_with_a_primal_optimizer(objectives):
    ref_logps, rewards = world(objectives)
    preference, z = weights(objectives), ideal(rewards)
    gaps = weighted_gaps(rewards, preference, z)
    settings = {"ideal": z, "augment": AUGMENT, "kl_coef": BETA}
    best = tchebycheff_expected_optimum(ref_logps, rewards, preference, **settings)
    logps = primal(ref_logps, AUGMENT * gaps.sum(-1), gaps, minimum=True)
    utility = tchebycheff_expected_utility(logps, ref_logps, rewards, preference, **settings)
    assert best.utility == pytest.approx(utility, abs=1e-10)
    assert_allclose(np.exp(best.logps), np.exp(logps), atol=1e-7)
    again = tchebycheff_expected_utility(best.logps, ref_logps, rewards, preference, **settings)
    assert best.utility == pytest.approx(again, abs=1e-14)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_expected_tchebycheff_is_the_worst_of_the_linear_problems(objectives):
    # max_pi min_i = min_lambda max_pi: at the multipliers equal, at any other lambda of the simplex not below
    ref_logps, rewards = world(objectives)
    preference, z = weights(objectives), ideal(rewards)
    best = tchebycheff_expected_optimum(ref_logps, rewards, preference, ideal=z, augment=AUGMENT, kl_coef=BETA)

    def bound(multipliers):
        return linear_optimum(ref_logps, rewards - z, (multipliers + AUGMENT) * preference, kl_coef=BETA).utility

    assert best.multipliers.sum() == pytest.approx(1.0, abs=1e-12)
    assert bound(best.multipliers) == pytest.approx(best.utility, abs=1e-11)
    others = np.random.default_rng(0).dirichlet(np.ones(objectives), size=200)
    assert min(bound(other) for other in others) >= best.utility
    gaps = preference * (best.rewards - z)
    assert_allclose(gaps[best.multipliers > 0], gaps.min(), atol=1e-10)


def test_two_prompts_that_lack_different_objectives_part_the_two_utilities():
    """One answer each, rewards (0, -2) and (-2, 0), equal weights, ideal 1: -1 of the means, -1.5 of each prompt."""
    only, rewards = np.zeros((2, 1)), np.array([[[0.0, -2.0]], [[-2.0, 0.0]]])
    settings = {"ideal": [1, 1], "augment": 0.0, "kl_coef": BETA}
    assert tchebycheff_expected_utility(only, only, rewards, [0.5, 0.5], **settings) == -1.0
    assert tchebycheff_prompt_utility(only, only, rewards, [0.5, 0.5], **settings) == -1.5
    assert tchebycheff_expected_optimum(only, rewards, [0.5, 0.5], **settings).utility == -1.0
    assert tchebycheff_prompt_optimum(only, rewards, [0.5, 0.5], **settings).utility == -1.5


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_prompt_tchebycheff_agrees_with_a_primal_optimizer_and_lies_below_the_expected_form(objectives):
    ref_logps, rewards = world(objectives)
    rewards = rewards - np.eye(3, objectives)[:, None]  # prompts that lack different objectives
    preference, z = np.full(objectives, 1 / objectives), ideal(rewards)
    settings = {"ideal": z, "augment": AUGMENT, "kl_coef": BETA}
    best = tchebycheff_prompt_optimum(ref_logps, rewards, preference, **settings)
    gaps = weighted_gaps(rewards, preference, z)
    each = [primal(ref_logps[[x]], AUGMENT * gaps[[x]].sum(-1), gaps[[x]], minimum=True) for x in range(3)]
    utility = tchebycheff_prompt_utility(np.concatenate(each), ref_logps, rewards, preference, **settings)
    assert best.utility == pytest.approx(utility, abs=1e-10)
    assert_allclose(np.exp(best.logps), np.exp(np.concatenate(each)), atol=1e-7)
    own = tchebycheff_prompt_utility(best.logps, ref_logps, rewards, preference, **settings)
    assert best.utility == pytest.approx(own, abs=1e-14)
    assert_allclose(best.rewards, expected(best.logps, rewards), atol=1e-14)
    assert best.kl == pytest.approx(exact_kl(best.logps, ref_logps), abs=1e-14)
    assert best.multipliers.shape == (3, objectives)
    above = tchebycheff_expected_optimum(ref_logps, rewards, preference, **settings)
    assert above.utility > best.utility
    assert tchebycheff_expected_utility(best.logps, ref_logps, rewards, preference, **settings) < above.utility


def test_expected_tchebycheff_agrees_with_a_grid():
    ref_logps, rewards = world(2)
    gaps = weighted_gaps(rewards, [0.4, 0.6], ideal(rewards))
    best = tchebycheff_expected_optimum(ref_logps, rewards, [0.4, 0.6], ideal=ideal(rewards), augment=0.0, kl_coef=BETA)
    grid = np.linspace(0, 1, 2001)
    tilted = ref_logps + (gaps[..., :1] * grid + gaps[..., 1:] * (1 - grid)).transpose(2, 0, 1) / BETA
    dual = BETA * np.log(np.exp(tilted).sum(-1)).mean(-1)
    curvature = np.ptp(gaps[..., 0] - gaps[..., 1]) ** 2 / (4 * BETA)  # at most
    assert 0 <= dual.min() - best.utility <= curvature * (0.5 / 2000) ** 2 / 2
    assert best.multipliers[0] == pytest.approx(grid[dual.argmin()], abs=1 / 2000)


def test_the_gap_has_room_at_low_prices():
    # 1e-10 is promised; six objectives whose policies are almost deterministic still leave two digits
    ref_logps, rewards = world(6)
    z = ideal(rewards)
    for preference in np.random.default_rng(6).dirichlet(np.full(6, 3.0), size=6):
        best = tchebycheff_expected_optimum(ref_logps, rewards, preference, ideal=z, augment=0.0, kl_coef=1e-3)
        gaps = preference * (best.rewards - z)
        assert best.multipliers @ gaps - gaps.min() <= 1e-12 * abs(best.utility)


def test_the_minimum_of_expectations_is_not_the_expectation_of_minima():
    # one prompt, three equally likely responses (1, 0), (0, 1), (.4, .4); w = (.5, .5), z = (1, 1)
    # minima per response: -.5 -.5 -.3, so the third is the best; in expectation the first two together reach -.25:
    # by symmetry lambda = (.5, .5), where the three responses gain -.25 -.25 -.3
    ref_logps, rewards = np.full((1, 3), -np.log(3)), np.array([[[1, 0], [0, 1], [0.4, 0.4]]])
    settings = {"ideal": [1, 1], "augment": 0.0}
    gains = tchebycheff_gains(rewards, [0.5, 0.5], **settings)
    response = response_optimum(ref_logps, gains, rewards, kl_coef=0.1)
    assert np.exp(response.logps[0, 2]) == pytest.approx(1 / (1 + 2 * np.exp(-2.0)))
    mean = tchebycheff_expected_optimum(ref_logps, rewards, [0.5, 0.5], kl_coef=0.1, **settings)
    assert np.exp(mean.logps[0, 2]) == pytest.approx(1 / (1 + 2 * np.exp(0.5)))
    assert_allclose(mean.multipliers, [0.5, 0.5])
    assert mean.utility == pytest.approx(0.1 * np.log((2 * np.exp(-2.5) + np.exp(-3.0)) / 3))
    # a flat face alone: both responses equally bad by themselves, and the reference already is the best mixture
    flat = tchebycheff_expected_optimum(
        np.full((1, 2), -np.log(2)), rewards[:, :2], [0.5, 0.5], kl_coef=0.1, **settings
    )
    assert (flat.utility, gains[0, 0], gains[0, 1]) == (pytest.approx(-0.25), -0.5, -0.5)


def test_a_weight_of_zero_drops_its_objective():
    ref_logps, rewards = world(3)
    z = ideal(rewards)
    settings = {"augment": AUGMENT, "kl_coef": BETA}
    vertex = tchebycheff_expected_optimum(ref_logps, rewards, [0, 1, 0], ideal=z, **settings)
    linear = linear_optimum(ref_logps, rewards - z, [0, 1 + AUGMENT, 0], kl_coef=BETA)
    assert_allclose(vertex.logps, linear.logps, atol=1e-12)
    assert vertex.utility == pytest.approx(linear.utility, abs=1e-13)
    assert_array_equal(vertex.multipliers, [0, 1, 0])
    edge = tchebycheff_expected_optimum(ref_logps, rewards, [0.3, 0, 0.7], ideal=z, **settings)
    two = tchebycheff_expected_optimum(ref_logps, rewards[..., [0, 2]], [0.3, 0.7], ideal=z[[0, 2]], **settings)
    assert_allclose(edge.logps, two.logps, atol=1e-12)
    near = tchebycheff_expected_optimum(ref_logps, rewards, [1e-7, 1 - 2e-7, 1e-7], ideal=z, **settings)
    assert_allclose(near.rewards, vertex.rewards, atol=1e-5)


def test_ideal_and_multipliers_obey_the_envelope_theorem():
    # dU/dz_i = -(lambda_i + augment) w_i; central differences, error of order h^2
    ref_logps, rewards = world(3)
    preference, z, h = np.array([0.3, 0.3, 0.4]), ideal(rewards), 1e-4

    def best(ideals):
        return tchebycheff_expected_optimum(ref_logps, rewards, preference, ideal=ideals, augment=AUGMENT, kl_coef=BETA)

    slopes = [(best(z + h * axis).utility - best(z - h * axis).utility) / (2 * h) for axis in np.eye(3)]
    assert_allclose(slopes, -(best(z).multipliers + AUGMENT) * preference, atol=1e-7)


# --- floors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_constrained_optimum_agrees_with_a_primal_optimizer(objectives):
    ref_logps, rewards = world(objectives)
    floors, gains = reachable_floors(ref_logps, rewards), rewards[..., 0]
    best = constrained_optimum(ref_logps, rewards, gains, floors=floors, kl_coef=BETA)
    logps = primal(ref_logps, gains, (rewards - floors)[..., 1:], minimum=False)
    assert best.utility == pytest.approx(response_utility(logps, ref_logps, gains, kl_coef=BETA), abs=1e-10)
    assert_allclose(np.exp(best.logps), np.exp(logps), atol=1e-7)
    assert (best.multipliers > 0.01).any() and best.multipliers[0] == 0.0
    assert (best.rewards >= floors - 1e-9).all()
    assert_allclose(best.multipliers[1:] * (best.rewards - floors)[1:], 0, atol=1e-9)
    assert best.kl == pytest.approx(exact_kl(best.logps, ref_logps))


def test_a_multiplier_is_the_price_of_its_floor():
    # dU/dfloor_i = -mu_i; central differences, error of order h^2
    ref_logps, rewards = world(4)
    floors, h = reachable_floors(ref_logps, rewards), 1e-4

    def best(limits):
        return constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=limits, kl_coef=BETA)

    slopes = [(best(floors + h * axis).utility - best(floors - h * axis).utility) / (2 * h) for axis in np.eye(4)[1:]]
    assert best(floors).multipliers[1:].min() > 0.1
    assert_allclose(slopes, -best(floors).multipliers[1:], atol=1e-7)


def test_floors_that_do_not_bind_change_nothing():
    ref_logps, rewards = world(3)
    free = linear_optimum(ref_logps, rewards, [1, 0, 0], kl_coef=BETA)
    for floors in ([LOW, LOW, LOW], free.rewards - 1e-3):
        best = constrained_optimum(ref_logps, rewards, rewards[..., 0], floors=floors, kl_coef=BETA)
        assert_allclose(best.logps, free.logps, atol=1e-14)
        assert_array_equal(best.multipliers, np.zeros(3))
