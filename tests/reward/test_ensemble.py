"""Ensembles, and rewards with a sign."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch
from tests.judgments import judgments
from torch.nn.functional import logsigmoid

from mora.errors import InputError
from mora.functional import risk
from mora.functional.noise import Stream, poisson_ones
from mora.functional.quantile import mean_gaps
from mora.reward.card import kind_of, section_of
from mora.reward.cost import Cost
from mora.reward.discriminant import Discriminant
from mora.reward.ensemble import Ensemble
from mora.reward.gold import Gold
from mora.reward.quantile import Quantile
from mora.reward.rating import Rated
from mora.reward.scalar import Scalar
from mora.types import Row

SCALAR = Scalar(margin=0.0, strength="ignore", centering=0.01, l2=0.0)
QUANTILE = Quantile(atoms=3, at=None, coupling="independent", initial_gap=0.3, centering=0.01)
ENSEMBLE = Ensemble(member=QUANTILE, members=4, sharing="separate", resample=False, seed=3)
RATED = Rated(source="data", atoms=3, initial_location=0.0, initial_gap=0.1, noise=1.0)
COST = Cost(base=SCALAR, threshold=0.5, signed=None, sign_weight=1.0)


def raws(width: int, rows: int = 6, objectives: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, rows, objectives, width, generator=generator)
    return first, second


def test_an_ensemble_of_one_equals_its_member() -> None:
    one = dataclasses.replace(ENSEMBLE, members=1)
    first, second = raws(3)
    said = judgments(torch.rand(6, 2, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(one.loss(first, second, said), QUANTILE.loss(first, second, said))
    torch.testing.assert_close(one.log_wins(second, first), QUANTILE.log_wins(second, first))
    assert torch.equal(one.belief(first).atoms, QUANTILE.belief(first).atoms)
    assert one.initial_bias == QUANTILE.initial_bias and one.width == 3


def test_members_are_side_by_side_and_weigh_alike() -> None:
    first, second = raws(12)
    said = judgments(torch.ones(6, 2))
    alone = [QUANTILE.loss(first[..., 3 * e : 3 * e + 3], second[..., 3 * e : 3 * e + 3], said) for e in range(4)]
    torch.testing.assert_close(ENSEMBLE.loss(first, second, said), sum(alone) / 4)
    wins = [QUANTILE.log_wins(second[..., 3 * e : 3 * e + 3], first[..., 3 * e : 3 * e + 3]).exp() for e in range(4)]
    torch.testing.assert_close(ENSEMBLE.log_wins(second, first).exp(), sum(wins) / 4)
    belief = ENSEMBLE.belief(first)
    assert belief.atoms.shape == (6, 2, 12) and belief.kind == "member" and belief.levels is None
    torch.testing.assert_close(belief.weights, torch.full_like(belief.weights, 1 / 12))
    torch.testing.assert_close(risk.mean(belief), first.view(6, 2, 4, 3)[..., 0].mean(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(belief.atoms[..., 3:6], mean_gaps(first[..., 3:6]))


def test_each_member_has_a_sample_of_its_own_drawn_by_the_content_of_the_pair() -> None:
    kind = dataclasses.replace(ENSEMBLE, resample=True)
    first, second = raws(12)
    said = judgments(torch.ones(6, 2), row_ids=torch.tensor([11, 12, 13, 14, 15, 16]))
    loss, order = kind.loss(first, second, said), torch.tensor([3, 1, 0, 5, 4, 2])
    assert torch.equal(kind.loss(first[order], second[order], said.take(order)), loss[order])
    weights = poisson_ones(3, Stream.MEMBER, said.row_ids[:, None], torch.arange(4))
    alone = [QUANTILE.loss(first[..., 3 * e : 3 * e + 3], second[..., 3 * e : 3 * e + 3], said) for e in range(4)]
    torch.testing.assert_close(loss, sum(weights[:, e, None] * alone[e] for e in range(4)) / 4)
    assert len({tuple(column) for column in weights.T.tolist()}) == 4
    assert not torch.equal(loss, dataclasses.replace(kind, seed=4).loss(first, second, said))


def test_the_number_of_times_a_pair_is_drawn_is_poisson() -> None:
    draws = poisson_ones(0, Stream.MEMBER, torch.arange(200_000))
    for count in range(5):
        share = math.exp(-1) / math.factorial(count)
        assert (draws == count).double().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share / 200_000))
    assert draws.double().mean().item() == pytest.approx(1, abs=0.01)


def test_an_ensemble_takes_members_that_are_trained_alone() -> None:
    solved = Discriminant(form="difference", calibration_share=0.1)
    for member in (Gold(), ENSEMBLE, solved, dataclasses.replace(RATED, source="teacher")):
        with pytest.raises(InputError, match=rf"reward\.member: {member.name} cannot be a member"):
            dataclasses.replace(ENSEMBLE, member=member)
    with pytest.raises(InputError, match=r"write reward@reward\.member=qr"):
        dataclasses.replace(ENSEMBLE, member="qr")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"reward\.members=0"):
        dataclasses.replace(ENSEMBLE, members=0)
    with pytest.raises(InputError, match=r"reward\.sharing=heads"):
        dataclasses.replace(ENSEMBLE, sharing="heads")  # type: ignore[arg-type]


def test_members_without_tails_are_refused() -> None:
    with pytest.raises(InputError, match=r"reward\.member: quantiles at 0\.1 to 0\.9 leave out the tails"):
        dataclasses.replace(ENSEMBLE, member=dataclasses.replace(QUANTILE, at=[0.1, 0.5, 0.9]))
    few = risk.check(partial(risk.lcb, k=1.0), "member", 18, None, 2)
    assert any("on 2 members" in line for line in few)


@pytest.mark.parametrize("kind", [ENSEMBLE, COST, dataclasses.replace(COST, base=QUANTILE, signed=["x"])])
def test_a_card_reads_kinds_within_kinds_back(kind, tmp_path) -> None:
    assert kind_of(section_of(kind), tmp_path) == kind


# --- rewards with a sign ---------------------------------------------------------------------------------------------


def marks(values: list[list[float]]) -> torch.Tensor:
    """Ratings (2, B, 1, 1) of both answers."""
    return torch.tensor(values).T[:, :, None, None]


def test_the_cost_loss_is_that_of_safe_rlhf() -> None:
    """With cost = -reward: -log sigma(c_u - c_s) - log sigma(s_s c_s) - log sigma(s_u c_u), s = +1 unsafe, -1 safe."""
    kind = dataclasses.replace(COST, base=dataclasses.replace(SCALAR, centering=0.0))
    first, second = raws(1, rows=3, objectives=1)
    said = judgments(torch.tensor([[1.0], [0.0], [1.0]]), ratings=marks([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))
    costs = torch.cat([-first, -second], -1)[:, 0]  # (B, 2)
    signs = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    safer = torch.tensor([1, 0, 1])
    rows = torch.arange(3)
    expected = -logsigmoid(costs[rows, 1 - safer] - costs[rows, safer]) - logsigmoid(signs * costs).sum(1)
    torch.testing.assert_close(kind.loss(first, second, said)[:, 0], expected)


@pytest.mark.parametrize("base", [SCALAR, QUANTILE])
def test_a_mark_pulls_its_answer_to_its_side_of_zero(base) -> None:
    kind = dataclasses.replace(COST, base=base)
    raw = torch.zeros(2, 1, kind.width, requires_grad=True)
    said = judgments(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool), ratings=marks([[0.0, 1.0]]))
    kind.loss(raw[:1], raw[1:], said).sum().backward()
    assert raw.grad is not None and raw.grad[0, 0, 0] > 0 > raw.grad[1, 0, 0]
    assert kind.covered(said).all() and not base.covered(said).any()
    silent = dataclasses.replace(said, rated=torch.zeros_like(said.rated))
    assert not kind.covered(silent).any() and (kind.loss(raw[:1], raw[1:], silent) == 0).all()


def test_only_objectives_with_a_sign_read_marks_and_keep_their_zero() -> None:
    kind = dataclasses.replace(COST, signed=["y"])
    assert kind.has_zero(("x", "y")) == (False, True) and COST.has_zero(("x", "y")) == (True, True)
    assert SCALAR.has_zero(("x", "y")) == (False, False) == ENSEMBLE.has_zero(("x", "y"))
    first, second = raws(1)
    ratings = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 6, 2, 1)
    said = judgments(torch.ones(6, 2), ratings=ratings, objectives=("x", "y"))
    plain, signed = SCALAR.loss(first, second, said), kind.loss(first, second, said)
    assert torch.equal(signed[:, 0], plain[:, 0]) and (signed[:, 1] > plain[:, 1]).all()


def test_several_marks_count_by_their_mean() -> None:
    ratings = torch.tensor([[[[0.0, 1.0, 1.0]]], [[[0.0, 0.0, 1.0]]]])
    said = judgments(torch.ones(1, 1), ratings=ratings)
    assert COST._good(said).flatten().tolist() == [True, False]
    rated = torch.tensor([[[[True, False, False]]], [[[False, False, True]]]])
    assert COST._good(dataclasses.replace(said, rated=rated)).flatten().tolist() == [False, True]


def test_an_objective_without_marks_on_both_sides_is_refused() -> None:
    row = Row(prompt="p", responses=("a", "b"), labels={"x": 1.0}, ratings={"x": ((1.0,), (1.0,))})
    with pytest.raises(InputError, match=r"objective x: reward=cost needs ratings on both sides .* 2 of 2 reach it"):
        COST.check_rows([row], ["x"])
    COST.check_rows([row, dataclasses.replace(row, ratings={"x": ((0.0,), ())})], ["x"])
    with pytest.raises(InputError, match=r"objective y: no training pair has a label"):
        dataclasses.replace(COST, signed=["x"]).check_rows(
            [row, dataclasses.replace(row, ratings={"x": ((0.0,), ())})], ["x", "y"]
        )
    with pytest.raises(InputError, match=r"reward\.signed: z is no objective"):
        dataclasses.replace(COST, signed=["z"]).check_rows([row], ["x"])


def test_signs_are_given_to_kinds_that_learn_from_pairs() -> None:
    for base in (Gold(), ENSEMBLE, COST, RATED, dataclasses.replace(COST, signed=["x"])):
        with pytest.raises(InputError, match=rf"reward\.base: {base.name} cannot be given a sign"):
            dataclasses.replace(COST, base=base)
    with pytest.raises(InputError, match=r"reward\.signed=\[\]"):
        dataclasses.replace(COST, signed=[])
    with pytest.raises(InputError, match=r"reward\.sign_weight=0"):
        dataclasses.replace(COST, sign_weight=0.0)


@pytest.mark.parametrize("base", [SCALAR, QUANTILE])
def test_an_answer_wins_or_loses_against_zero(base) -> None:
    raw, _ = raws(base.width)
    above, below = base.against_zero(raw)
    torch.testing.assert_close(above.exp() + below.exp(), torch.ones(6, 2))
    atoms = base.belief(raw).atoms
    torch.testing.assert_close(above.exp(), torch.sigmoid(atoms).mean(-1))
