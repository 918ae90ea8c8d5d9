from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional import risk
from mora.functional.quantile import midpoint_levels
from mora.types import BeliefKind, RewardBelief


def belief(atoms: list[float], weights: list[float] | None = None, kind: BeliefKind = "member") -> RewardBelief:
    values = torch.tensor([[atoms]], dtype=torch.float64)
    mass = (
        torch.full_like(values, 1 / len(atoms)) if weights is None else torch.tensor([[weights]], dtype=torch.float64)
    )
    return RewardBelief(atoms=values, weights=mass, kind=kind)


def random_belief(size: int = 7) -> RewardBelief:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(20, 3, size, generator=generator, dtype=torch.float64)
    weights = torch.rand(20, 3, size, generator=generator, dtype=torch.float64)
    return RewardBelief(atoms=atoms, weights=weights / weights.sum(-1, keepdim=True), kind="member")


UNORDERED = belief([3.0, 1.0, 2.0, 10.0], [0.2, 0.1, 0.3, 0.4])  # ascending: 1 (.1), 2 (.3), 3 (.2), 10 (.4)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (risk.mean, 5.3),  # .1 + .6 + .6 + 4
        (risk.minimum, 1.0),
        (partial(risk.quantile, level=0.05), 1.0),
        (partial(risk.quantile, level=0.4), 2.0),  # the weight reaches .1 + .3 = .4 at 2
        (partial(risk.quantile, level=0.41), 3.0),
        (partial(risk.quantile, level=0.9), 10.0),
        (partial(risk.cvar, alpha=0.05), 1.0),
        (partial(risk.cvar, alpha=0.2), 1.5),  # (.1 * 1 + .1 * 2) / .2
        (partial(risk.cvar, alpha=0.5), 2.0),  # (.1 * 1 + .3 * 2 + .1 * 3) / .5
        (partial(risk.cvar, alpha=1.0), 5.3),
    ],
)
def test_weighted_atoms_by_hand(function: Callable[[RewardBelief], Tensor], want: float) -> None:
    assert function(UNORDERED).shape == (1, 1)
    assert function(UNORDERED).item() == pytest.approx(want)


def test_deviation_forms_by_hand() -> None:
    two = belief([1.0, 3.0])  # mean 2, variance 1
    assert risk.spread(two).item() == pytest.approx(1.0)
    assert risk.lcb(two, k=0.5).item() == pytest.approx(1.5)
    four = belief([0.0, 4.0])  # mean 2, deviation 2, variance 4: the two forms differ
    assert risk.lcb(four, k=0.5).item() == pytest.approx(1.0)
    assert risk.uwo(four, coefficient=0.5).item() == pytest.approx(0.0)


def test_cvar_equals_the_integral_of_the_quantile_function() -> None:
    sample = random_belief()
    levels = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 * 0.35
    atoms, order = sample.atoms.sort(-1)
    reached = sample.weights.gather(-1, order).cumsum(-1)
    index = torch.searchsorted(reached.contiguous(), levels.expand(20, 3, -1).contiguous())
    integral = atoms.gather(-1, index).mean(-1)  # brute force
    torch.testing.assert_close(risk.cvar(sample, alpha=0.35), integral, atol=2e-4, rtol=0)


def test_limits() -> None:
    sample = random_belief()
    least, expectation = risk.minimum(sample), risk.mean(sample)
    torch.testing.assert_close(risk.cvar(sample, alpha=1.0), expectation)
    torch.testing.assert_close(risk.cvar(sample, alpha=1e-9), least)
    torch.testing.assert_close(risk.entropic(sample, beta=1e6), expectation, atol=1e-5, rtol=0)
    torch.testing.assert_close(risk.entropic(sample, beta=1e-4), least, atol=1e-2, rtol=0)
    torch.testing.assert_close(risk.lcb(sample, k=0.0), expectation)
    middle = risk.entropic(sample, beta=1.0)
    assert ((least < middle) & (middle < expectation)).all()


def test_entropic_is_uncertainty_weighted_to_second_order() -> None:
    # The cumulant series goes on with the third cumulant over 6 beta^2: doubling beta divides the error by 4.
    sample = random_belief()

    def error(beta: float) -> float:
        difference = risk.entropic(sample, beta=beta) - risk.uwo(sample, coefficient=1 / (2 * beta))
        return difference.abs().max().item()

    assert error(50.0) / error(100.0) == pytest.approx(4.0, rel=0.05)


