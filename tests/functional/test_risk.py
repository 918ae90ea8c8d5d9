from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
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


# --- the median -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 20])
def test_the_median_of_atoms_of_one_weight_is_that_of_numpy(size: int) -> None:
    atoms = torch.randn(50, 2, size, generator=torch.Generator().manual_seed(size))
    sample = RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 1 / size), kind="member")
    torch.testing.assert_close(risk.median(sample), torch.from_numpy(np.median(atoms.numpy(), axis=-1)))


def test_the_weighted_median_by_hand() -> None:
    # Ascending: 1 (.1), 2 (.3), 3 (.2), 10 (.4): half of the mass is passed within 3.
    assert risk.median(UNORDERED).item() == 3.0
    # 1 (.2), 2 (.3), 7 (.5): at 2 exactly half is reached, so the middle of 2 and 7; an atom without weight between
    # them or beside them is not there.
    assert risk.median(belief([7.0, 2.0, 1.0], [0.5, 0.3, 0.2])).item() == 4.5
    assert risk.median(belief([7.0, 5.0, 2.0, 1.0, 0.0], [0.5, 0.0, 0.3, 0.2, 0.0])).item() == 4.5


def test_the_median_turns_with_the_sign() -> None:
    sample = random_belief()
    turned = RewardBelief(atoms=-sample.atoms, weights=sample.weights, kind="member")
    assert torch.equal(risk.median(turned), -risk.median(sample))


# --- oracles, in the precision that rewards have ----------------------------------------------------------------------


def single(size: int = 9) -> RewardBelief:
    """Weighted atoms in fp32, as a scorer gives them."""
    sample = random_belief(size)
    return RewardBelief(atoms=sample.atoms.float(), weights=sample.weights.float(), kind="member")


def test_cvar_of_1_is_the_mean_and_toward_0_the_minimum_and_rises_between() -> None:
    sample = single()
    rising = torch.stack([risk.cvar(sample, alpha=alpha) for alpha in (1e-6, 0.05, 0.2, 0.5, 0.9, 1.0)])
    torch.testing.assert_close(rising[0], risk.minimum(sample))
    torch.testing.assert_close(rising[-1], risk.mean(sample))
    assert (rising.diff(dim=0) >= -1e-6).all() and (rising[-1] > rising[0]).all()


def test_entropic_of_infinity_is_the_mean_and_of_0_the_minimum_and_rises_between() -> None:
    sample = single()
    rising = torch.stack([risk.entropic(sample, beta=beta) for beta in (1e-6, 0.1, 0.5, 2.0, 10.0, 1e8)])
    torch.testing.assert_close(rising[0], risk.minimum(sample), atol=2e-5, rtol=0)
    torch.testing.assert_close(rising[-1], risk.mean(sample), atol=2e-6, rtol=0)
    assert (rising.diff(dim=0) > 0).all()


def test_entropic_is_the_mean_less_half_a_variance_per_beta_to_second_order() -> None:
    sample, mean = single(), risk.mean(single())
    variance = risk.spread(sample).square()
    first, second = (risk.entropic(sample, beta=beta) - mean + variance / (2 * beta) for beta in (20.0, 40.0))
    assert first.abs().max() < 0.02 * (variance / 40.0).max()  # what is left is of third order
    assert first.abs().max() > 1e-5  # and is there: the expansion is not the function
    torch.testing.assert_close(second, first / 4, atol=3e-5, rtol=0.1)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_weights_that_sum_to_1_but_for_rounding_leave_every_risk_within_the_atoms(size: int) -> None:
    atoms = torch.randn(30, 2, size, generator=torch.Generator().manual_seed(1))
    short = RewardBelief(atoms=atoms, weights=torch.full_like(atoms, (1 - 1e-6) / size), kind="member")
    for function in (
        risk.mean,
        risk.minimum,
        risk.median,
        partial(risk.quantile, level=1 - 1e-9),
        partial(risk.cvar, alpha=1.0),
        partial(risk.entropic, beta=1e6),
    ):
        value = function(short)
        assert (value >= atoms.amin(-1) - 1e-5).all() and (value <= atoms.amax(-1) + 1e-5).all()
    assert torch.equal(risk.quantile(short, level=1 - 1e-9), atoms.amax(-1))  # and not the lowest atom


