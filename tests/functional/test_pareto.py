from __future__ import annotations

from itertools import combinations
from math import sqrt

import moocore
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pymoo.indicators.spacing import SpacingIndicator
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from mora.functional.pareto import (
    default_grid,
    hypervolume,
    inner_product,
    kendall_tau,
    non_dominated,
    simplex_lattice,
    spacing,
    spacing_schott,
    sparsity,
    sparsity_per_objective,
)

OBJECTIVES = [2, 3, 4, 5, 6]


def cloud(objectives: int, count: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, objectives]).normal(size=(count, objectives))


def sphere(objectives: int, count: int = 14) -> np.ndarray:
    points = np.abs(cloud(objectives, count, seed=7)) + 1e-3
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def inclusion_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume of the union of boxes by its definition: sum over subsets of +-(volume of the common box)."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in combinations(range(len(points)), size):
            common = np.maximum(points[list(subset)].min(0) - reference, 0.0)
            total += (-1) ** (size + 1) * common.prod()
    return total


# --- which points count ----------------------------------------------------------------------------------------------


def test_dominance_is_strict_in_at_least_one_objective():
    # (2,1) is beaten by (3,1), equal in the second objective; (1,3) and (3,1) beat nothing of each other
    assert_array_equal(non_dominated([[2, 1], [3, 1], [1, 3], [0, 0]]), [1, 2])


def test_there_is_no_tolerance():
    assert_array_equal(non_dominated([[1.0, 1.0], [1.0, 1.0 + 1e-12]]), [1])


def test_of_equal_points_the_first_is_kept():
    assert_array_equal(non_dominated([[0, 0], [1, 2], [2, 1], [1, 2]]), [1, 2])


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_non_dominated_agrees_with_pymoo(objectives):
    points = cloud(objectives, 60)
    expected = NonDominatedSorting().do(-points, only_non_dominated_front=True)
    assert_array_equal(non_dominated(points), np.sort(expected))


# --- hypervolume -----------------------------------------------------------------------------------------------------


def test_the_reference_point_can_flip_a_ranking():
    one, two = [[1.0, 1.0]], [[1.6, 0.2], [0.2, 1.6]]
    # z = 0: 1 x 1 against 2 (1.6 x .2) - .2 x .2
    assert hypervolume(one, [0, 0]) == pytest.approx(1.00)
    assert hypervolume(two, [0, 0]) == pytest.approx(0.60)
    # z = -1: 2 x 2 against 2 (2.6 x 1.2) - 1.2 x 1.2
    assert hypervolume(one, [-1, -1]) == pytest.approx(4.0)
    assert hypervolume(two, [-1, -1]) == pytest.approx(4.8)


def test_one_objective_is_the_best_gain_over_the_reference():
    assert hypervolume([[1.0], [3.0], [2.0]], [0.5]) == pytest.approx(2.5)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_hypervolume_agrees_with_its_definition_and_with_moocore(objectives):
    points, reference = cloud(objectives, 9), np.full(objectives, -1.2)
    value = hypervolume(points, reference)
    assert value == pytest.approx(inclusion_exclusion(points, reference), abs=1e-10)
    assert value == pytest.approx(moocore.hypervolume(points, ref=reference, maximise=True), abs=1e-10)
    assert value > 0


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_hypervolume_ignores_dominated_points_order_and_shifts(objectives):
    points, reference = cloud(objectives, 9), np.full(objectives, -1.0)
    value = hypervolume(points, reference)
    dominated = points - np.abs(cloud(objectives, 9, seed=3))
    assert hypervolume(np.concatenate([dominated, points[::-1]]), reference) == pytest.approx(value)
    assert hypervolume(points + 5, reference + 5) == pytest.approx(value)
    assert hypervolume(points * 2, reference * 2) == pytest.approx(value * 2**objectives)


def test_points_not_above_the_reference_contribute_nothing():
    assert hypervolume([[1, 1], [9, 0], [-3, 9], [0, 0]], [0, 0]) == pytest.approx(1.0)
    assert hypervolume([[0, 9], [-1, -1]], [0, 0]) == 0.0


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2))])
def test_nothing_has_no_volume(empty):
    assert hypervolume(empty, [0, 0]) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="row 1"):
        hypervolume([[1, 1], [bad, 2]], [0, 0])
    with pytest.raises(ValueError, match="reference_point must be finite"):
        hypervolume([[1, 1]], [0, bad])
    with pytest.raises(ValueError, match="finite"):
        non_dominated([[1, bad]])
    with pytest.raises(ValueError, match="preferences must be finite"):
        inner_product([[1, 1]], [[0, bad]])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="reference_point has 3 values"):
        hypervolume([[1, 1]], [0, 0, 0])
    with pytest.raises(ValueError, match="matrix"):
        hypervolume([1, 1], [0, 0])
    with pytest.raises(ValueError, match="same shape"):
        inner_product([[1, 1]], [[1, 0], [0, 1]])


# --- utility and steerability ----------------------------------------------------------------------------------------


