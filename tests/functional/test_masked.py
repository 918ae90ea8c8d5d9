"""What stands off a mask is never read, in a value or a gradient; a NaN on it is not passed over; no tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mora.functional import risk
from mora.functional.advantages import gae, token_rewards
from mora.functional.calibration import calibration
from mora.functional.conflicts import all_right, conflict_matrices
from mora.functional.kl import sequence_kl
from mora.functional.masking import mean_of_both, pool_last
from mora.functional.pairs import brier, credits
from mora.functional.policy import clipped_surrogate_loss, clipped_value_loss
from mora.functional.quantile import mean_gaps, running_sum
from mora.types import RewardBelief

B, T, C = 4, 6, 2
MASK = torch.arange(T) < torch.tensor([6, 1, 3, 5])[:, None]
BEHIND = [float("nan"), float("inf"), float("-inf"), 1e30]


def _token_rewards(mask, old, ref):
    return token_rewards(torch.ones(len(mask), C, dtype=old.dtype), old, ref, mask, kl_coef=0.3)


def _value_loss(mask, *tensors):
    return clipped_value_loss(*tensors, mask, clip=0.1, normalizer=7.0)


# name -> function of a mask and of tensors (B, T, ...) under it; the last axes of each tensor
MASKED = {
    "token_rewards": (_token_rewards, [(), ()]),
    "gae, advantages": (lambda m, r, v: gae(r, v, m, gamma=0.9, lam=0.8)[0], [(C,), (C,)]),
    "gae, returns": (lambda m, r, v: gae(r, v, m, gamma=0.9, lam=0.8)[1], [(C,), (C,)]),
    "surrogate": (lambda m, *x: clipped_surrogate_loss(*x, m, clip=0.1, normalizer=7.0)[0], [(), (), ()]),
    "clipped tokens": (lambda m, *x: clipped_surrogate_loss(*x, m, clip=0.1, normalizer=7.0)[1], [(), (), ()]),
    "value loss": (_value_loss, [(C,), (C,), (C,)]),
    "sequence_kl": (lambda m, p, q: sequence_kl(p, q, m), [(), ()]),
    "pool_last": (lambda m, h: pool_last(h, m), [(C,)]),
    "mean_of_both": (
        lambda m, x: mean_of_both(torch.stack([x, 2 * x])[..., None], torch.stack([m, m])[..., None]),
        [()],
    ),
}
EACH = [(name, place) for name, (_, shapes) in MASKED.items() for place in range(len(shapes))]


def _tensors(name: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, T, *shape, dtype=torch.float64, generator=generator) for shape in MASKED[name][1]]


def _found(name: str, tensors: list[Tensor]) -> list[Tensor]:
    """The value, and the gradient of its sum by each tensor."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = MASKED[name][0](MASK, *leaves)
    if not value.is_floating_point():
        return [value]
    return [value.detach(), *torch.autograd.grad(value.sum(), leaves, materialize_grads=True)]


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize(("name", "place"), EACH)
def test_nothing_behind_the_mask_changes_a_value_or_a_gradient(name, place, behind):
    tensors = _tensors(name)
    before = _found(name, tensors)
    keep = MASK.view(B, T, *[1] * (tensors[place].dim() - 2))
    tensors[place] = torch.where(keep, tensors[place], behind)
    for found, expected in zip(_found(name, tensors), before, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("name", "place"), [each for each in EACH if each[0] != "clipped tokens"])
def test_a_nan_on_the_mask_comes_out(name, place):
    tensors = _tensors(name)
    tensors[place][0, T - 1] = float("nan")
    assert MASKED[name][0](MASK, *tensors).isnan().any()


@pytest.mark.parametrize("shape", [(0, T), (B, 0), (0, 0)])
def test_without_a_row_or_a_token_advantages_and_losses_are_empty_or_0(shape):
    mask, plain = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    streams = torch.zeros(*shape, C)
    for found in gae(streams, streams, mask, gamma=1.0, lam=0.95):
        assert found.shape == streams.shape
    loss, clipped = clipped_surrogate_loss(plain, plain, plain, mask, clip=0.2, normalizer=1.0)
    assert (float(loss), int(clipped), float(_value_loss(mask, streams, streams, streams))) == (0.0, 0, 0.0)
    assert sequence_kl(plain, plain, mask).tolist() == [0.0] * shape[0]
    if shape[0]:
        with pytest.raises(ValueError, match="no response token"):
            _token_rewards(mask, plain, plain)
    else:
        assert _token_rewards(mask, plain, plain).shape == streams.shape


