from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, minimize_scalar
from scipy.spatial import ConvexHull

from mora.functional.hull import (
    best_minimum,
    hull_front,
    linear_free_optimum,
    tchebycheff_free_optimum,
    weighted_gaps,
)
from mora.functional.pareto import non_dominated, simplex_lattice
from mora.functional.scalarize import Tchebycheff
from mora.functional.tilting import tchebycheff_gains

OBJECTIVES = [2, 3, 4, 5, 6]


def cloud(objectives: int, count: int = 25, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, objectives]).normal(size=(count, objectives))


def mixed_over(point: np.ndarray, others: np.ndarray) -> bool:
    """Whether some mixture of the others is nowhere below the point: membership by linear programming."""
    found = linprog(
        np.zeros(len(others)), A_ub=-others.T, b_ub=1e-9 - point, A_eq=np.ones((1, len(others))), b_eq=[1.0]
    )
    return found.status == 0


def brute_force(points: np.ndarray) -> list[int]:
    """Of distinct points in their first appearance, those that no mixture of all the others equals or dominates."""
    firsts = np.sort(np.unique(points, axis=0, return_index=True)[1])
    return [i for i in firsts if len(firsts) == 1 or not mixed_over(points[i], points[firsts[firsts != i]])]


def by_qhull(points: np.ndarray) -> np.ndarray:
    """Vertices of the hull of the points and of each point moved far down along each axis, (M + 1) P in all."""
    far = 10 * points.shape[1] * np.eye(points.shape[1])
    vertices = ConvexHull(np.concatenate([points, *(points - step for step in far)])).vertices
    return np.sort(vertices[vertices < len(points)])


# --- vertices of the front -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("power", "front"), [(0.5, [0, 1, 2, 3, 4]), (1.0, [0, 4]), (2.0, [0, 4])])
def test_counts_of_four_tokens(power, front):
    # score (count / 4)^p: an arc above its chord (p = 1/2), the chord itself, and an arc below it
    shares = np.arange(5) / 4
    assert_array_equal(hull_front(np.stack([shares, 1 - shares], axis=1) ** power), front)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_counts_in_more_dimensions(objectives):
    # square roots of shares lie on the unit sphere, each the only best for itself; else the corners alone are left
    shares = simplex_lattice(objectives, 3 if objectives < 5 else 2)
    corners = np.flatnonzero(shares.max(1) == 1)
    assert_array_equal(hull_front(shares**0.5), np.arange(len(shares)))
    assert_array_equal(hull_front(shares), corners)
    assert_array_equal(hull_front(shares**2), corners)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_random_points_agree_with_qhull_and_with_membership(objectives):
    points = cloud(objectives, 30, seed=1)
    front = hull_front(points)
    assert_array_equal(front, by_qhull(points))
    assert_array_equal(front, brute_force(points))
    assert 1 < len(front) < len(non_dominated(points))


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_lattice_points_agree_with_membership(objectives):
    # many duplicates, flat faces and ties
    points = np.random.default_rng(objectives).integers(0, 4, size=(40, objectives)).astype(float)
    assert_array_equal(hull_front(points), brute_force(points))


