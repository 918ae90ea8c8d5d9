"""Statistics of weighted samples."""

from __future__ import annotations

import json

import pytest
import torch

from mora.errors import InputError
from mora.reward.standardization import Standardization
from mora.types import RewardBelief

COUNTS = torch.tensor([3, 1, 0, 2, 5, 1])


def fit(belief: RewardBelief, weights: torch.Tensor | None = None) -> Standardization:
    prompts = [str(i) for i in range(len(belief.atoms))]
    objectives = [f"kind{i}" for i in range(belief.atoms.shape[1])]
    return Standardization.fit(belief, objectives=objectives, prompts=prompts, provenance={}, weights=weights)


def beliefs(atoms: int) -> RewardBelief:
    """Six samples, three objectives; with several atoms, of unequal weights."""
    generator = torch.Generator().manual_seed(atoms)
    values = 3 * torch.randn(6, 3, atoms, generator=generator) + torch.tensor([-4.0, 0.0, 10.0])[:, None]
    shares = torch.rand(6, 3, atoms, generator=generator)
    return RewardBelief(atoms=values, weights=shares / shares.sum(-1, keepdim=True), kind="member")


def rows(belief: RewardBelief, index: torch.Tensor) -> RewardBelief:
    return RewardBelief(atoms=belief.atoms[index], weights=belief.weights[index], kind=belief.kind)


def test_weighted_statistics_by_hand():
    # 0, 4 and 8 with weights 1/2, 1/4, 1/4: mean 3, variance 9/2 + 1/4 + 25/4 = 11.
    atoms = torch.tensor([0.0, 4.0, 8.0])[:, None, None]
    belief = RewardBelief(atoms=atoms, weights=torch.ones_like(atoms), kind="point")
    found = fit(belief, torch.tensor([0.5, 0.25, 0.25]))
    assert found.mean.item() == pytest.approx(3) and found.std.item() == pytest.approx(11**0.5)
    assert found(belief).atoms.flatten().tolist() == pytest.approx([(r - 3) / 11**0.5 for r in (0, 4, 8)])


@pytest.mark.parametrize("atoms", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_integer_weights_are_repeated_rows(atoms, dtype):
    belief = beliefs(atoms)
    weighted = fit(belief, COUNTS.to(dtype) / COUNTS.sum())
    repeated = fit(rows(belief, torch.arange(6).repeat_interleave(COUNTS)))
    torch.testing.assert_close(weighted.mean, repeated.mean, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(weighted.std, repeated.std, atol=1e-5, rtol=1e-6)
    assert weighted.mean.dtype == weighted.std.dtype == torch.float32
    assert (weighted.mean - fit(belief).mean).abs().min() > 0.01  # the weights count


@pytest.mark.parametrize("atoms", [1, 5])
def test_uniform_weights_are_no_weights(atoms):
    belief = beliefs(atoms)
    weighted, plain = fit(belief, torch.full((6,), 1 / 6, dtype=torch.float64)), fit(belief)
    assert torch.equal(weighted.mean, plain.mean) and torch.equal(weighted.std, plain.std)
    means = (belief.atoms * belief.weights).sum(-1)
    torch.testing.assert_close(plain.mean, means.mean(0))
    torch.testing.assert_close(plain.std, means.std(0, correction=0))


def test_the_order_of_samples_does_not_matter_and_their_number_is_noted():
    belief, weights = beliefs(1), COUNTS / COUNTS.sum()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    one, other = fit(belief, weights), fit(rows(belief, order), weights[order])
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.std, other.std)
    assert one.provenance["samples"] == 6
    assert one.provenance["prompts_sha256"] == fit(belief).provenance["prompts_sha256"]


def test_samples_without_weight_do_not_count():
    belief = beliefs(1)
    far = RewardBelief(atoms=belief.atoms.clone(), weights=belief.weights, kind=belief.kind)
    far.atoms[2] = 1e6  # its count is 0
    weights = COUNTS / COUNTS.sum()
    assert torch.equal(fit(far, weights).mean, fit(belief, weights).mean)
    assert torch.equal(fit(far, weights).std, fit(belief, weights).std)


def test_all_weight_on_one_sample_is_no_deviation():
    with pytest.raises(InputError, match="objective kind0: the 6 reference samples score with a standard deviation"):
        fit(beliefs(1), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))


# --- shifted or only scaled -------------------------------------------------------------------------------------------


def test_an_objective_whose_zero_means_something_is_divided_and_not_shifted():
    belief = beliefs(5)
    both = fit(belief)
    prompts = [str(i) for i in range(6)]
    kept = Standardization.fit(
        belief, objectives=["a", "b", "c"], prompts=prompts, provenance={}, zero=(False, True, False)
    )
    assert kept.shifts == (True, False, True) and torch.equal(kept.std, both.std) and torch.equal(kept.mean, both.mean)
    assert torch.equal(kept(belief).atoms[:, [0, 2]], both(belief).atoms[:, [0, 2]])
    assert torch.equal(kept(belief).atoms[:, 1], belief.atoms[:, 1] / both.std[1])
    assert torch.equal(kept(belief).atoms[:, 1].sign(), belief.atoms[:, 1].sign())  # what was kept is kept, as before
    assert kept.shift.tolist() == [both.mean[0].item(), 0.0, both.mean[2].item()]