def test_entropic_does_not_overflow() -> None:
    assert risk.entropic(belief([-1e4, 1e4]), beta=0.05).item() == pytest.approx(-1e4, rel=1e-4)


def test_one_atom_is_its_own_reward_under_every_risk() -> None:
    one = belief([1.7], kind="point")
    for function in (
        risk.mean,
        risk.minimum,
        partial(risk.quantile, level=0.3),
        partial(risk.cvar, alpha=0.1),
        partial(risk.lcb, k=2.0),
        partial(risk.uwo, coefficient=2.0),
        partial(risk.entropic, beta=0.1),
    ):
        assert function(one).item() == pytest.approx(1.7)


def test_an_atom_without_weight_is_no_minimum() -> None:
    assert risk.minimum(belief([-5.0, 1.0, 2.0], [0.0, 0.5, 0.5])).item() == 1.0
    assert risk.entropic(belief([-5.0, 1.0, 1.0], [0.0, 0.5, 0.5]), beta=0.1).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("function", "key"),
    [
        (partial(risk.cvar, alpha=0.0), "alpha"),
        (partial(risk.cvar, alpha=1.5), "alpha"),
        (partial(risk.quantile, level=1.0), "level"),
        (partial(risk.entropic, beta=0.0), "beta"),
        (partial(risk.lcb, k=-1.0), "risk.k"),
        (partial(risk.uwo, coefficient=-1.0), "coefficient"),
    ],
)
def test_parameters_out_of_range_are_refused_before_and_in_use(function: risk.Risk, key: str) -> None:
    with pytest.raises(InputError, match=key):
        risk.check(function, "member", 4, None)
    with pytest.raises(InputError, match=key):
        function(UNORDERED)


def test_missing_parameter_is_refused() -> None:
    with pytest.raises(InputError, match=r"risk\.alpha"):
        risk.check(risk.cvar, "member", 4, None)  # type: ignore[arg-type]


def test_cvar_of_midpoints_is_accepted_and_of_inner_levels_refused() -> None:
    tail = partial(risk.cvar, alpha=0.1)
    assert risk.check(tail, "quantile", 20, midpoint_levels(20)) == []
    inner = tuple(k / 10 for k in range(1, 10))
    with pytest.raises(InputError, match="no atom carries the mass below"):
        risk.check(tail, "quantile", 9, inner)
    with pytest.raises(InputError, match="tails"):
        risk.check(partial(risk.entropic, beta=1.0), "quantile", 9, inner)
    with pytest.raises(InputError, match="only cover"):
        risk.check(partial(risk.quantile, level=0.05), "quantile", 9, inner)
    assert risk.check(partial(risk.quantile, level=0.2), "quantile", 9, inner) == []
    assert risk.check(risk.mean, "quantile", 9, inner) == []
    with pytest.raises(InputError, match="levels"):
        risk.check(risk.mean, "quantile", 9, None)


def test_coincidences_are_said() -> None:
    assert "risk=min" in risk.check(partial(risk.cvar, alpha=0.1), "member", 3, None)[0]  # .1 * 3 <= 1
    assert "risk=min" in risk.check(partial(risk.cvar, alpha=0.1), "member", 10, None)[0]
    assert risk.check(partial(risk.cvar, alpha=0.1), "member", 11, None) == []
    assert "risk=mean" in risk.check(partial(risk.cvar, alpha=1.0), "member", 5, None)[0]
    assert "risk=mean" in risk.check(partial(risk.lcb, k=1.0), "point", 1, None)[0]
    assert "risk=min" in risk.check(partial(risk.quantile, level=0.1), "member", 5, None)[0]
    assert risk.check(risk.mean, "point", 1, None) == []


def test_what_is_said_to_coincide_does() -> None:
    sample = belief([3.0, 1.0, 2.0])
    assert risk.cvar(sample, alpha=0.1).item() == risk.minimum(sample).item()
    assert risk.quantile(sample, level=1 / 3).item() == risk.minimum(sample).item()


def test_a_foreign_risk_is_not_judged() -> None:
    assert risk.check(lambda one: one.atoms[..., 0], "quantile", 9, (0.5,) * 9) == []
