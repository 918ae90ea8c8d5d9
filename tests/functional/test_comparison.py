from __future__ import annotations

import moocore
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from mora.functional.comparison import (
    attainment_bands,
    pooled_reference_point,
    reference_sweep,
    win_rate,
)
from mora.functional.pareto import hypervolume

CENTER, ENDS = [[1.0, 1.0]], [[1.6, 0.2], [0.2, 1.6]]
ANYTIME = {"reach": 3.0, "steps": 12}

# --- one reference point ---------------------------------------------------------------------------------------------


def test_pooled_reference_point_by_hand():
    # objective 0: 0 to 4, objective 1: -1 to 9; a tenth of 4 and of 10 below the worst
    fronts = [[[0, 9], [2, 3]], [[4, -1], [1, 1], [3, 3]]]
    assert_allclose(pooled_reference_point(fronts, margin=0.1), [-0.4, -2.0])
    assert_allclose(pooled_reference_point(fronts, margin=0.0), [0, -1])


def test_every_pooled_point_adds_volume():
    fronts = [np.random.default_rng(number).normal(size=(6, 3)) for number in range(3)]
    reference = pooled_reference_point(fronts, margin=0.1)
    assert all(hypervolume(point[None], reference) > 0 for front in fronts for point in front)
    assert_array_equal(reference, pooled_reference_point([np.concatenate(fronts[::-1])], margin=0.1))


def test_an_objective_without_range_ranks_nothing():
    flat = [[[0, 5], [2, 5]], [[1, 5]]]
    reference = pooled_reference_point(flat, margin=0.5)
    assert_allclose(reference, [-1, 4])
    assert hypervolume(flat[0], reference) == pytest.approx(
        hypervolume([[2.0]], [-1.0])
    )  # the other objective's volume
    assert_allclose(pooled_reference_point([[[3, 4]]], margin=0.1), [2, 3])


@pytest.mark.parametrize("fronts", [[], [[[1, 2]], []], [[[1, 2]], [[1, 2, 3]]]])
def test_pooling_needs_points_of_the_same_objectives(fronts):
    with pytest.raises(ValueError, match="same objectives"):
        pooled_reference_point(fronts, margin=0.1)


def test_pooling_refuses_what_is_not_finite_and_a_negative_margin():
    with pytest.raises(ValueError, match="front 1 must be finite; row 1"):
        pooled_reference_point([[[1, 2]], [[1, 2], [np.nan, 0]]], margin=0.1)
    with pytest.raises(ValueError, match="margin"):
        pooled_reference_point([[[1, 2]]], margin=-0.1)


# --- is the ranking decided? -----------------------------------------------------------------------------------------


def winner(one, two, **how):
    return reference_sweep([one, two], **how).winner(0, 1)


def test_the_two_sets_that_a_reference_point_can_flip():
    sweep = reference_sweep([CENTER, ENDS], reach=1.0, steps=1)
    assert sweep.winner(0, 1) == "depends on the reference point"
    # the nadir is (.2, .2), the range 1.4: A has .8 x .8, B lies on the axes; at (-1.2, -1.2) A has 2.2 x 2.2 and B
    # 2 (2.8 x 1.4) - 1.4 x 1.4
    assert_allclose(sweep.reference_points, [[0.2, 0.2], [-1.2, -1.2]])
    assert_allclose(sweep.hypervolumes, [[0.64, 0.0], [4.84, 5.88]])
    assert_allclose(sweep.distances, [0.0, 1.0])


def test_a_shorter_sweep_may_not_see_the_flip():
    """At z = (-t, -t) the gap (1 + t)^2 - 2 (1.6 + t)(.2 + t) + (.2 + t)^2 = .4 - 1.2 t is positive below t = 1/3."""
    assert winner(CENTER, ENDS, reach=0.5 / 1.4, steps=5) == "A"  # to t = .3
    assert winner(CENTER, ENDS, reach=0.6 / 1.4, steps=5) == "depends on the reference point"  # to t = .4


@pytest.mark.parametrize("objectives", [2, 3, 4, 5, 6])
def test_a_set_that_dominates_wins_everywhere(objectives):
    points = np.random.default_rng(objectives).normal(size=(7, objectives))
    better, same = points + 0.1, np.concatenate([points[::-1], points - 0.1])
    sweep = reference_sweep([better, points, same], **ANYTIME)
    assert [sweep.winner(0, 1), sweep.winner(1, 0), sweep.winner(1, 2)] == ["A", "B", "equal"]
    assert (sweep.hypervolumes[:, 0] > sweep.hypervolumes[:, 1]).all()


def test_one_sweep_serves_all_sets():
    """A set that is far below the others must not move the reference points: they belong to the pooled front."""
    sweep = reference_sweep([CENTER, ENDS, [[-9.0, -9.0]]], reach=1.0, steps=1)
    assert_allclose(sweep.reference_points, [[0.2, 0.2], [-1.2, -1.2]])
    assert_allclose(sweep.hypervolumes[:, 2], 0.0)
    assert sweep.winner(2, 0) == "B"


