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
    igd_plus,
    non_dominated,
    simplex_lattice,
    spacing,
    spacing_schott,
    span,
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
    with pytest.raises(ValueError, match="reference_front must be finite; row 0"):
        igd_plus([[1, 1]], [[0, bad]])
    for indicator in (span, sparsity, sparsity_per_objective, spacing, spacing_schott):
        with pytest.raises(ValueError, match="row 2"):
            indicator([[1, 1], [0, 3], [bad, 2]])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="reference_point has 3 values"):
        hypervolume([[1, 1]], [0, 0, 0])
    with pytest.raises(ValueError, match="matrix"):
        hypervolume([1, 1], [0, 0])
    with pytest.raises(ValueError, match="as many columns"):
        igd_plus([[1, 1]], [[1, 0, 0]])


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_copies_add_no_volume(objectives):
    points, reference = cloud(objectives, 8), np.full(objectives, -1.0)
    assert hypervolume(np.repeat(points, 3, axis=0), reference) == pytest.approx(hypervolume(points, reference))


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_objectives_may_be_named_in_another_order(objectives):
    points, reference = cloud(objectives, 10), np.linspace(-1.5, -0.5, objectives)
    order = np.random.default_rng(objectives).permutation(objectives)
    assert hypervolume(points[:, order], reference[order]) == pytest.approx(hypervolume(points, reference))
    assert igd_plus(points[:, order], points[:3, order] + 1) == pytest.approx(igd_plus(points, points[:3] + 1))
    assert_allclose(span(points[:, order]), span(points)[order])


# --- distance to a known front ---------------------------------------------------------------------------------------


def test_igd_plus_by_hand():
    # to (4, 4): (1, 0) lacks (3, 4), 5; (4, 2) lacks (0, 2), 2 <- nearest.  To (0, 9): (1, 0) lacks 9, (4, 2) lacks 7
    assert igd_plus([[1, 0], [4, 2]], [[4, 4], [0, 9]]) == pytest.approx((2 + 7) / 2)


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_igd_plus_agrees_with_its_definition_and_with_moocore(objectives):
    points, reference = cloud(objectives, 20), sphere(objectives, 30)
    missing = [min(np.linalg.norm(np.maximum(row - point, 0)) for point in points) for row in reference]
    assert igd_plus(points, reference) == pytest.approx(np.mean(missing))
    assert igd_plus(points, reference) == pytest.approx(moocore.igd_plus(points, reference, maximise=True))


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_igd_plus_counts_only_what_is_missing(objectives):
    reference = sphere(objectives)
    assert igd_plus(reference + 0.5, reference) == 0.0
    points = cloud(objectives, 6)
    value = igd_plus(points, reference)
    assert value > 0
    dominated = points - np.abs(cloud(objectives, 6, seed=1))
    assert igd_plus(np.concatenate([dominated, points, points]), reference) == pytest.approx(value)
    assert igd_plus(3 * points + 2, 3 * reference + 2) == pytest.approx(3 * value)
    assert igd_plus(np.concatenate([points, reference[:1]]), reference) < value


def test_igd_plus_needs_both_sets():
    for sets in (([], [[1, 1]]), ([[1, 1]], np.zeros((0, 2)))):
        with pytest.raises(ValueError, match="need rows"):
            igd_plus(*sets)


# --- width -----------------------------------------------------------------------------------------------------------


def test_span_is_that_of_the_front():
    # (0, 0) and (1, 1) are dominated by (2, 2): the front is (2, 2), (0, 5), (3, -1)
    assert_allclose(span([[0, 0], [2, 2], [1, 1], [0, 5], [3, -1]]), [3, 6])
    assert_allclose(span(5 * np.array([[0, 5], [3, -1]]) - 2), [15, 30])


def test_one_point_spans_nothing():
    assert_array_equal(span([[4, 5, 6]]), [0, 0, 0])
    assert_array_equal(span(np.tile([4.0, 5.0], (3, 1))), [0, 0])
    assert_array_equal(span([[4, 4], [1, 2]]), [0, 0])  # one point dominates
    with pytest.raises(ValueError, match="at least one point"):
        span([])


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
        points = sphere(3, count)
        assert span(points).shape == (3,)
        for value in (hypervolume(points, [0, 0, 0]), igd_plus(points, points[:1] + 1), sparsity(points)):
            assert isinstance(value, float)
        for value in (spacing(points), spacing_schott(points), sparsity_per_objective(points)):
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