@pytest.mark.parametrize("objectives", OBJECTIVES)
@pytest.mark.parametrize("kind", ["line", "plane", "constant"])
def test_flat_sets_agree_with_membership(kind, objectives):
    generator = np.random.default_rng(objectives)
    down = np.append(1.0, -np.ones(objectives - 1))  # the first objective rises where the others fall
    points = {
        "line": generator.integers(0, 9, size=(12, 1)) * down,
        "plane": generator.integers(0, 4, size=(15, 2)) @ np.stack([down, np.roll(down, 1)]),
        "constant": np.append(cloud(objectives - 1, 12), np.ones((12, 1)), axis=1),
    }[kind]
    front = hull_front(points)
    assert_array_equal(front, brute_force(points))
    if kind == "line":
        assert_array_equal(np.sort(points[front, 0]), [points[:, 0].min(), points[:, 0].max()])


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([[2.0, 3.0]], [0]),
        ([[2.0, 3.0], [2.0, 3.0], [2.0, 3.0]], [0]),
        ([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]], [1]),  # a line that rises in both: its upper end
        ([[1.0, -1.0], [1.0, 0.0], [0.0, 0.0]], [1]),  # vertices of the hull, two of them dominated
        ([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.75, 0.25]], [0, 1]),  # inside a flat face; a duplicate
        ([[1.0, 0.0], [0.0, 1.0], [0.45, 0.45]], [0, 1]),  # not dominated by a point, but by a mixture
        ([[3.0], [5.0], [5.0]], [1]),
        (np.zeros((0, 2)), []),
    ],
)
def test_small_sets_by_hand(points, front):
    assert_array_equal(hull_front(points), front)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_the_front_moves_with_the_points_and_not_with_units(objectives):
    points = cloud(objectives)
    front, order = hull_front(points), np.random.default_rng(0).permutation(len(points))
    assert_array_equal(np.sort(order[hull_front(points[order])]), front)
    scales = np.array([1e-4, 1.0, 1e4, 3.0, 0.1, 50.0])[:objectives]
    assert_array_equal(hull_front(points * scales + 7 * scales), front)
    # a vertex counts down to 1e-9 of the range: above the middle of a chord by 1e-6, then by 1e-12
    assert_array_equal(hull_front([[1, 0], [0.5 + 1e-6, 0.5 + 1e-6], [0, 1]]), [0, 1, 2])
    assert_array_equal(hull_front([[1, 0], [0.5 + 1e-12, 0.5 + 1e-12], [0, 1]]), [0, 2])
    assert_array_equal(hull_front([[1, 0], [0.5 + 1e-6, 0.5e-4 + 1e-10], [0, 1e-4]]), [0, 1, 2])
    # of points closer than that the first is kept
    assert_array_equal(hull_front([[1, 0], [1 - 1e-12, 1e-12], [0, 1]]), [0, 2])
    assert_array_equal(hull_front([[1 - 1e-12, 1e-12], [1, 0], [0, 1]]), [0, 2])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="row 1"):
        hull_front([[0, 1], [np.nan, 0]])


# --- the best vertex -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_linear_free_optimum_agrees_with_a_search(objectives):
    points = cloud(objectives)
    preferences = np.random.default_rng(1).dirichlet(np.ones(objectives), size=50)
    assert_array_equal(linear_free_optimum(points, preferences), points[(preferences @ points.T).argmax(-1)])


def test_linear_free_optimum_at_ties():
    points = [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [1.0, -1.0]]
    # equal weights: three tie, a vertex is asked for and (0, 1) comes first; (1, 0): the fourth ties and is dominated
    assert_array_equal(linear_free_optimum(points, [[0.5, 0.5], [1.0, 0.0]]), [[0.0, 1.0], [1.0, 0.0]])
    # .25 * .3 = .75 * .1, but for rounding, which favors the second; the first has the larger sum
    first, second = [0.3, 0.0], [0.0, 0.1]
    assert np.dot([0.25, 0.75], first) < np.dot([0.25, 0.75], second)
    assert_array_equal(linear_free_optimum([first, second], [[0.25, 0.75]]), [first])
    assert_array_equal(linear_free_optimum([second, first], [[0.25, 0.75]]), [first])
    with pytest.raises(ValueError, match="weights >= 0"):
        linear_free_optimum(points, [[0.0, 0.0]])


# --- the best minimum ------------------------------------------------------------------------------------------------


def test_tchebycheff_free_optimum_by_hand():
    # w = (.5, .5), z = (1, 1): the middle of the chord from (1, 0) to (0, 1) beats the response (.4, .4)
    value, scores, mixture = tchebycheff_free_optimum([[1, 0], [0, 1], [0.4, 0.4]], [0.5, 0.5], ideal=[1, 1])
    assert value == pytest.approx(-0.25, abs=1e-12)
    assert_allclose(scores, [0.5, 0.5], atol=1e-12)
    assert_allclose(mixture, [0.5, 0.5, 0], atol=1e-12)
    # w = (.8, .2): .8 (a - 1) = .2 ((1 - a) - 1) at a = .8
    value, scores, _ = tchebycheff_free_optimum([[1, 0], [0, 1]], [0.8, 0.2], ideal=[1, 1])
    assert (value, scores[0]) == (pytest.approx(-0.16), pytest.approx(0.8))