def test_a_level_below_the_tolerance_is_no_atom_without_weight() -> None:
    assert risk.quantile(belief([-5.0, 1.0, 2.0], [0.0, 0.5, 0.5]), level=1e-7).item() == 1.0


# --- fixed supports whose weights vary --------------------------------------------------------------------------------


def categories() -> RewardBelief:
    """Two answers over the support 0, 1, 2, 3: one surely 2, one spread."""
    support = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(2, 1, 4)
    weights = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.4, 0.1, 0.1, 0.4]])[:, None]
    return RewardBelief(atoms=support, weights=weights, kind="category")


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (risk.mean, (2.0, 1.5)),
        (risk.median, (2.0, 1.5)),  # half of the second lies at or below 1
        (partial(risk.quantile, level=0.45), (2.0, 1.0)),
        (partial(risk.cvar, alpha=0.5), (2.0, 0.2)),  # (.4 * 0 + .1 * 1) / .5
        (partial(risk.lcb, k=1.0), (2.0, 1.5 - math.sqrt(1.85))),  # .4 * 2.25 * 2 + .1 * .25 * 2
        (partial(risk.uwo, coefficient=0.5), (2.0, 1.5 - 0.925)),
        (
            partial(risk.entropic, beta=1.0),
            (2.0, -math.log(0.4 + 0.1 * math.exp(-1) + 0.1 * math.exp(-2) + 0.4 * math.exp(-3))),
        ),
    ],
)
def test_categories_by_hand(function: Callable[[RewardBelief], Tensor], want: tuple[float, float]) -> None:
    assert function(categories()).flatten().tolist() == pytest.approx(want)


def test_of_categories_the_minimum_means_nothing_and_nothing_coincides_by_count() -> None:
    with pytest.raises(InputError, match="all answers would be worth the same"):
        risk.check(risk.minimum, "category", 5, None)
    assert risk.check(partial(risk.cvar, alpha=0.1), "category", 5, None) == []
    assert risk.check(partial(risk.lcb, k=1.0), "category", 2, None) == []
    assert risk.check(partial(risk.entropic, beta=1.0), "category", 3, None) == []
    assert "answers tie" in risk.check(risk.median, "category", 2, None)[0]
    assert "risk=mean" in risk.check(partial(risk.cvar, alpha=1.0), "category", 5, None)[0]
    assert "risk=mean" in risk.check(risk.minimum, "category", 1, None)[0]


def test_more_coincidences_are_said() -> None:
    assert "risk=mean" in risk.check(risk.median, "member", 2, None)[0]
    assert "risk=mean" in risk.check(risk.median, "point", 1, None)[0]
    assert risk.check(risk.median, "member", 3, None) == []
    assert "highest" in risk.check(partial(risk.quantile, level=0.9), "member", 2, None)[0]
    assert risk.check(partial(risk.quantile, level=0.5), "member", 3, None) == []
    minimum, few = risk.check(partial(risk.lcb, k=1.0), "member", 2, None)
    assert "risk=minimum" in minimum and "4 or more" in few
    assert "4 or more" in risk.check(partial(risk.uwo, coefficient=0.5), "member", 3, None)[0]
    assert risk.check(partial(risk.lcb, k=1.0), "quantile", 3, midpoint_levels(3)) == []


def test_what_more_is_said_to_coincide_does() -> None:
    two = belief([3.0, 1.0])
    assert risk.lcb(two, k=1.0).item() == pytest.approx(risk.minimum(two).item())
    assert risk.median(two).item() == risk.mean(two).item()
    assert risk.quantile(two, level=0.9).item() == 3.0 and risk.quantile(two, level=0.5).item() == 1.0


def test_the_median_needs_levels_that_cover_it() -> None:
    with pytest.raises(InputError, match="risk=median: the reward model's quantiles only cover"):
        risk.check(risk.median, "quantile", 2, (0.05, 0.1))
    assert risk.check(risk.median, "quantile", 9, tuple(k / 10 for k in range(1, 10))) == []
