from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests.composed import composed
from tests.judgments import judgments

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.functional import risk
from mora.functional.margins import bradley_terry_loss, label_loss
from mora.functional.quantile import gap_bias
from mora.functional.thurstone import scale_bias
from mora.reward import HeadKind, RewardKind, RulesKind, TrainedKind
from mora.reward.card import kind_of, section_of
from mora.reward.categorical import Categorical
from mora.reward.cost import Cost
from mora.reward.discriminant import Discriminant
from mora.reward.gaussian import Gaussian
from mora.reward.gold import Gold
from mora.reward.quantile import Quantile
from mora.reward.rating import Rated
from mora.reward.scalar import Scalar
from mora.run.build import build
from mora.settings.tree import conf_dir
from mora.types import Row

SCALAR = Scalar(strength="ignore", margin=0.0, centering=0.0, l2=0.0)
QUANTILE = Quantile(atoms=9, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
GAUSSIAN = Gaussian(
    link="logistic", atoms=9, initial_scale=1.0, scale_penalty=0.01, centering=0.0, anchors=0.0, anchor_ratings=None
)
TENTHS = [k / 10 for k in range(1, 10)]
KINDS: dict[str, TrainedKind] = {
    "scalar": SCALAR,
    "independent": QUANTILE,
    "comonotone": dataclasses.replace(QUANTILE, coupling="comonotone"),
    "tenths": dataclasses.replace(QUANTILE, at=TENTHS),
    "probit": dataclasses.replace(GAUSSIAN, link="probit"),
    "logistic": GAUSSIAN,
    "anchored": dataclasses.replace(GAUSSIAN, link="probit", scale_penalty=0.0, anchors=0.1, anchor_ratings=[1.0, 2.0]),
    "categorical": Categorical(atoms=10, entropy=0.1),
    "rating": Rated(source="data", atoms=9, initial_location=0.0, initial_gap=0.1, noise=0.7),
}
COMPARED = {name: kind for name, kind in KINDS.items() if not isinstance(kind, Rated)}  # labels teach them
UNBOUNDED = {name: kind for name, kind in KINDS.items() if not isinstance(kind, Categorical)}  # any lead is possible
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
compared_kind = pytest.mark.parametrize("kind", COMPARED.values(), ids=COMPARED)


def raw(kind: TrainedKind, rows: int = 6, objectives: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, objectives, kind.width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("path", sorted((conf_dir() / "reward").glob("*.yaml")), ids=lambda path: path.stem)
def test_yaml_keys_are_the_fields(path: Path) -> None:
    section = composed("algo=reward_model", f"reward={path.stem}")["reward"]
    kind = build(section)
    assert {f.name for f in dataclasses.fields(kind)} == set(section) - {"_target_", "origin"}
    assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(kind))


def test_the_table_has_a_row_for_every_kind_that_one_model_is_trained_for() -> None:
    names = [path.stem for path in (conf_dir() / "reward").glob("*.yaml")]
    kinds = [build(composed("algo=reward_model", f"reward={name}")["reward"]) for name in names]
    alone = {type(kind) for kind in kinds if isinstance(kind, TrainedKind) and kind.shape.members == 1}
    assert alone - {Cost} == {type(kind) for kind in KINDS.values()}  # a cost is another kind with a zero


@every_kind
@pytest.mark.parametrize("objectives", [1, 2, 6])
def test_loss_and_belief_have_their_shapes(kind: TrainedKind, objectives: int) -> None:
    raw_0, raw_1 = raw(kind, objectives=objectives), raw(kind, objectives=objectives, seed=1)
    labels = torch.full((6, objectives), 0.3)
    loss = kind.loss(raw_0, raw_1, judgments(labels))
    assert loss.shape == (6, objectives) and loss.isfinite().all()
    belief = kind.belief(raw_0)
    assert belief.atoms.shape == belief.weights.shape == (6, objectives, kind.shape.atoms)
    torch.testing.assert_close(belief.weights.sum(-1), torch.ones(6, objectives))
    assert belief.kind == kind.shape.kind
    assert belief.atoms.dtype == kind.belief(raw_0.bfloat16()).atoms.dtype == torch.float32 or kind is SCALAR
    assert (None if belief.levels is None else tuple(belief.levels.tolist())) == pytest.approx(kind.shape.levels)
    assert risk.check(risk.mean, *kind.shape) == []


@compared_kind
def test_unlabelled_pairs_cost_nothing_and_move_nothing(kind: TrainedKind) -> None:
    raw_0, raw_1 = raw(kind).requires_grad_(), raw(kind, seed=1).requires_grad_()
    labelled = torch.tensor([[True, False, True]] * 6)
    labels = torch.where(labelled, 1.0, float("nan"))  # whatever stands there is never read
    loss = kind.loss(raw_0, raw_1, judgments(torch.nan_to_num(labels), labelled))
    loss.sum().backward()
    assert (loss[:, 1] == 0).all() and (loss[:, [0, 2]] != 0).all()
    assert raw_1.grad is not None and (raw_1.grad[:, 1] == 0).all() and (raw_1.grad[:, 0] != 0).any()


@compared_kind
def test_swapping_answers_and_labels_changes_nothing(kind: TrainedKind) -> None:
    raw_0, raw_1, labels = raw(kind), raw(kind, seed=1), torch.rand(6, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        kind.loss(raw_0, raw_1, judgments(labels)), kind.loss(raw_1, raw_0, judgments(1 - labels))
    )


@compared_kind
def test_descending_the_loss_raises_the_favored_answer(kind: TrainedKind) -> None:
    raw_0, raw_1 = torch.zeros(1, 1, kind.width), torch.zeros(1, 1, kind.width, requires_grad=True)
    kind.loss(raw_0, raw_1, judgments(torch.ones(1, 1))).sum().backward()
    assert raw_1.grad is not None and raw_1.grad[0, 0, 0] < 0  # label 1 favors answer 1: its score goes up


@every_kind
def test_one_answer_or_the_other_wins(kind: TrainedKind) -> None:
    raw_0, raw_1 = raw(kind).double(), raw(kind, seed=1).double()
    wins = kind.log_wins(raw_1, raw_0)
    assert wins.shape == (6, 3)
    total = wins.exp() + kind.log_wins(raw_0, raw_1).exp()
    torch.testing.assert_close(total, torch.ones(6, 3, dtype=torch.float64))
    even = torch.full((6, 3), math.log(0.5), dtype=torch.float64)
    torch.testing.assert_close(kind.log_wins(raw_0, raw_0), even)  # an answer against itself


@every_kind
def test_the_first_output_is_the_mean_of_a_belief_or_the_kind_says_that_it_is_not(kind: TrainedKind) -> None:
    outputs = raw(kind)
    assert kind.linear == torch.allclose(risk.mean(kind.belief(outputs)), outputs[..., 0], atol=1e-5)


@every_kind
def test_a_card_gives_the_kind_back(kind: TrainedKind, tmp_path: Path) -> None:
    assert kind_of(section_of(kind), tmp_path) == kind


@compared_kind
def test_a_tie_costs_least_between_answers_that_are_alike(kind: TrainedKind) -> None:
    start = torch.tensor(kind.initial_bias, dtype=torch.float64).view(1, 1, -1)
    losses = []
    for lead in (-0.5, -1e-3, 0.0, 1e-3, 0.5):
        moved = start.clone()
        moved[..., 0] += lead
        wins = kind.log_wins(moved, start), kind.log_wins(start, moved)
        losses.append(label_loss(*wins, torch.full((1, 1), 0.5, dtype=torch.float64)).item())
    assert losses[2] == min(losses) == pytest.approx(math.log(2))


@compared_kind
def test_the_loss_is_made_of_who_wins(kind: TrainedKind) -> None:
    raw_0, raw_1 = raw(kind).double(), raw(kind, seed=1).double()
    wins = kind.log_wins(raw_1, raw_0)
    # Whatever a loss adds does not depend on the label, so labels of 1 and 0 differ by the log-odds.
    ones, zeros = torch.ones_like(wins), torch.zeros_like(wins)
    difference = kind.loss(raw_0, raw_1, judgments(zeros)) - kind.loss(raw_0, raw_1, judgments(ones))
    torch.testing.assert_close(difference, wins - kind.log_wins(raw_0, raw_1))


@pytest.mark.parametrize("kind", UNBOUNDED.values(), ids=UNBOUNDED)
@pytest.mark.parametrize("lead", [-30.0, 30.0])
def test_a_large_lead_is_sure_and_still_has_a_gradient(kind: TrainedKind, lead: float) -> None:
    raw_0 = torch.zeros(1, 1, kind.width)
    raw_1 = torch.tensor([lead] + [0.0] * (kind.width - 1)).view(1, 1, -1).requires_grad_()
    wins = kind.log_wins(raw_1, raw_0)
    wins.sum().backward()
    assert wins.isfinite().all() and raw_1.grad is not None and raw_1.grad.isfinite().all()
    assert wins.exp().item() == pytest.approx(float(lead > 0), abs=1e-5)
    assert lead > 0 or raw_1.grad[0, 0, 0] > 0.9  # the answer that wrongly trails is pulled up


def test_scalar_loss_by_hand() -> None:
    # Scores 1 and 0, label 1: ln(1 + e^-1) + .1 * (1 + 0)^2 + .01 * (1 + 0).
    kind = Scalar(strength="ignore", margin=0.0, centering=0.1, l2=0.01)
    loss = kind.loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), judgments(torch.ones(1, 1)))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)) + 0.1 + 0.01)
    # A margin of 1 eats the difference of 1.
    kind = Scalar(strength="ignore", margin=1.0, centering=0.0, l2=0.0)
    loss = kind.loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), judgments(torch.ones(1, 1)))
    assert loss.item() == pytest.approx(math.log(2))


