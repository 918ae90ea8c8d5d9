from __future__ import annotations

from dataclasses import asdict
from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from mora.functional.bootstrap import Replicates, bootstrap, difference_interval, interval, interval_of
from mora.functional.pareto import default_grid, hypervolume
from mora.functional.steering import inner_product

GRID = default_grid(2)
FIXED = {"level": 0.95, "seed": 0, "new_seeds": False, "bias_corrected": True}
NEW = FIXED | {"new_seeds": True}


def realized(front: np.ndarray) -> float:
    return inner_product(front, GRID)


def volume(front: np.ndarray) -> float:
    return hypervolume(front, [-1.0, -1.0])


def scores(
    seeds: int = 1,
    prompts: int = 16,
    *,
    noise: float = 0.3,
    between: float = 0.0,
    front: np.ndarray = GRID,
    seed: int = 0,
) -> np.ndarray:
    """Truth + prompt (shared by runs: the same for every ``seed``) + seed + noise."""
    generator = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(size=(prompts, 2))
    policies = between * generator.normal(size=(seeds, 1, 1, 2))
    return front[:, None] + shared + policies + noise * generator.normal(size=(seeds, len(front), prompts, 2))


# --- one seed: against the t-test of means over prompts --------------------------------------------------------------


def test_of_a_mean_it_is_the_t_interval_over_prompts():
    run = scores(prompts=40)
    found = interval(run, realized, samples=1000, **FIXED)
    per_prompt = (run[0] * GRID[:, None]).sum(-1).mean(0)
    expected = ttest_1samp(per_prompt, 0.0).confidence_interval(0.95)
    assert found.estimate == pytest.approx(per_prompt.mean())
    assert found.degrees_of_freedom == 39
    assert_allclose([found.low, found.high], [expected.low, expected.high], atol=0.03 * (expected.high - expected.low))


def test_a_difference_is_paired_over_prompts():
    """The shared prompt effects, standard deviation 1, cancel: only the noise of 0.3 is left."""
    one, two = scores(seed=1), scores(seed=2)
    found = difference_interval(one, two, realized, samples=1000, paired_seeds=False, **FIXED)
    per_prompt = ((one - two)[0] * GRID[:, None]).sum(-1).mean(0)
    assert found.estimate == pytest.approx(per_prompt.mean())
    assert found.standard_error == pytest.approx(per_prompt.std(ddof=1) / 4, rel=0.06)
    assert found.standard_error < 0.2 * interval(one, realized, samples=500, **FIXED).standard_error


def test_seeds_that_are_held_fixed_are_averaged():
    run = scores(seeds=3, between=2.0)
    averaged = interval(run.mean(0, keepdims=True), volume, samples=200, **FIXED)
    assert asdict(interval(run, volume, samples=200, **FIXED)) == pytest.approx(asdict(averaged))


def test_the_best_of_noise_is_moved_down():
    """A point too many is never a loss to the hypervolume, so a front of equal points with noise looks too good."""
    flat = np.full_like(GRID, 0.5)
    run = scores(prompts=24, noise=1.0, front=flat)
    run -= run.mean((0, 1, 2)) - 0.5  # leaves the noise of single preferences
    truth = volume(flat)
    found = interval(run, volume, samples=400, **FIXED)
    assert found.estimate > truth + 0.2
    assert abs(found.center - truth) < 0.75 * (found.estimate - truth)
    kept = interval(run, volume, samples=400, **FIXED | {"bias_corrected": False})
    assert kept.center == kept.estimate == found.estimate
    assert kept.standard_error == found.standard_error


# --- several seeds: against a crossed analysis of variance -----------------------------------------------------------


