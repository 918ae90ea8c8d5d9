from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gaussian_kde
from sklearn.metrics import auc, roc_auc_score, roc_curve

from mora.evaluation import distributions, pairwise


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def corners(x: np.ndarray, y: np.ndarray) -> set[tuple[float, float]]:
    return {(round(float(a), 12), round(float(b), 12)) for a, b in zip(x, y, strict=True)}


@pytest.mark.parametrize("digits", [1, 9])  # with ties and without
def test_roc_equals_scikit_learn(rng: np.random.Generator, digits: int) -> None:
    better, worse = rng.normal(0.7, 1, 90).round(digits), rng.normal(0, 1, 70).round(digits)
    scores, truth = np.concatenate([better, worse]), [1] * 90 + [0] * 70
    want = roc_curve(truth, scores, drop_intermediate=False)
    x, y = distributions.roc(better, worse)
    assert corners(x, y) == corners(want[0], want[1])
    assert distributions.area(x, y) == pytest.approx(roc_auc_score(truth, scores)) == pytest.approx(auc(x, y))


def test_the_area_below_the_roc_is_that_of_the_rank_statistic(rng: np.random.Generator) -> None:
    better, worse = rng.normal(0.4, 1, 60).round(1), rng.normal(0, 1, 60).round(1)
    area = distributions.area(*distributions.roc(better, worse))
    assert area == pytest.approx(pairwise.separation(better, worse)["auc"])


def test_roc_by_hand() -> None:
    # thresholds 3, 2, 1: above 3 one better answer of two; 2 is shared by one of each side; 1 is worse
    x, y = distributions.roc(np.array([3.0, 2.0]), np.array([2.0, 1.0]))
    assert x.tolist() == [0.0, 0.0, 0.5, 1.0] and y.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert distributions.area(x, y) == pytest.approx(0.875)
    with pytest.raises(ValueError, match="scores of both sides"):
        distributions.roc(np.array([]), np.array([1.0]))


def test_heights_of_a_roc_curve_by_hand() -> None:
    curve = np.array([0.0, 0.0, 0.5, 0.5, 1.0]), np.array([0.0, 0.2, 0.6, 0.8, 1.0])
    found = distributions.at_rates(curve, np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert found == pytest.approx([0.2, 0.4, 0.8, 0.9, 1.0])  # where it rises, the top


def test_means_of_roc_curves_keep_their_mean_area(rng: np.random.Generator) -> None:
    seeds = [(rng.normal(0.5, 1, 40), rng.normal(0, 1, 40)) for _ in range(3)]
    grid = np.linspace(0, 1, 4001)
    mean = np.mean([distributions.at_rates(distributions.roc(*one), grid) for one in seeds], axis=0)
    areas = [pairwise.separation(*one)["auc"] for one in seeds]
    assert distributions.area(grid, mean) == pytest.approx(np.mean(areas), abs=2e-3)


def test_density_equals_scipy(rng: np.random.Generator) -> None:
    sample = rng.gamma(2, 1, 300)
    grid = np.linspace(-1, 9, 50)
    found = distributions.kernel_density(sample, grid, distributions.scott(sample))
    assert found == pytest.approx(gaussian_kde(sample, bw_method="scott")(grid))


def test_a_density_in_pieces_is_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    sample, grid = rng.normal(size=101), np.linspace(-3, 3, 7)
    whole = distributions.kernel_density(sample, grid, 0.3)
    monkeypatch.setattr(distributions, "ENTRIES_AT_ONCE", 70)
    assert distributions.kernel_density(sample, grid, 0.3) == pytest.approx(whole)


def test_the_grid_holds_all_of_every_density(rng: np.random.Generator) -> None:
    samples = [rng.normal(0, 1, 80), rng.normal(5, 0.5, 50)]
    grid = distributions.common_grid(samples, 0.4, 400)
    assert grid[0] == pytest.approx(min(samples[0].min(), samples[1].min()) - 1.2)
    for sample in samples:
        assert distributions.area(grid, distributions.kernel_density(sample, grid, 0.4)) == pytest.approx(1, abs=2e-3)


def test_scott_and_what_has_no_bandwidth() -> None:
    sample = np.array([1.0, 3.0, 5.0])
    assert distributions.scott(sample) == pytest.approx(3 ** (-0.2) * 2.0)
    assert distributions.scott(np.ones(5)) == 0.0 == distributions.scott(np.array([1.0]))
    for wrong in ((np.array([]), 1.0), (sample, 0.0)):
        with pytest.raises(ValueError, match="a density needs"):
            distributions.kernel_density(wrong[0], sample, wrong[1])


def test_a_histogram_has_the_area_of_a_density(rng: np.random.Generator) -> None:
    sample, edges = rng.normal(size=200), np.array([-5.0, -1.0, 0.0, 0.5, 5.0])
    found = distributions.histogram(sample, edges)
    assert found == pytest.approx(np.histogram(sample, edges, density=True)[0])
    assert (found * np.diff(edges)).sum() == pytest.approx(1)


def test_risk_curve_by_hand_and_its_area(rng: np.random.Generator) -> None:
    doubt, credit = np.array([0.3, 0.1, 0.9, 0.7]), np.array([1.0, 1.0, 1.0, 0.0])
    coverage, risk = distributions.risk_curve(doubt, credit, 10)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0] and risk == pytest.approx([0, 0, 1 / 3, 1 / 4])
    doubt, credit = rng.random(500).round(2), (rng.random(500) < 0.7).astype(float)
    _, risk = distributions.risk_curve(doubt, credit, 500)
    assert risk.mean() == pytest.approx(pairwise.risk_coverage(doubt, credit)["aurc"])
    coverage, few = distributions.risk_curve(doubt, credit, 11)
    assert len(few) == 11 and coverage[-1] == 1.0 and few[-1] == pytest.approx(1 - credit.mean())
    assert few == pytest.approx(risk[(coverage * 500).round().astype(int) - 1])