def test_strengths_change_the_likelihood_and_not_what_is_added_to_it() -> None:
    raw_0, raw_1, strengths = raw(SCALAR), raw(SCALAR, seed=1), torch.rand(6, 3) * 3
    said = judgments(torch.rand(6, 3), strengths=strengths)
    plain, added = SCALAR.loss(raw_0, raw_1, said), 0.1 * (raw_0 + raw_1).squeeze(-1).square()
    held = dataclasses.replace(SCALAR, centering=0.1)
    torch.testing.assert_close(held.loss(raw_0, raw_1, said), plain + added)
    torch.testing.assert_close(
        dataclasses.replace(held, strength="scale").loss(raw_0, raw_1, said), strengths * plain + added
    )
    asked = dataclasses.replace(held, strength="margin", margin=0.5)
    want = bradley_terry_loss(raw_1[..., 0], raw_0[..., 0], said.labels, margin=0.5 * strengths)
    torch.testing.assert_close(asked.loss(raw_0, raw_1, said), want + added)


@pytest.mark.parametrize("coupling", ["independent", "comonotone"])
def test_quantile_loss_approaches_the_scalar_one_as_the_gaps_close(coupling: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    location = torch.randn(2, 8, 2, 1, generator=generator)
    closed = torch.full((2, 8, 2, 8), -20.0)  # softplus(-20) = 2e-9; the least gap, 1e-4, is left
    said = judgments(torch.rand(8, 2, generator=generator))
    both = torch.cat([location, closed], -1)
    want = Scalar(strength="ignore", margin=0.0, centering=0.3, l2=0.0).loss(location[0], location[1], said)
    got = dataclasses.replace(QUANTILE, coupling=coupling, centering=0.3).loss(both[0], both[1], said)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_gaussian_loss_approaches_the_scalar_one_as_the_scales_close() -> None:
    generator = torch.Generator().manual_seed(0)
    location = torch.randn(2, 8, 2, 1, generator=generator)
    said = judgments(torch.rand(8, 2, generator=generator))
    both = torch.cat([location, torch.full_like(location, -20.0)], -1)  # the least scale, .01, moves P by < 2e-5
    want = Scalar(strength="ignore", margin=0.0, centering=0.3, l2=0.0).loss(location[0], location[1], said)
    got = dataclasses.replace(GAUSSIAN, scale_penalty=0.0, centering=0.3).loss(both[0], both[1], said)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_gaussian_regularizers_by_hand() -> None:
    # Raw scales of e and 1/e: log^2 of each is 1; locations 1 and 2: (1 + 2)^2 = 9.
    outputs = [torch.tensor([[[mu, scale_bias(s)]]]) for mu, s in ((1.0, math.e), (2.0, 1 / math.e))]
    said = judgments(torch.ones(1, 1))
    bare = dataclasses.replace(GAUSSIAN, scale_penalty=0.0).loss(*outputs, said)
    held = dataclasses.replace(GAUSSIAN, scale_penalty=0.3, centering=0.1).loss(*outputs, said)
    assert (held - bare).item() == pytest.approx(0.3 * 2 + 0.1 * 9, rel=1e-5)


def test_a_gaussian_belief_has_the_location_and_the_scale() -> None:
    start = GAUSSIAN.belief(torch.tensor(GAUSSIAN.initial_bias).view(1, 1, 2))
    assert risk.mean(start).item() == pytest.approx(0.0, abs=1e-6)
    assert risk.spread(start).item() == pytest.approx(1.0)
    belief = GAUSSIAN.belief(torch.tensor([[[2.5, scale_bias(0.3)]]]))
    assert risk.mean(belief).item() == pytest.approx(2.5) and risk.spread(belief).item() == pytest.approx(0.3)
    assert GAUSSIAN.shape == QUANTILE.shape
    assert risk.check(partial(risk.cvar, alpha=0.3), *GAUSSIAN.shape) == []


@pytest.mark.parametrize(("preset", "low", "high"), [("hk9", 0.1, 0.9), ("qrm19", 0.05, 0.95)])
def test_a_preset_without_tails_answers_for_its_levels_and_refuses_the_tails(
    preset: str, low: float, high: float
) -> None:
    kind = build(OmegaConf.load(conf_dir() / "reward" / f"{preset}.yaml"))
    belief = kind.belief(raw(kind))
    assert kind.levels[0] == low and kind.levels[-1] == high
    assert belief.levels.tolist() == pytest.approx(np.linspace(low, high, kind.atoms).tolist())
    for place, level in enumerate(kind.levels):
        asked = partial(risk.quantile, level=level)
        assert isinstance(risk.check(asked, *kind.shape), list)
        assert torch.equal(asked(belief), belief.atoms[..., place])
    for asked in (partial(risk.cvar, alpha=0.1), partial(risk.lcb, k=1.0), partial(risk.entropic, beta=1.0)):
        with pytest.raises(InputError, match=f"quantile levels {low} to {high}"):
            risk.check(asked, *kind.shape)
    with pytest.raises(InputError, match="only cover"):
        risk.check(partial(risk.quantile, level=low / 2), *kind.shape)


def test_levels_change_the_reading_and_not_the_training() -> None:
    tenths, outputs = dataclasses.replace(QUANTILE, at=TENTHS), (raw(QUANTILE), raw(QUANTILE, seed=1))
    assert torch.equal(tenths.log_wins(*outputs), QUANTILE.log_wins(*outputs))
    assert torch.equal(tenths.belief(outputs[0]).atoms, QUANTILE.belief(outputs[0]).atoms)
    assert tenths.levels == tuple(TENTHS) != QUANTILE.levels


def test_couplings_differ() -> None:
    outputs = raw(QUANTILE), raw(QUANTILE, seed=1)
    comonotone = KINDS["comonotone"].log_wins(*outputs)
    assert (comonotone - QUANTILE.log_wins(*outputs)).abs().max() > 0.05


def test_mean_of_a_quantile_belief_is_the_location() -> None:
    outputs = raw(QUANTILE)
    belief = QUANTILE.belief(outputs)
    torch.testing.assert_close(risk.mean(belief), outputs[..., 0], atol=1e-5, rtol=0)
    assert belief.levels is not None
    torch.testing.assert_close(belief.levels, torch.tensor(QUANTILE.levels))


def test_initial_bias_gives_the_initial_gaps() -> None:
    start = QUANTILE.belief(torch.tensor(QUANTILE.initial_bias).view(1, 1, 9)).atoms[0, 0]
    torch.testing.assert_close(start.diff(), torch.full((8,), 0.1))
    assert QUANTILE.initial_bias[1] == gap_bias(0.1)
    assert SCALAR.initial_bias == (0.0,)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: dataclasses.replace(SCALAR, strength="weigh"), "strength"),
        (lambda: dataclasses.replace(SCALAR, strength="margin"), "margin=0 with reward.strength=margin"),
        (lambda: Scalar(strength="ignore", margin=-1.0, centering=0.0, l2=0.0), "margin"),
        (lambda: Scalar(strength="ignore", margin=0.0, centering=0.0, l2=-1.0), "l2"),
        (lambda: dataclasses.replace(QUANTILE, atoms=1), "atoms"),
        (lambda: dataclasses.replace(QUANTILE, initial_gap=0.0), "initial_gap"),
        (lambda: dataclasses.replace(QUANTILE, centering=-0.1), "centering"),
        (lambda: dataclasses.replace(QUANTILE, coupling="copula"), "coupling"),
        (lambda: dataclasses.replace(QUANTILE, at=TENTHS[:8]), "at.*8 levels"),
        (lambda: dataclasses.replace(QUANTILE, atoms=3, at=[0.2, 0.5, 1.0]), "at"),
        (lambda: dataclasses.replace(QUANTILE, atoms=3, at=[0.2, 0.5, 0.5]), "at.*ascending"),
        (lambda: dataclasses.replace(QUANTILE, atoms=3, at=[0.1, 0.2, 0.9]), "at.*atom 2 of 3"),
        (lambda: dataclasses.replace(GAUSSIAN, link="cauchit"), "link"),
        (lambda: dataclasses.replace(GAUSSIAN, atoms=1), "atoms"),
        (lambda: dataclasses.replace(GAUSSIAN, initial_scale=0.01), "initial_scale"),
        (lambda: dataclasses.replace(GAUSSIAN, scale_penalty=-1.0), "scale_penalty"),
        (lambda: dataclasses.replace(GAUSSIAN, centering=-1.0), "centering"),
        (lambda: dataclasses.replace(GAUSSIAN, link="probit", scale_penalty=0.0), "scale_penalty=0 with"),
    ],
)
def test_values_without_meaning_are_refused(make: Any, key: str) -> None:
    with pytest.raises(InputError, match=f"reward.{key}"):
        make()


@pytest.mark.parametrize("path", sorted((conf_dir() / "reward").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_kind_is_what_its_yaml_says_and_no_more(path: Path) -> None:
    section = composed("algo=reward_model", f"reward={path.stem}")["reward"]
    kind = build(section)
    assert isinstance(kind, RewardKind) and kind.origin == section["origin"]
    assert isinstance(kind, HeadKind) == (kind.origin == "trained")
    assert isinstance(kind, TrainedKind) == (kind.origin == "trained" and not isinstance(kind, Discriminant))
    assert isinstance(kind, RulesKind) == (kind.origin == "rules")


def test_gold_is_scored_by_the_rules_of_a_world() -> None:
    none: dict[str, list[Row]] = {"train": [], "test": []}
    corpus = Corpus(
        name="texts",
        objectives=("x",),
        supervised=none,
        pairs=none,
        prompts=none,
        fingerprint="",
        max_prompt=9,
        max_response=9,
    )
    with pytest.raises(InputError, match="reward=gold needs true scores, and dataset=texts has none"):
        Gold().scorer(corpus)