def crossed(values: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of (S, X) values, seeds and prompts random, and Satterthwaite's degrees of freedom."""
    seeds, prompts = values.shape
    rows, columns = values.mean(1), values.mean(0)
    of_rows, of_columns = prompts * rows.var(ddof=1), seeds * columns.var(ddof=1)
    rest = values - rows[:, None] - columns + values.mean()
    of_rest = (rest**2).sum() / ((seeds - 1) * (prompts - 1))
    total = of_rows + of_columns - of_rest
    parts = of_rows**2 / (seeds - 1) + of_columns**2 / (prompts - 1) + of_rest**2 / ((seeds - 1) * (prompts - 1))
    return total / (seeds * prompts), total**2 / parts


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_of_a_mean_over_new_seeds_it_is_the_crossed_analysis(seeds):
    run = scores(seeds=seeds, between=1.0, noise=1.0)
    found = interval(run, realized, samples=1000, **NEW)
    variance, degrees = crossed((run * GRID[:, None]).sum(-1).mean(1))
    assert found.standard_error == pytest.approx(sqrt(variance), rel=0.06)
    assert found.degrees_of_freedom == pytest.approx(degrees, rel=1e-6)
    assert found.high - found.center == pytest.approx(student.ppf(0.975, degrees) * found.standard_error)


def test_seeds_without_an_effect_of_their_own_leave_the_prompts():
    """Seeds that agree more than their noise allows add nothing, and the degrees are those of the prompts."""
    run = scores(seeds=3, noise=1.0)
    run -= run.mean((1, 2, 3), keepdims=True) - run.mean()
    run -= (run * GRID[:, None]).sum(-1).mean((1, 2))[:, None, None, None] - realized(run.mean((0, 2)))
    found = interval(run, realized, samples=1000, **NEW)
    fixed = interval(run, realized, samples=1000, **FIXED)
    assert found.degrees_of_freedom == pytest.approx(15)
    assert found.standard_error == pytest.approx(fixed.standard_error, rel=0.06)


def test_degrees_are_never_fewer_than_those_of_the_seeds():
    """Where seeds differ by little more than their noise, the formula goes towards 0, and widths to infinity."""
    runs = [np.random.default_rng(number).normal(size=(3, 11, 16, 2)) for number in range(30)]
    formula = [crossed((run * GRID[:, None]).sum(-1).mean(1))[1] for run in runs]
    found = [interval(run, realized, samples=2, **NEW).degrees_of_freedom for run in runs]
    assert min(formula) < 1
    assert min(found) == 2


def test_seeds_of_two_runs_are_independent():
    """Each run brings its own seeds: the variances of the seeds add, although the runs share their prompts."""
    one, two = scores(seeds=5, between=1.0, seed=1), scores(seeds=5, between=1.0, seed=2)
    found = difference_interval(one, two, realized, samples=1000, paired_seeds=False, **NEW)
    means = [(run * GRID[:, None]).sum(-1).mean((1, 2)) for run in (one, two)]
    expected = sqrt(sum(mean.var(ddof=1) / 5 for mean in means))
    assert found.standard_error == pytest.approx(expected, rel=0.06)  # prompts cancel, their noise is 0.3 / sqrt(880)


def test_runs_may_differ_in_seeds_and_preferences():
    coarse = default_grid(2)[::5]
    one, two = scores(seeds=2, between=0.5), scores(seeds=4, between=0.5, front=coarse, seed=1)
    found = difference_interval(one, two, volume, samples=100, paired_seeds=False, **NEW)
    assert found.estimate == pytest.approx(volume(one.mean((0, 2))) - volume(two.mean((0, 2))))


def test_a_run_against_itself_is_even():
    run = scores(prompts=8)
    found = difference_interval(run, run, volume, samples=50, paired_seeds=False, **FIXED)
    assert (found.low, found.high, found.standard_error) == (0.0, 0.0, 0.0)


def test_a_statistic_that_never_moves_has_the_fewest_degrees():
    found = interval(scores(seeds=3), lambda front: 2.5, samples=50, **NEW)
    assert (found.low, found.high, found.degrees_of_freedom) == (2.5, 2.5, 2.0)


# --- coverage: a few studies here, thousands in the benchmark ---------------------------------------------------------


def areas(fronts: np.ndarray) -> np.ndarray:
    """Hypervolume above (-1, -1) of many fronts (..., P, 2)."""
    above = np.maximum(fronts + 1.0, 0.0)
    order = np.argsort(-above[..., 0], axis=-1)
    first, second = (np.take_along_axis(above[..., j], order, axis=-1) for j in (0, 1))
    widths = first - np.concatenate([first[..., 1:], np.zeros_like(first[..., :1])], axis=-1)
    return (widths * np.maximum.accumulate(second, axis=-1)).sum(-1)


def test_it_covers_where_percentiles_do_not():
    """A policy that ignores its preference, seen through noise: 0.95 +- 3 errors of 0.011 in 400 studies."""
    front, tilt = np.full_like(GRID, 0.5), 2 * GRID[:, None] - 1
    truth, hits, usual = volume(front), 0, 0
    for number in range(400):
        generator = np.random.default_rng(number)
        level, slope, noise = 0.8, 0.4, 0.5
        run = front[:, None] + level * generator.normal(size=(16, 2)) + slope * tilt * generator.normal(size=(16, 2))
        run = run + noise * generator.normal(size=(1, 11, 16, 2))
        (fronts,) = bootstrap([run], samples=150, seed=number, new_seeds=False)
        assert number or areas(fronts.resampled)[7] == pytest.approx(volume(fronts.resampled[7]))
        values = fronts.mapped(areas)
        found = interval_of([values], level=0.95, bias_corrected=True)
        low, high = np.quantile(values.resampled, [0.025, 0.975])
        hits, usual = hits + (found.low <= truth <= found.high), usual + (low <= truth <= high)
    assert usual / 400 < 0.85
    assert 0.917 <= hits / 400 <= 0.983


# --- draws -----------------------------------------------------------------------------------------------------------


def test_draws_of_a_mean_have_its_unbiased_variance():
    run = scores(seeds=4, prompts=9, between=1.0)
    (fixed,) = bootstrap([run], samples=6000, seed=0, new_seeds=False)
    by_prompt = run.mean(0)
    assert_allclose(fixed.resampled.var(0), by_prompt.var(1, ddof=1) / 9, rtol=0.1)
    assert_allclose(fixed.resampled.mean(0), run.mean((0, 2)), atol=0.03)
    (new,) = bootstrap([run], samples=6000, seed=0, new_seeds=True)
    added = run.mean(2).var(0, ddof=1) / 4
    assert_allclose((new.resampled - fixed.resampled).var(0), added, rtol=0.1)


def test_runs_and_preferences_get_the_same_prompts():
    run = scores(seeds=1)
    one, two = bootstrap([run, 2 * run[:, ::-1]], samples=20, seed=3, new_seeds=False)
    assert_allclose(two.resampled, 2 * one.resampled[:, ::-1])
    (alone,) = bootstrap([run], samples=20, seed=3, new_seeds=False)
    assert_array_equal(alone.resampled, one.resampled)


def test_two_runs_get_different_seeds():
    run = scores(seeds=6, between=1.0)
    one, two = bootstrap([run, run], samples=20, seed=3, new_seeds=True)
    assert np.abs(one.resampled - two.resampled).max() > 0.1


def test_the_order_of_prompts_and_the_unit_do_not_matter():
    run = scores(seeds=3, between=0.5, prompts=30)
    found = interval(run, realized, samples=800, **NEW)
    turned = interval(10 * run[:, :, ::-1] + 4, realized, samples=800, **NEW)
    assert turned.estimate == pytest.approx(10 * found.estimate + 4)
    assert turned.degrees_of_freedom == pytest.approx(found.degrees_of_freedom)
    assert turned.standard_error == pytest.approx(10 * found.standard_error, rel=0.06)


def test_draws_depend_on_the_seed_alone():
    run = scores(seeds=2)
    first, again = (interval(run, volume, samples=60, **NEW) for _ in range(2))
    assert first == again
    assert interval(run, volume, samples=60, **NEW | {"seed": 1}).center != first.center


def test_leaving_out_a_prompt_or_a_seed():
    run = scores(seeds=3, prompts=8, between=1.0)
    (found,) = bootstrap([run], samples=2, seed=0, new_seeds=True)
    assert_allclose(found.without_seed[1], run[[0, 2]].mean((0, 2)))
    holed = run.copy()
    holed[2, :, 5] = np.nan  # seed 2 did not answer prompt 5
    assert_allclose(found.without_cell[2, 5], np.nanmean(holed, axis=2).mean(0))


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "new", "message"),
    [
        ([np.zeros((1, 11, 8))], False, r"\(S, P, X, M\)"),
        ([np.zeros((1, 0, 8, 2))], False, r"\(S, P, X, M\)"),
        ([np.zeros((1, 11, 7, 2))], False, "7 prompts are too few"),
        ([np.zeros((1, 11, 8, 2))], True, "run 0 has one seed"),
        ([np.zeros((2, 11, 8, 2)), np.zeros((1, 11, 8, 2))], True, "run 1 has one seed"),
        ([np.zeros((1, 11, 8, 2)), np.zeros((1, 11, 9, 2))], False, "same prompts"),
        ([], False, "same prompts"),
    ],
)
def test_scores_are_checked(runs, new, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(runs, samples=10, seed=0, new_seeds=new)


def test_a_score_that_is_not_finite_is_named():
    run = scores()
    run[0, 3, 5, 1] = np.nan
    with pytest.raises(ValueError, match=r"run 1 must be finite.*\[0, 3, 5, 1\]"):
        bootstrap([scores(), run], samples=10, seed=0, new_seeds=False)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="at least 2 samples"):
        interval(scores(), volume, samples=1, **FIXED)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="level"):
            interval(scores(), volume, samples=2, **FIXED | {"level": level})
    with pytest.raises(ValueError, match="not finite on a resampled front"):
        interval(scores(), lambda front: float("nan"), samples=2, **FIXED)
    empty = Replicates(
        measured=np.zeros(()),
        resampled=np.zeros(3),
        without_cell=np.zeros((0, 0)),
        without_seed=np.zeros(0),
        prompts=8,
    )
    for number in (0, 3):
        with pytest.raises(ValueError, match="one or two runs"):
            interval_of([empty] * number, level=0.9, bias_corrected=True)