def test_of_several_optima_the_one_on_the_front():
    # a weight of 0 leaves objective 1 open: all with r_0 = 1 are optimal, (1, 0) has the largest sum
    points = [[1, -2], [1, 0], [1, -1], [0, 5]]
    value, scores, mixture = tchebycheff_free_optimum(points, [1, 0], ideal=[2, 9])
    assert value == pytest.approx(-1)
    assert_allclose(scores, [1, 0], atol=1e-12)
    assert_allclose(mixture, [0, 1, 0, 0], atol=1e-12)
    # objective 0 is at most 0 and decides: without the second program any r_1 in [3, 4] would do
    value, scores, _ = tchebycheff_free_optimum([[0, 3], [0, 4], [-5, 9]], [0.5, 0.5], ideal=[8, 9])
    assert value == pytest.approx(-4)
    assert_allclose(scores, [0, 4], atol=1e-9)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_tchebycheff_free_optimum_agrees_with_its_dual(objectives):
    # max_p min_i = min_lambda max_y sum_i lambda_i w_i (r_yi - z_i), here as a second linear program: least bound u
    points, z = cloud(objectives), np.full(objectives, 4.0)
    preference = np.random.default_rng(objectives).dirichlet(np.ones(objectives))
    value, scores, mixture = tchebycheff_free_optimum(points, preference, ideal=z)
    gaps = preference * (points - z)
    bound = linprog(
        np.append(np.zeros(objectives), 1.0),
        A_ub=np.append(gaps, -np.ones((len(points), 1)), axis=1),
        b_ub=np.zeros(len(points)),
        A_eq=np.append(np.ones(objectives), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * objectives + [(None, None)],
    )
    assert value == pytest.approx(bound.fun, abs=1e-10)
    assert (preference * (scores - z)).min() == pytest.approx(value, abs=1e-10)
    assert mixture.sum() == pytest.approx(1.0) and mixture.min() >= 0
    assert_allclose(mixture @ points, scores, atol=1e-12)
    assert not mixed_over(scores + 1e-6, points)  # nothing better in all objectives


def test_tchebycheff_free_optimum_agrees_with_a_search_over_lambda():
    points, z = cloud(2), np.array([4.0, 5.0])
    gaps = np.array([0.4, 0.6]) * (points - z)
    found = minimize_scalar(lambda x: (gaps @ [x, 1 - x]).max(), bounds=(0, 1), options={"xatol": 1e-12})
    assert tchebycheff_free_optimum(points, [0.4, 0.6], ideal=z)[0] == pytest.approx(found.fun, abs=1e-9)


def test_best_minimum_couples_the_prompts():
    # prompt 0 offers (4, 0) or (0, 2), prompt 1 offers (0, 2) or (2, 0); the means are halves of sums.
    # 4 from prompt 0 pays for 2 from prompt 1: with p on (4, 0), 4p = 2(1 - p) + 2 gives p = 2/3, each sum 8/3
    terms = np.array([[[4.0, 0.0], [0.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]]])
    value, policy = best_minimum(terms, terms.sum(-1), allowed=np.ones((2, 2), dtype=bool))
    assert value == pytest.approx(4 / 3)
    assert_allclose(policy, [[2 / 3, 1 / 3], [1, 0]], atol=1e-12)
    # without (4, 0): with q on (2, 0) the sums are (2q, 2 + 2(1 - q)), the first never the larger, so q = 1
    value, policy = best_minimum(terms, terms.sum(-1), allowed=np.array([[False, True], [True, True]]))
    assert value == pytest.approx(1.0)
    assert_allclose(policy, [[0, 1], [0, 1]], atol=1e-12)


def test_the_gain_is_the_one_of_training():
    rewards, preference = cloud(3), np.array([0.2, 0.3, 0.5])
    gains = tchebycheff_gains(rewards[None], preference, ideal=[4.0, 5.0, 6.0], augment=0.1)[0]
    trained = Tchebycheff(ideal=[4.0, 5.0, 6.0], augment=0.1, temperature=0.0)
    rows = torch.from_numpy(rewards)
    assert_allclose(gains, trained(rows, torch.from_numpy(preference).expand_as(rows)), atol=1e-14)


def test_weighted_gaps_by_hand_and_refused():
    rewards = np.array([[[1.0, 3.0]], [[2.0, 0.0]]])
    assert_allclose(weighted_gaps(rewards, [0.25, 0.75], [2, 3]), [[[-0.25, 0]], [[0, -2.25]]])
    with pytest.raises(ValueError, match="objective 1 reaches 3, its ideal is 2.5"):
        weighted_gaps(rewards, [0.25, 0.75], [2, 2.5])
    for preference in ([0.0, 0.0], [1.5, -0.5]):
        with pytest.raises(ValueError, match="weights >= 0"):
            weighted_gaps(rewards, preference, [2, 3])
    for preference, z in (([1.0], [2.0, 3.0]), ([0.5, 0.5], [3.0])):
        with pytest.raises(ValueError, match="differ in M"):
            weighted_gaps(rewards, preference, z)
