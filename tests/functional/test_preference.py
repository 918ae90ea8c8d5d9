from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mora.errors import InputError
from mora.functional.preference import Sampler, checked, dirichlet, on_simplex

ROWS = torch.arange(40_000)


@pytest.mark.parametrize("concentration", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("objectives", [2, 6])
def test_dirichlet_has_the_mean_and_variance_of_the_closed_form(concentration, objectives):
    w = dirichlet(ROWS, objectives, concentration=concentration, seed=0, step=3).double().numpy()
    mean = 1 / objectives
    variance = mean * (1 - mean) / (objectives * concentration + 1)
    assert np.abs(w.mean(0) - mean).max() < 5 * np.sqrt(variance / len(w))
    fourth = ((w - mean) ** 4).mean(0)  # standard error of a variance: sqrt((fourth - variance^2) / n)
    assert (np.abs(w.var(0) - variance) < 5 * np.sqrt((fourth - variance**2) / len(w))).all()
    covariance = np.cov(w.T)[0, 1]  # -1 / (M^2 (M c + 1))
    assert covariance == pytest.approx(-(mean**2) / (objectives * concentration + 1), rel=0.06)


@pytest.mark.parametrize("concentration", [0.3, 1.0, 5.0])
def test_the_first_of_two_weights_is_beta_distributed(concentration):
    w = dirichlet(ROWS, 2, concentration=concentration, seed=1, step=0)[:, 0].double().numpy()
    assert stats.kstest(w, stats.beta(concentration, concentration).cdf).pvalue > 1e-3


@pytest.mark.parametrize("objectives", [1, 2, 6])
@pytest.mark.parametrize("unit", ["row", "group", "sample", "batch"])
def test_preferences_lie_on_the_simplex_whatever_the_number_of_objectives(objectives, unit):
    sampler = Sampler(unit=unit, vertex_probability=0.3, concentration=0.05)
    drawn = sampler(ROWS[:500], ROWS[:500] // 4, ROWS[:500] % 4, objectives, seed=0, step=0)
    assert drawn.shape == (500, objectives) and drawn.dtype == torch.float32
    assert on_simplex(drawn)
    if objectives == 1:
        assert bool((drawn == 1).all())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_vertices_come_with_their_probability_and_equally_often(share):
    drawn = Sampler(unit="row", vertex_probability=share, concentration=1.0)(ROWS, ROWS, ROWS, 3, seed=0, step=0)
    corner = (drawn == 1).any(-1)
    assert float(corner.float().mean()) == pytest.approx(share, abs=5 * (0.25 / len(ROWS)) ** 0.5)
    if share > 0:
        counts = drawn[corner].sum(0).numpy()
        assert stats.chisquare(counts).pvalue > 1e-3


def test_a_unit_says_which_rows_share_a_preference():
    rows, groups = torch.arange(12), torch.arange(12) // 4

    def distinct(unit):
        sampler = Sampler(unit=unit, vertex_probability=0.0, concentration=1.0)
        return sampler(rows, groups, rows % 4, 2, seed=0, step=0)

    assert len(distinct("row").unique(dim=0)) == 12
    by_group = distinct("group")
    assert len(by_group.unique(dim=0)) == 3
    assert torch.equal(by_group, by_group[::4].repeat_interleave(4, dim=0))
    by_sample = distinct("sample")  # the n-th answers to all prompts
    assert len(by_sample.unique(dim=0)) == 4 and torch.equal(by_sample, by_sample[:4].repeat(3, 1))
    assert len(distinct("batch").unique(dim=0)) == 1


@pytest.mark.parametrize("unit", ["row", "group", "sample", "batch"])
def test_a_row_has_its_preference_in_any_batch_and_a_new_one_at_each_step(unit):
    sampler = Sampler(unit=unit, vertex_probability=0.3, concentration=1.0)
    whole = sampler(ROWS[:32], ROWS[:32] // 4, ROWS[:32] % 4, 2, seed=0, step=5)
    for start in range(0, 32, 8):
        part = slice(start, start + 8)
        assert torch.equal(sampler(ROWS[part], ROWS[part] // 4, ROWS[part] % 4, 2, seed=0, step=5), whole[part])
    assert not torch.equal(sampler(ROWS[:32], ROWS[:32] // 4, ROWS[:32] % 4, 2, seed=0, step=6), whole)
    assert not torch.equal(sampler(ROWS[:32], ROWS[:32] // 4, ROWS[:32] % 4, 2, seed=1, step=5), whole)


@pytest.mark.parametrize(
    ("key", "value"),
    [("vertex_probability", 1.5), ("vertex_probability", -0.1), ("concentration", 0.0)],
)
def test_a_sampler_refuses_what_has_no_meaning(key, value):
    fields = {"unit": "row", "vertex_probability": 0.3, "concentration": 1.0} | {key: value}
    with pytest.raises(InputError, match=f"preference.{key}"):
        Sampler(**fields)


def test_one_preference_or_a_list_of_them_is_read():
    assert checked([0.25, 0.75], ["a", "b"], "preference").tolist() == [[0.25, 0.75]]
    assert checked([[1, 0], [0, 1]], ["a", "b"], "preference").tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([0.5, 0.5, 0.0], "give 2 weights, one for each of a, b"),
        ([], "give 2 weights"),
        ([0.5, "x"], "give 2 weights"),
        ([1.5, -0.5], "must not be negative"),
        ([0.5, 0.6], "must sum to 1, not 1.1"),
        ([float("nan"), 1.0], "must sum to 1"),
        ([[1, 0], [1]], r"preference=\[1\]: give 2 weights"),
    ],
)
def test_what_is_no_preference_is_refused_under_its_key(given, reason):
    with pytest.raises(InputError, match=reason) as refused:
        checked(given, ["a", "b"], "preference")
    assert str(refused.value).startswith("preference=")


@pytest.mark.parametrize("row", [[0.5, 0.6], [1.5, -0.5], [float("nan"), 1.0], [float("inf"), 0.0]])
def test_what_is_off_the_simplex(row):
    assert not on_simplex(torch.tensor([[0.5, 0.5], row]))