def test_inner_product_averages_over_all_points():
    # <(1,0),(4,1)> = 4; <(.5,.5),(2,2)> = 2; <(0,1),(9,0)> = 0 although the point is the best in objective 0
    assert inner_product([[4, 1], [2, 2], [9, 0]], [[1, 0], [0.5, 0.5], [0, 1]]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="at least one point"):
        inner_product(np.zeros((0, 2)), np.zeros((0, 2)))


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


def test_a_policy_that_ignores_the_preference_is_not_steerable():
    preferences = simplex_lattice(2, 4)
    assert_array_equal(kendall_tau(np.tile([0.3, 0.7], (5, 1)), preferences), [0, 0])
    assert_array_equal(kendall_tau([[0.3, 0.7]], [[0.5, 0.5]]), [0, 0])


# --- evenness --------------------------------------------------------------------------------------------------------


def test_sparsity_by_hand():
    # consecutive squared distances: (0,3)-(1,2): 2; (1,2)-(3,0): 8; mean 5; the dominated point does not count
    assert sparsity([[3, 0], [0, 3], [0.5, 0.5], [1, 2]]) == pytest.approx(5.0)


def test_the_two_sparsities_differ_from_three_objectives_on():
    points = [[0, 2, 1], [1, 0, 2], [2, 1, 0]]
    # lexicographic order is the given one: |(1,-2,1)|^2 = 6 and |(1,1,-2)|^2 = 6
    assert sparsity(points) == pytest.approx(6.0)
    # each objective sorted by itself is 0 1 2: 3 objectives x (1 + 1) / 2
    assert sparsity_per_objective(points) == pytest.approx(3.0)
    flat = sphere(2)
    assert sparsity(flat) == pytest.approx(sparsity_per_objective(flat))


def test_spacing_by_hand():
    # nearest distances along a line of slope -1: gaps sqrt2, sqrt2, 2 sqrt2 -> d = sqrt2 (1, 1, 1, 2)
    points = [[0, 4], [1, 3], [2, 2], [4, 0]]
    assert spacing(points) == pytest.approx(sqrt(2) * sqrt(3) / 4)  # population deviation of (1,1,1,2) is sqrt(3)/4
    assert spacing_schott(points) == pytest.approx(2 * 0.5)  # city block 2 (1,1,1,2), sample deviation 1/2


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_schott_spacing_agrees_with_pymoo(objectives):
    points = sphere(objectives)
    n = len(points)  # points of a positive sphere do not dominate each other; pymoo divides by n
    assert spacing_schott(points) * sqrt((n - 1) / n) == pytest.approx(SpacingIndicator()(-points))


@pytest.mark.parametrize("indicator", [sparsity, sparsity_per_objective, spacing, spacing_schott])
def test_degenerate_fronts_have_stated_answers(indicator):
    assert indicator(np.zeros((0, 3))) == 0.0
    assert indicator([[1, 2, 3]]) == 0.0
    assert indicator(np.tile([1.0, 2.0, 3.0], (5, 1))) == 0.0
    assert indicator([[0, 1], [1, 0]]) == (2.0 if "sparsity" in indicator.__name__ else 0.0)


@pytest.mark.parametrize("indicator", [sparsity, sparsity_per_objective, spacing, spacing_schott])
def test_dominated_points_and_order_do_not_matter(indicator):
    points = sphere(3)
    padded = np.concatenate([0.5 * points, points[::-1]])
    assert indicator(padded) == pytest.approx(indicator(points))


def test_shapes_do_not_depend_on_the_number_of_points():
    for count in (1, 2, 9):
        points, preferences = sphere(3, count), np.full((count, 3), 1 / 3)
        assert kendall_tau(points, preferences).shape == (3,)
        for value in (hypervolume(points, [0, 0, 0]), sparsity(points), spacing(points), spacing_schott(points)):
            assert isinstance(value, float)


# --- preferences -----------------------------------------------------------------------------------------------------


def test_lattice_by_hand():
    assert_allclose(simplex_lattice(3, 2) * 2, [[0, 0, 2], [0, 1, 1], [0, 2, 0], [1, 0, 1], [1, 1, 0], [2, 0, 0]])
    assert_allclose(simplex_lattice(1, 5), [[1.0]])
    with pytest.raises(ValueError, match="at least 1"):
        simplex_lattice(3, 0)


@pytest.mark.parametrize(("objectives", "count"), [(1, 1), (2, 11), (3, 22), (4, 21), (5, 16), (6, 22), (8, 9)])
def test_default_grid_holds_vertices_and_center(objectives, count):
    grid = default_grid(objectives)
    assert grid.shape == (count, objectives)
    assert_allclose(grid.sum(1), 1.0)
    assert (grid >= 0).all()
    assert len(np.unique(grid.round(9), axis=0)) == count
    for wanted in [*np.eye(objectives), np.full(objectives, 1 / objectives)]:
        assert np.isclose(grid, wanted).all(1).any()


def test_default_grid_for_two_objectives():
    assert_allclose(default_grid(2)[:, 0], np.arange(11) / 10)