def test_the_winner_does_not_depend_on_units():
    generator = np.random.default_rng(5)
    for _ in range(10):
        one, two = generator.normal(size=(2, 5, 3))
        scale, shift = [0.01, 1.0, 50.0], [4.0, -2.0, 0.0]
        assert winner(one, two, **ANYTIME) == winner(one * scale + shift, two * scale + shift, **ANYTIME)


def test_sets_without_range():
    assert winner([[2, 2]], [[1, 1]], **ANYTIME) == "A"  # pooled front of one point
    assert winner([[1, 3]], [[2, 3]], **ANYTIME) == "B"
    assert winner([[1, 3]], [[1, 3]], **ANYTIME) == "equal"


def test_the_sweep_is_checked():
    for wrong in ({"reach": 0.0, "steps": 3}, {"reach": 1.0, "steps": 0}):
        with pytest.raises(ValueError, match="need reach > 0"):
            reference_sweep([CENTER, ENDS], **wrong)
    with pytest.raises(ValueError, match="same objectives"):
        reference_sweep([CENTER, [[1, 2, 3]]], **ANYTIME)


# --- win rate --------------------------------------------------------------------------------------------------------


def test_win_rate_by_hand():
    # prompt 0: 3 beats 1 and 2, 1 ties with 1 and loses to 2: (1 + 1 + .5 + 0) / 4; prompt 1: all ties
    assert_allclose(win_rate([[3.0, 1.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]), [2.5 / 4, 0.5])


def test_win_rate_is_the_area_under_the_roc_curve():
    generator = np.random.default_rng(1)
    ours, theirs = generator.integers(0, 5, (4, 9)), generator.integers(0, 4, (4, 6))  # many ties
    labels = np.repeat([1, 0], [9, 6])
    expected = [roc_auc_score(labels, np.concatenate(rows)) for rows in zip(ours, theirs, strict=True)]
    assert_allclose(win_rate(ours, theirs), expected)
    assert_allclose(win_rate(theirs, ours), 1 - np.array(expected))


def test_win_rate_arguments_are_checked():
    with pytest.raises(ValueError, match="same prompts"):
        win_rate(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="an answer"):
        win_rate(np.zeros((3, 0)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        win_rate([[np.nan]], [[0.0]])


# --- attainment surfaces ---------------------------------------------------------------------------------------------


def test_attainment_by_hand():
    runs = [[[0, 3], [2, 1]], [[1, 2], [2, 0]], [[0, 1], [3, 0]]]
    low, median, high = attainment_bands(runs, [1.0, 0.5, 1 / 3])
    # best second objective of each run where the first is at least 0, 1, 2, 3:
    #   run 0: 3 1 1 -    run 1: 2 2 0 -    run 2: 1 0 0 0
    # the worst of the three 1 0 0 -, the middle one 2 1 0 -, the best 3 2 1 0; of equal heights the last is the corner
    assert_array_equal(low, [[0, 1], [2, 0]])
    assert_array_equal(median, [[0, 2], [1, 1], [2, 0]])
    assert_array_equal(high, [[0, 3], [1, 2], [2, 1], [3, 0]])


@pytest.mark.parametrize("seeds", [2, 3, 4, 7])
def test_attainment_agrees_with_moocore(seeds):
    fronts = np.random.default_rng(seeds).normal(size=(seeds, 9, 2))
    levels = [0.25, 0.5, 0.75, 1.0]
    runs = np.repeat(np.arange(seeds), 9)
    expected = moocore.eaf(-fronts.reshape(-1, 2), runs, percentiles=[100 * level for level in levels])  # minimizes
    for level, surface in zip(levels, attainment_bands(fronts, levels), strict=True):
        theirs = -expected[expected[:, 2] == 100 * level][:, :2]
        assert_allclose(surface, theirs[np.argsort(theirs[:, 0])])


def test_bands_are_nested_and_runs_may_come_in_any_order():
    fronts = np.random.default_rng(0).normal(size=(6, 11, 2))
    bands = attainment_bands(fronts, [0.25, 0.5, 0.75])
    volumes = [hypervolume(band, [-4, -4]) for band in bands]
    assert volumes[0] > volumes[1] > volumes[2] > 0
    for band, same in zip(bands, attainment_bands(fronts[::-1, ::-1], [0.25, 0.5, 0.75]), strict=True):
        assert_array_equal(band, same)


def test_one_run_is_its_own_band():
    for band in attainment_bands([[[0, 1], [1, 0], [0, 0], [1, 0]]], [0.1, 0.5, 1.0]):
        assert_array_equal(band, [[0, 1], [1, 0]])


def test_attainment_arguments_are_checked():
    for shape in ((3, 4), (3, 4, 3), (0, 4, 2), (3, 0, 2)):
        with pytest.raises(ValueError, match=r"\(S, P, 2\)"):
            attainment_bands(np.zeros(shape), [0.5])
    for level in (0.0, 1.5):
        with pytest.raises(ValueError, match="levels"):
            attainment_bands(np.zeros((2, 3, 2)), [level])
    with pytest.raises(ValueError, match="row 4"):
        attainment_bands([[[0, 1], [1, 0]], [[0, 1], [1, 0]], [[0, np.nan], [1, 0]]], [0.5])
