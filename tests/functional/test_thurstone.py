from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_expit
from scipy.stats import norm
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora.functional.margins import label_loss
from mora.functional.thurstone import (
    MIN_SCALE,
    anchor_classes,
    anchor_log_probabilities,
    logistic_log_likelihood,
    normal_atoms,
    positive_scale,
    probit_log_likelihood,
    scale_bias,
    scale_loss,
)

LIKELIHOODS = [probit_log_likelihood, logistic_log_likelihood]


def pairs(count: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Locations of deviation 4 and scales of 0.1 to 5, of answer 1 and answer 0."""
    generator = torch.Generator().manual_seed(0)
    location = torch.randn(2, count, generator=generator, dtype=dtype) * 4
    scale = torch.rand(2, count, generator=generator, dtype=dtype) * 4.9 + 0.1
    return location[0], location[1], scale[0], scale[1]


def test_scales_are_positive_and_start_where_asked() -> None:
    raw = torch.tensor([-60.0, 0.0, scale_bias(0.7)], dtype=torch.float64)
    # softplus(0) = ln 2
    want = torch.tensor([MIN_SCALE, math.log(2) + MIN_SCALE, 0.7], dtype=torch.float64)
    torch.testing.assert_close(positive_scale(raw), want)
    with pytest.raises(ValueError, match="least one"):
        scale_bias(MIN_SCALE)


@pytest.mark.parametrize("log_likelihood", LIKELIHOODS)
def test_both_outcomes_sum_to_one(log_likelihood) -> None:
    location_1, location_0, scale_1, scale_0 = pairs()
    scale_1[0] = scale_0[0] = 50.0  # where the quadrature is coarse as well
    total = (
        log_likelihood(location_1, location_0, scale_1, scale_0).exp()
        + log_likelihood(location_0, location_1, scale_0, scale_1).exp()
    )
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_probit_equals_scipy() -> None:
    location_1, location_0, scale_1, scale_0 = pairs()
    want = norm.logcdf((location_1 - location_0).numpy(), scale=torch.hypot(scale_1, scale_0).numpy())
    np.testing.assert_allclose(probit_log_likelihood(location_1, location_0, scale_1, scale_0), want, rtol=1e-12)


def test_probit_leaves_the_unit_open_and_logistic_does_not() -> None:
    location_1, location_0, scale_1, scale_0 = pairs()
    once = [f(location_1, location_0, scale_1, scale_0) for f in LIKELIHOODS]
    twice = [f(2 * location_1, 2 * location_0, 2 * scale_1, 2 * scale_0) for f in LIKELIHOODS]
    torch.testing.assert_close(twice[0], once[0])
    assert (twice[1] - once[1]).abs().max() > 0.1


def integral(difference: float, spread: float) -> float:
    """``log E sigma(difference + spread eps)`` by adaptive integration."""
    points = [min(max(-difference / spread, -11.0), 11.0)]  # where the sigmoid turns
    value, _ = quad(
        lambda x: math.exp(log_expit(difference + spread * x)) * norm.pdf(x),
        -12,
        12,
        points=points,
        epsabs=0,
        epsrel=1e-10,
        limit=200,
    )
    return math.log(value)


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0, 5.0])
def test_logistic_equals_an_adaptive_integral(scale: float) -> None:
    differences = [-30.0, -8.0, -1.0, 0.0, 0.3, 5.0, 30.0]
    want = [integral(difference, math.hypot(scale, scale)) for difference in differences]
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 4e-6)):
        location = torch.tensor(differences, dtype=dtype)
        both = torch.full_like(location, scale)
        got = logistic_log_likelihood(location, torch.zeros_like(location), both, both)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def test_logistic_without_a_scale_is_bradley_terry() -> None:
    location_1, location_0, *_ = pairs()
    nothing = torch.zeros_like(location_1)
    got = logistic_log_likelihood(location_1, location_0, nothing, nothing)
    torch.testing.assert_close(got, logsigmoid(location_1 - location_0), rtol=0, atol=1e-13)
    # To second order P = sigma(D) + s^2 sigma''(D) / 2; sigma''(1) = sigma(1) sigma(-1) (1 - 2 sigma(1)) = -0.09086.
    one = torch.ones((), dtype=torch.float64)
    moved = logistic_log_likelihood(one, 0 * one, 0.01 * one, 0 * one).exp() - torch.sigmoid(one)
    assert moved.item() == pytest.approx(-0.09086 * 1e-4 / 2, rel=1e-3)


@pytest.mark.parametrize("log_likelihood", LIKELIHOODS)
@pytest.mark.parametrize("scale", [MIN_SCALE, 1.0, 5.0])
@pytest.mark.parametrize("difference", [-30.0, 30.0])
def test_values_and_gradients_in_single_precision_are_those_in_double(log_likelihood, scale, difference) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        given = torch.tensor([difference, 0.0, scale, scale], dtype=dtype, requires_grad=True)
        value = log_likelihood(*given)
        (slope,) = torch.autograd.grad(value, given)
        assert value.dtype == slope.dtype == dtype
        assert value.isfinite() and slope.isfinite().all()
        found.append((value.detach().double(), slope.double()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=2e-6)


def test_low_precision_input_is_computed_in_float32() -> None:
    low = [side.bfloat16() for side in pairs()]
    for log_likelihood in LIKELIHOODS:
        got = log_likelihood(*low)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, log_likelihood(*(side.double() for side in low)).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("location", [-40.0, -3.0, -1.0, 0.0, 0.4, 1.0, 40.0])
@pytest.mark.parametrize("scale", [MIN_SCALE, 0.3, 1.0, 30.0])
def test_anchor_classes_have_the_mass_of_the_normal(location: float, scale: float) -> None:
    given = torch.tensor([location, scale], dtype=torch.float64, requires_grad=True)
    found = anchor_log_probabilities(*given)
    # the mass between by integration from the highest density on
    peak = min(max(location, -1.0), 1.0)
    reach = 40 * (min(scale, scale**2 / abs(location - peak)) if location != peak else scale)
    height = -(((peak - location) / scale) ** 2) / 2
    inside, _ = quad(
        lambda x: math.exp(-(((x - location) / scale) ** 2) / 2 - height),
        max(-1.0, peak - reach),
        min(1.0, peak + reach),
        points=[peak],
        epsabs=0,
        epsrel=1e-12,
    )
    want = [
        norm.logcdf((-1 - location) / scale),
        math.log(inside) + height - math.log(2 * math.pi) / 2 - math.log(scale),
        norm.logcdf((location - 1) / scale),
    ]
    np.testing.assert_allclose(found.detach(), want, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), given)
    assert slope.isfinite().all()


def test_anchor_classes_sum_to_one_and_mirror() -> None:
    location, _, scale, _ = pairs()
    found = anchor_log_probabilities(location, scale)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones_like(location), rtol=0, atol=1e-12)
    torch.testing.assert_close(anchor_log_probabilities(-location, scale), found.flip(-1))
    assert anchor_log_probabilities(location.bfloat16(), scale.bfloat16()).dtype == torch.float32
    ratings = torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0])
    assert anchor_classes(ratings, [1.0, 2.0]).tolist() == [0, 1, 1, 2, 2]  # a cut belongs to the class above


def test_thurstone_keeps_its_gradient_in_the_tail_where_the_logarithm_of_phi_loses_it() -> None:
    slopes = []
    for log_phi in (
        lambda x: probit_log_likelihood(x, 0 * x, 0 * x + 0.6, 0 * x + 0.8),
        lambda x: torch.special.ndtr(x).log(),
    ):
        lead = torch.tensor(-40.0, requires_grad=True)
        log_phi(lead).backward()
        slopes.append(lead.grad)
    assert slopes[0].item() == pytest.approx(40.0, rel=1e-3)  # the hazard of the normal at 40 is 40.02
    assert not (slopes[1].isfinite() and slopes[1] > 0)


def test_scale_loss_by_hand() -> None:
    # log^2 e + log^2 (1/e^2) = 1 + 4; least at scales of 1
    e = torch.tensor(math.e, dtype=torch.float64)
    assert scale_loss(e, e**-2).item() == pytest.approx(5.0)
    assert scale_loss(torch.ones(()), torch.ones(())).item() == 0.0


@pytest.mark.parametrize("count", [2, 3, 9, 20])
def test_atoms_have_the_mean_and_the_deviation_exactly(count: int) -> None:
    location, _, scale, _ = pairs()
    atoms = normal_atoms(location, scale, count=count)
    torch.testing.assert_close(atoms.mean(-1), location, rtol=0, atol=1e-13)
    torch.testing.assert_close(atoms.std(-1, correction=0), scale)
    assert (atoms.diff(dim=-1) > 0).all()


def test_many_atoms_are_the_quantiles_of_the_normal() -> None:
    atoms = normal_atoms(torch.tensor(1.0).double(), torch.tensor(2.0).double(), count=2000)
    middle = slice(100, 1900)
    want = norm.ppf((np.arange(2000) + 0.5) / 2000, loc=1.0, scale=2.0)
    np.testing.assert_allclose(atoms[middle], want[middle], atol=2e-3)
    with pytest.raises(ValueError, match="at least 2"):
        normal_atoms(torch.zeros(()), torch.ones(()), count=1)


def purm(location_1: Tensor, location_0: Tensor, scale_1: Tensor, scale_0: Tensor) -> Tensor:
    """PURM's released form, which is no likelihood, here without the noise of its samples: ``E log sigma(D + s eps)``.

    The logarithm is inside the mean, and variances (there exp of a raw output) are squared as if they were deviations.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    x, w = torch.tensor(nodes), torch.tensor(weights / weights.sum())
    spread = torch.hypot(scale_1.square(), scale_0.square())
    return (logsigmoid((location_1 - location_0)[:, None] + spread[:, None] * x) * w).sum(-1)


def fitted(log_wins, log_likelihood, *, penalty: float) -> tuple[float, float, float, float]:
    """Mean fitted scales of items whose true scales are 0.3 and 3.0, the loss, and the same loss at the truth.

    Sixty items, all pairs, labelled with the exact win probability under ``log_likelihood``, which is what infinitely
    many comparisons would give, since losses are linear in the label.
    """
    items = 60
    true_scale = torch.tensor([0.3, 3.0], dtype=torch.float64).repeat(items // 2)
    true_location = torch.linspace(-2, 2, items, dtype=torch.float64)
    i, j = torch.triu_indices(items, items, offset=1)
    label = log_likelihood(true_location[i], true_location[j], true_scale[i], true_scale[j]).exp()

    def loss_at(location: Tensor, scale: Tensor) -> Tensor:
        pair = location[i], location[j], scale[i], scale[j]
        back = location[j], location[i], scale[j], scale[i]
        loss = label_loss(log_wins(*pair), log_wins(*back), label) + 1e-4 * (pair[0] + pair[1]).square()
        return (loss + penalty * scale_loss(pair[2], pair[3])).mean()

    raw = torch.tensor([0.0, scale_bias(1.0)], dtype=torch.float64).repeat(items, 1).requires_grad_()
    optimizer = torch.optim.LBFGS([raw], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_at(raw[:, 0], positive_scale(raw[:, 1]))
        loss.backward()
        return loss

    optimizer.step(closure)
    scale = positive_scale(raw[:, 1]).detach()
    last = loss_at(raw[:, 0], scale).item()
    return scale[0::2].mean().item(), scale[1::2].mean().item(), last, loss_at(true_location, true_scale).item()


@pytest.mark.parametrize("log_likelihood", LIKELIHOODS)
def test_the_likelihood_recovers_two_scales(log_likelihood) -> None:
    small, large, last, truth = fitted(log_likelihood, log_likelihood, penalty=1e-3)
    assert last <= truth  # the minimum was found
    assert small < 0.8 and 2.0 < large < 3.5, (small, large)


def test_the_mean_of_logs_collapses_the_scales() -> None:
    small, large, last, truth = fitted(purm, logistic_log_likelihood, penalty=0.0)
    assert last < truth  # it prefers no spread to the true one
    assert small < 0.05 and large < 0.05, (small, large)