def test_scale_only_is_for_all_objectives():
    belief = beliefs(1)
    found = fit(belief).scale_only()
    assert found.shifts == (False,) * 3
    assert torch.equal(found(belief).atoms, belief.atoms / fit(belief).std[:, None])


def test_what_is_shifted_is_selected_written_and_read():
    known = Standardization(
        mean=torch.tensor([1.0, 2.0, 3.0]), std=torch.ones(3), shifted=(True, False, True), provenance={"seed": "1"}
    )
    assert known.select([1, 2]).shifts == (False, True)
    facts = known.facts()
    assert facts["shifted"] == [True, False, True]
    again = Standardization.read(json.loads(json.dumps(facts)))
    assert again.shifts == known.shifts and again.facts() == facts


def test_a_card_that_does_not_say_what_is_shifted_is_affine():
    old = {"mean": [1.0, -2.0], "std": [2.0, 4.0], "provenance": {}}
    found = Standardization.read(old)
    assert found.shifts == (True, True)
    atoms = torch.tensor([[[3.0], [6.0]]])
    belief = RewardBelief(atoms=atoms, weights=torch.ones_like(atoms), kind="point")
    assert found(belief).atoms.flatten().tolist() == [1.0, 2.0]


# --- members of an ensemble ------------------------------------------------------------------------------------------


def of_members(rows: int = 400) -> RewardBelief:
    """Two members of two atoms each, on scales of their own."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(rows, 1, 1, 1, generator=generator)
    scores = truth + 0.5 * torch.randn(rows, 1, 2, 1, generator=generator)
    scales, shifts = torch.tensor([1.0, 50.0]).view(1, 1, 2, 1), torch.tensor([3.0, -700.0]).view(1, 1, 2, 1)
    atoms = (shifts + scales * (scores + torch.tensor([-0.1, 0.1]))).flatten(-2)
    return RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 0.25), kind="member")


def test_members_are_brought_to_one_scale_before_they_are_read_together() -> None:
    belief = of_members()
    units = Standardization.fit(belief, objectives=["x"], prompts=["p"], provenance={}, members=2)
    atoms = units(belief).atoms[:, 0].unflatten(-1, (2, 2))
    means, stds = atoms.mean(-1).mean(0), atoms.mean(-1).std(0, correction=0)
    torch.testing.assert_close(means, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(stds[0], stds[1])  # neither outweighs the other
    together = atoms.flatten(1).mean(1)
    assert together.mean().item() == pytest.approx(0, abs=1e-5)
    assert together.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    plain = Standardization.fit(belief, objectives=["x"], prompts=["p"], provenance={})
    worst = [one(belief).atoms[:, 0].argmin(-1) // 2 for one in (units, plain)]
    assert 0.4 < worst[0].double().mean() < 0.6
    assert (worst[1] == 1).all()  # without, the most pessimistic member is always the one with the largest scale


def test_units_of_members_are_read_back_and_add_up() -> None:
    belief = of_members()
    units = Standardization.fit(belief, objectives=["x"], prompts=["p"], provenance={}, members=2)
    again = Standardization.read(units.facts())
    for read in (again, again.select([0])):
        assert torch.equal(read(belief).atoms, units(belief).atoms)
    shift, std = units.of_members(2)
    by_hand = ((belief.atoms.unflatten(-1, (2, 2)) - shift[..., None]) / std[..., None]).flatten(-2)
    torch.testing.assert_close(by_hand, units(belief).atoms, atol=1e-4, rtol=1e-4)


def test_members_whose_zero_means_something_are_divided_only() -> None:
    belief = of_members()
    units = Standardization.fit(belief, objectives=["x"], prompts=["p"], provenance={}, members=2, zero=[True])
    nothing = RewardBelief(atoms=torch.zeros(1, 1, 4), weights=torch.full((1, 1, 4), 0.25), kind="member")
    assert torch.equal(units(nothing).atoms, torch.zeros(1, 1, 4))


def test_members_stay_aligned_when_nothing_is_shifted() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(50, 1, 1, generator=generator)
    atoms = 2.0 + scores * torch.tensor([1.0, 3.0]) + torch.tensor([5.0, -40.0])
    belief = RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 0.5), kind="member")
    units = Standardization.fit(belief, objectives=["x"], prompts=["p"], provenance={}, members=2)
    for one in (units, units.scale_only()):
        found = one(belief).atoms
        torch.testing.assert_close(found[..., 0], found[..., 1], atol=1e-4, rtol=1e-4)  # they agree but for constants
    assert units.scale_only()(belief).atoms.mean().abs() > 1
