from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mora.errors import InputError
from mora.functional import risk
from mora.functional.quantile import gap_bias
from mora.reward import RewardKind
from mora.reward.gold import Gold
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.settings.tree import conf_dir

SCALAR = Scalar(margin=0.0, centering=0.0, l2=0.0)
QUANTILE = Quantile(atoms=9, initial_gap=0.1, centering=0.0)
KINDS: list[RewardKind] = [SCALAR, QUANTILE]


def raw(kind: RewardKind, rows: int = 6, objectives: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, objectives, kind.width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("path", sorted((conf_dir() / "reward").glob("*.yaml")), ids=lambda path: path.stem)
def test_yaml_keys_are_the_fields(path: Path) -> None:
    section: Any = OmegaConf.load(path)
    kind = instantiate(section)
    assert {f.name for f in dataclasses.fields(kind)} == set(section) - {"_target_"}
    assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(kind))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("objectives", [1, 2, 6])
def test_loss_and_belief_have_their_shapes(kind: RewardKind, objectives: int) -> None:
    raw_0, raw_1 = raw(kind, objectives=objectives), raw(kind, objectives=objectives, seed=1)
    labels = torch.full((6, objectives), 0.3)
    loss = kind.loss(raw_0, raw_1, labels, torch.ones(6, objectives, dtype=torch.bool))
    assert loss.shape == (6, objectives) and loss.isfinite().all()
    belief = kind.belief(raw_0)
    assert belief.atoms.shape == belief.weights.shape == (6, objectives, kind.width)
    torch.testing.assert_close(belief.weights.sum(-1), torch.ones(6, objectives))
    assert belief.kind == kind.belief_kind
    assert len(kind.initial_bias) == kind.width
    assert risk.check(risk.mean, kind.belief_kind, kind.width, kind.levels) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_unlabelled_pairs_cost_nothing_and_move_nothing(kind: RewardKind) -> None:
    raw_0, raw_1 = raw(kind).requires_grad_(), raw(kind, seed=1).requires_grad_()
    labelled = torch.tensor([[True, False, True]] * 6)
    labels = torch.where(labelled, 1.0, float("nan"))  # whatever stands there is never read
    loss = kind.loss(raw_0, raw_1, torch.nan_to_num(labels), labelled)
    loss.sum().backward()
    assert (loss[:, 1] == 0).all() and (loss[:, [0, 2]] > 0).all()
    assert raw_1.grad is not None and (raw_1.grad[:, 1] == 0).all() and (raw_1.grad[:, 0] != 0).any()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_swapping_answers_and_labels_changes_nothing(kind: RewardKind) -> None:
    raw_0, raw_1, labels = raw(kind), raw(kind, seed=1), torch.rand(6, 3, generator=torch.Generator().manual_seed(2))
    everything = torch.ones(6, 3, dtype=torch.bool)
    torch.testing.assert_close(
        kind.loss(raw_0, raw_1, labels, everything), kind.loss(raw_1, raw_0, 1 - labels, everything)
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_descending_the_loss_raises_the_favored_answer(kind: RewardKind) -> None:
    raw_0, raw_1 = torch.zeros(1, 1, kind.width), torch.zeros(1, 1, kind.width, requires_grad=True)
    kind.loss(raw_0, raw_1, torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)).sum().backward()
    assert raw_1.grad is not None and raw_1.grad[0, 0, 0] < 0  # label 1 favors answer 1: its score goes up


def test_scalar_loss_by_hand() -> None:
    # Scores 1 and 0, label 1: ln(1 + e^-1) + .1 * (1 + 0)^2 + .01 * (1 + 0).
    kind = Scalar(margin=0.0, centering=0.1, l2=0.01)
    loss = kind.loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)) + 0.1 + 0.01)
    # A margin of 1 eats the difference of 1.
    kind = Scalar(margin=1.0, centering=0.0, l2=0.0)
    loss = kind.loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(2))


def test_quantile_loss_approaches_the_scalar_one_as_the_gaps_close() -> None:
    generator = torch.Generator().manual_seed(0)
    location = torch.randn(2, 8, 2, 1, generator=generator)
    closed = torch.full((2, 8, 2, 8), -20.0)  # softplus(-20) = 2e-9; the least gap, 1e-4, is left
    labels, everything = torch.rand(8, 2, generator=generator), torch.ones(8, 2, dtype=torch.bool)
    both = torch.cat([location, closed], -1)
    want = Scalar(margin=0.0, centering=0.3, l2=0.0).loss(location[0], location[1], labels, everything)
    got = Quantile(atoms=9, initial_gap=0.1, centering=0.3).loss(both[0], both[1], labels, everything)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


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
        (lambda: Scalar(margin=-1.0, centering=0.0, l2=0.0), "margin"),
        (lambda: Scalar(margin=0.0, centering=0.0, l2=-1.0), "l2"),
        (lambda: Quantile(atoms=1, initial_gap=0.1, centering=0.0), "atoms"),
        (lambda: Quantile(atoms=9, initial_gap=0.0, centering=0.0), "initial_gap"),
        (lambda: Quantile(atoms=9, initial_gap=0.1, centering=-0.1), "centering"),
    ],
)
def test_values_without_meaning_are_refused(make: Any, key: str) -> None:
    with pytest.raises(InputError, match=f"reward.{key}"):
        make()


def test_gold_has_nothing_to_train() -> None:
    gold = Gold()
    assert not gold.trained and SCALAR.trained and QUANTILE.trained
    with pytest.raises(ValueError, match="GoldPanel"):
        gold.loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), torch.zeros(1))
