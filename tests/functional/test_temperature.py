from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from mora.functional.margins import bradley_terry_loss
from mora.functional.temperature import LEAST_LOGITS, MOST_LOGITS, at_a_bound, fit_temperature

FP64 = torch.float64


def drawn(pairs: int, *, temperature: float, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """Margins, and hard labels drawn with probability sigma(margin / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    margins = torch.randn(pairs, generator=generator, dtype=FP64) * spread
    uniform = torch.rand(pairs, generator=generator, dtype=FP64)
    return margins, (uniform < (margins / temperature).sigmoid()).double()


def loss(margins: Tensor, labels: Tensor, temperature: float) -> float:
    return bradley_terry_loss(margins / temperature, torch.zeros_like(margins), labels, margin=0.0).mean().item()


def by_scipy(margins: Tensor, labels: Tensor) -> float:
    scale = margins.abs().mean().item()
    bounds = (math.log(scale / MOST_LOGITS), math.log(scale / LEAST_LOGITS))
    found = minimize_scalar(
        lambda u: loss(margins, labels, math.exp(u)), bounds=bounds, method="bounded", options={"xatol": 1e-10}
    )
    return math.exp(found.x)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_temperature_minimizes_the_loss_as_scipy_does(temperature: float, spread: float) -> None:
    margins, labels = drawn(400, temperature=temperature, spread=spread * temperature, seed=0)
    assert math.isclose(fit_temperature(margins, labels), by_scipy(margins, labels), rel_tol=1e-6)


def test_probabilities_as_labels_give_their_temperature_exactly() -> None:
    # The expected loss of sigma(m / T) under labels sigma(m / 2.5) is least at T = 2.5.
    margins = torch.linspace(-8, 9, 41, dtype=FP64)
    assert math.isclose(fit_temperature(margins, (margins / 2.5).sigmoid()), 2.5, rel_tol=1e-10)


def test_low_precision_input_is_computed_in_float64() -> None:
    margins, labels = drawn(300, temperature=1.0, spread=2.0, seed=3)
    want = fit_temperature(margins.float().double(), labels)
    assert math.isclose(fit_temperature(margins.float(), labels.float()), want, rel_tol=1e-10)


def test_one_pair_that_decides_far_in_the_tail() -> None:
    # Only the first margin counts, so sigma(1e4 / T) is its label.  The search begins at sigma(1e4): flat in fp64.
    margins, labels = torch.zeros(10000, dtype=FP64), torch.full((10000,), 0.5, dtype=FP64)
    margins[0], labels[0] = 1e4, 1 - 2.0**-50
    log_odds = math.log(labels[0].item() / (1 - labels[0].item()))
    assert math.isclose(fit_temperature(margins, labels), 1e4 / log_odds, rel_tol=1e-10)


def test_calibrated_margins_have_temperature_one() -> None:
    # At T = 1 the information on 1 / T is n E[m^2 s(1 - s)] = 20000 * 0.43 for margins of spread 2: error 0.011.
    margins, labels = drawn(20000, temperature=1.0, spread=2.0, seed=1)
    assert abs(fit_temperature(margins, labels) - 1.0) < 0.05


def test_temperature_scales_with_the_margins_and_ignores_the_order_of_answers() -> None:
    margins, labels = drawn(300, temperature=1.0, spread=2.0, seed=2)
    temperature = fit_temperature(margins, labels)
    assert math.isclose(fit_temperature(1e4 * margins, labels), 1e4 * temperature, rel_tol=1e-9)
    assert math.isclose(fit_temperature(-margins, 1 - labels), temperature, rel_tol=1e-9)


def test_heavy_tails_do_not_stop_the_search() -> None:
    for seed in range(20):
        generator = np.random.default_rng(seed)
        margins = torch.tensor(generator.standard_t(df=1, size=50))
        labels = torch.tensor(generator.uniform(size=50))
        temperature = fit_temperature(margins, labels)
        assert loss(margins, labels, temperature) <= loss(margins, labels, by_scipy(margins, labels)) + 1e-12, seed


def test_pairs_that_are_all_right_stop_at_the_lowest_temperature() -> None:
    margins = torch.tensor([2.0, -4.0, 6.0], dtype=FP64)  # mean absolute value 4
    assert math.isclose(fit_temperature(margins, (margins > 0).double()), 4 / MOST_LOGITS)


def test_margins_that_carry_nothing_stop_at_the_highest_temperature() -> None:
    margins = torch.tensor([2.0, -4.0, 6.0], dtype=FP64)
    highest = 4 / LEAST_LOGITS
    assert math.isclose(fit_temperature(margins, torch.full((3,), 0.5)), highest)
    assert math.isclose(fit_temperature(margins, (margins < 0).double()), highest)
    assert fit_temperature(torch.zeros(3), torch.tensor([1.0, 0.0, 1.0])) == 1.0


def test_bad_input_is_refused() -> None:
    for margins, labels in ((torch.zeros(3), torch.zeros(2)), (torch.zeros(2, 2), torch.zeros(2, 2))):
        with pytest.raises(ValueError, match=r"\(n,\)"):
            fit_temperature(margins, labels)
    with pytest.raises(ValueError, match="n > 0"):
        fit_temperature(torch.zeros(0), torch.zeros(0))
    for label in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="labels"):
            fit_temperature(torch.ones(1), torch.tensor([label]))
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(torch.tensor([math.inf]), torch.ones(1))


def test_a_temperature_at_the_end_of_its_range_is_said_to_be() -> None:
    margins = torch.tensor([1.0, -2.0, 3.0, -4.0])
    right, wrong, mixed = (margins > 0).double(), (margins < 0).double(), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert "right on every pair" in str(at_a_bound(margins, fit_temperature(margins, right)))
    assert "say nothing" in str(at_a_bound(margins, fit_temperature(margins, wrong)))
    assert at_a_bound(margins, fit_temperature(margins, mixed.double())) is None
