from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mora.functional.pareto import default_grid, simplex_lattice
from mora.functional.steering import (
    expected_utility,
    inner_product,
    kendall_tau,
    max_utility_loss,
    monotonicity_violations,
    steering_regret,
)

OBJECTIVES = [2, 3, 4, 5, 6]
PAIRED = [inner_product, steering_regret, kendall_tau, monotonicity_violations]


def followed(objectives: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on a sphere where each preference has the best point for it, and the preferences."""
    preferences = default_grid(objectives)
    return preferences / np.linalg.norm(preferences, axis=1, keepdims=True), preferences


def noisy(objectives: int) -> tuple[np.ndarray, np.ndarray]:
    points, preferences = followed(objectives)
    return points + 0.3 * np.random.default_rng(objectives).normal(size=points.shape), preferences


# --- utility ---------------------------------------------------------------------------------------------------------


def test_inner_product_averages_over_all_points():
    # <(1,0),(4,1)> = 4; <(.5,.5),(2,2)> = 2; <(0,1),(9,0)> = 0 although the point is the best in objective 0
    assert inner_product([[4, 1], [2, 2], [9, 0]], [[1, 0], [0.5, 0.5], [0, 1]]) == pytest.approx(2.0)


def test_expected_utility_and_regret_by_hand():
    # the best of (4,1), (2,2), (9,0): 9 for (1,0); 4.5 for (.5,.5); 2 for (0,1)
    points, preferences = [[4, 1], [2, 2], [9, 0]], [[1, 0], [0.5, 0.5], [0, 1]]
    assert expected_utility(points, preferences) == pytest.approx(15.5 / 3)
    # lost: 9 - 4, 4.5 - 2, 2 - 0
    assert steering_regret(points, preferences) == pytest.approx(9.5 / 3)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_regret_is_expected_minus_realized_utility(objectives):
    points, preferences = noisy(objectives)
    regret = steering_regret(points, preferences)
    assert regret == pytest.approx(expected_utility(points, preferences) - inner_product(points, preferences))
    assert regret > 0


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_regret_is_zero_when_each_preference_gets_its_best_point(objectives):
    points, preferences = followed(objectives)
    assert steering_regret(points, preferences) == pytest.approx(0.0, abs=1e-15)
    assert steering_regret(points[::-1], preferences) > 0.1
    # two preferences exchange their points: each loses what the other's point is worth less to it
    swapped = points.copy()
    swapped[[0, -1]] = points[[-1, 0]]
    lost = preferences[0] @ (points[0] - points[-1]) + preferences[-1] @ (points[-1] - points[0])
    assert steering_regret(swapped, preferences) == pytest.approx(lost / len(points))


def test_a_policy_that_ignores_the_preference_has_no_regret_and_no_tau():
    preferences = simplex_lattice(2, 4)
    points = np.tile([0.3, 0.7], (5, 1))
    assert steering_regret(points, preferences) == 0.0
    assert_array_equal(kendall_tau(points, preferences), [0, 0])
    assert_array_equal(monotonicity_violations(points, preferences), [0, 0])


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_expected_utility_ignores_dominated_points_copies_and_order(objectives):
    points, preferences = noisy(objectives)
    value = expected_utility(points, preferences)
    more = np.concatenate([points - 0.1, points[::-1], points])
    assert expected_utility(more, preferences) == pytest.approx(value)
    # weights sum to 1: a shift of all objectives shifts the utility, a factor scales it
    assert expected_utility(2 * points + 3, preferences) == pytest.approx(2 * value + 3)


def test_max_utility_loss_by_hand():
    # weights (1,0), (.5,.5), (0,1).  Reference (4,0), (0,4): 4, 2, 4.  Points (3,1), (1,1): 3, 2, 1.  Lost: 1, 0, 3
    weights = [[1, 0], [0.5, 0.5], [0, 1]]
    assert max_utility_loss([[3, 1], [1, 1]], [[4, 0], [0, 4]], weights) == pytest.approx(3.0)
    assert max_utility_loss([[3, 1], [1, 1]], [[4, 0], [0, 4]], weights[:2]) == pytest.approx(1.0)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_max_utility_loss_against_better_equal_and_worse_sets(objectives):
    points, preferences = noisy(objectives)
    assert max_utility_loss(points, points[::-1], preferences) == 0.0
    assert max_utility_loss(points, points + 0.25, preferences) == pytest.approx(0.25)
    assert max_utility_loss(points, points - 0.25, preferences) == pytest.approx(-0.25)


# --- order -----------------------------------------------------------------------------------------------------------


def test_kendall_tau_per_objective():
    preferences = simplex_lattice(2, 3)  # weights of objective 0: 0 1/3 2/3 1
    # objective 0 rises with its weight except one adjacent swap: 5 of 6 pairs agree, (5-1)/6; objective 1 falls always
    points = [[0, 0], [2, 1], [1, 2], [3, 3]]
    assert_allclose(kendall_tau(points, preferences), [4 / 6, -1])


def test_kendall_tau_corrects_for_ties_in_the_weights():
    # weights (0, 0, 1, 1), scores 0 1 2 3: of 6 pairs 4 agree, 2 are tied in the weight: 4 / sqrt(6 x 4)
    preferences = [[0, 1], [0, 1], [1, 0], [1, 0]]
    points = [[0, 3], [1, 2], [2, 1], [3, 0]]
    assert_allclose(kendall_tau(points, preferences), [4 / sqrt(24), 4 / sqrt(24)])


def test_monotonicity_violations_by_hand():
    # weights of objective 0: 0 0 .5 1, so 5 pairs rise.  Scores 1 3 2 2: only 3 -> 2, twice, falls; equal is no fall
    # weights of objective 1: 1 1 .5 0, 5 pairs again.  Scores 0 0 0 1: from weight 0 (score 1) to the others: 3 fall
    preferences = [[0, 1], [0, 1], [0.5, 0.5], [1, 0]]
    points = [[1, 0], [3, 0], [2, 0], [2, 1]]
    assert_allclose(monotonicity_violations(points, preferences), [2 / 5, 3 / 5])


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_violations_and_tau_are_two_views_where_nothing_ties(objectives):
    """Without ties tau is 1 - 2 x (share of discordant pairs)."""
    generator = np.random.default_rng(objectives)
    preferences = generator.dirichlet(np.ones(objectives), size=9)
    points = generator.normal(size=preferences.shape)
    assert_allclose(kendall_tau(points, preferences), 1 - 2 * monotonicity_violations(points, preferences))
    order = generator.permutation(9)
    assert_allclose(
        monotonicity_violations(7 * points[order] - 1, preferences[order]), monotonicity_violations(points, preferences)
    )


@pytest.mark.parametrize("objectives", [2, 3])
def test_full_steering_never_violates_and_its_opposite_always_does(objectives):
    preferences = default_grid(objectives)
    assert_array_equal(monotonicity_violations(preferences, preferences), np.zeros(objectives))
    assert_array_equal(monotonicity_violations(-preferences, preferences), np.ones(objectives))


# --- degenerate and refused ------------------------------------------------------------------------------------------


def test_one_point():
    assert inner_product([[2, 4]], [[0.5, 0.5]]) == expected_utility([[2, 4]], [[0.5, 0.5]]) == 3.0
    assert steering_regret([[2, 4]], [[0.5, 0.5]]) == 0.0
    assert_array_equal(kendall_tau([[2, 4]], [[0.5, 0.5]]), [0, 0])
    assert_array_equal(monotonicity_violations([[2, 4]], [[0.5, 0.5]]), [0, 0])


@pytest.mark.parametrize("indicator", PAIRED)
def test_shapes_do_not_depend_on_the_number_of_points(indicator):
    shapes = {np.shape(indicator(*(array[:count] for array in noisy(3)))) for count in (1, 2, 9)}
    assert shapes in ({()}, {(3,)})


@pytest.mark.parametrize("indicator", PAIRED)
def test_pairs_are_checked(indicator):
    with pytest.raises(ValueError, match="same shape"):
        indicator([[1, 1]], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="at least one point"):
        indicator(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="points must be finite; row 1"):
        indicator([[1, 1], [np.nan, 0]], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="preferences must be finite; row 0"):
        indicator([[1, 1]], [[np.inf, 0]])


def test_sets_are_checked():
    with pytest.raises(ValueError, match="at least one row of points"):
        expected_utility([], [[1, 0]])
    with pytest.raises(ValueError, match="one preference"):
        expected_utility([[1, 0]], np.zeros((0, 2)))
    with pytest.raises(ValueError, match="number of columns"):
        expected_utility([[1, 0]], [[1, 0, 0]])
    with pytest.raises(ValueError, match="at least one row of reference"):
        max_utility_loss([[1, 0]], [], [[1, 0]])
    with pytest.raises(ValueError, match="reference must be finite; row 1"):
        max_utility_loss([[1, 0]], [[1, 0], [np.nan, 1]], [[1, 0]])