RISKS = {
    "mean": risk.mean,
    "minimum": risk.minimum,
    "median": risk.median,
    "quantile": lambda belief: risk.quantile(belief, level=0.3),
    "cvar": lambda belief: risk.cvar(belief, alpha=0.4),
    "lcb": lambda belief: risk.lcb(belief, k=1.0),
    "uwo": lambda belief: risk.uwo(belief, coefficient=0.5),
    "entropic": lambda belief: risk.entropic(belief, beta=0.7),
    "spread": risk.spread,
}


def _belief() -> RewardBelief:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(3, 2, 5, generator=generator)
    weights = torch.full_like(atoms, 0.25)
    weights[..., 2] = 0.0
    return RewardBelief(atoms=atoms, weights=weights, kind="category")


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("atom", [0, 1, 3, 4])
def test_no_risk_passes_over_an_answer_that_could_not_be_scored(name, atom):
    belief = _belief()
    before = RISKS[name](belief)
    belief.atoms[1, 0, atom] = float("nan")
    after = RISKS[name](belief)
    assert after.isnan().nonzero().tolist() == [[1, 0]]
    assert torch.equal(after.nan_to_num(0.0), torch.where(after.isnan(), 0.0, before))


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1e9])
def test_an_atom_without_weight_counts_for_nothing(name, value):
    belief = _belief()
    before = RISKS[name](belief)
    belief.atoms[..., 2] = value
    assert torch.equal(RISKS[name](belief), before)


@pytest.mark.parametrize("name", RISKS)
def test_a_weight_that_is_no_number_comes_out(name):
    belief = _belief()
    belief.weights[2, 1, 0] = float("nan")
    assert RISKS[name](belief).isnan().nonzero().tolist() == [[2, 1]]


@pytest.mark.parametrize("name", RISKS)
def test_no_answers_have_no_risk(name):
    empty = torch.zeros(0, 2, 5)
    assert RISKS[name](RewardBelief(atoms=empty, weights=empty, kind="member")).shape == (0, 2)


def test_a_running_sum_is_broken_from_where_it_breaks():
    values = torch.tensor([1.0, 2.0, float("nan"), 4.0])
    assert running_sum(values)[:2].tolist() == [1.0, 3.0] and running_sum(values)[2:].isnan().all()
    assert running_sum(torch.tensor([1.0, float("inf")])).tolist() == [1.0, float("inf")]
    assert mean_gaps(torch.tensor([0.0, float("nan"), 1.0])).isnan().all()  # their mean is the location


def test_a_score_that_is_no_number_is_no_missing_label():
    margins, labels = np.array([[1.0, np.nan], [1.0, 2.0]]), np.array([[1.0, 0.0], [np.nan, 1.0]])
    for function in (conflict_matrices, all_right):
        with pytest.raises(ValueError, match="finite"):
            function(margins, labels)
    allowed = np.where(np.isnan(labels), np.nan, 1.0)  # what no label reads may be anything
    assert all_right(allowed, labels)[1].tolist() == [2, 1]
    assert np.isnan(credits(np.array([np.nan]), np.array([1.0]))).all()
    assert np.isnan(brier(np.array([np.nan, 0.5]), np.ones(2)))


NO_ERROR = {"value": None, "interval": None, "squared": None}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("what", "value", "ece"),
    [
        ("probability", np.nan, np.nan),
        ("label", np.nan, np.nan),
        *[("probability", v, np.inf) for v in (np.inf, -np.inf)],
    ],
)
def test_what_is_no_number_has_no_calibration(what, value, ece, place):
    given = {"probability": np.array([0.2, 0.5, 0.7, 0.9]), "label": np.array([1.0, 0.0, 1.0, 1.0])}
    given[what][place] = value
    found = calibration(**given, prompts=np.arange(4), bins=2, level=0.95)
    np.testing.assert_equal(found["ece"], ece)
    assert found["error"] == NO_ERROR
    chance = found["ece_if_calibrated"]
    assert (chance is None) if what == "label" else np.isnan(chance)


def test_nothing_has_no_calibration():
    found = calibration(np.zeros(0), np.zeros(0), np.zeros(0), bins=4, level=0.95)
    assert np.isnan(found["ece"])
    assert found["error"] == NO_ERROR and found["ece_if_calibrated"] is None and found["bins"] == []
