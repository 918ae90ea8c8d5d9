from __future__ import annotations

from functools import partial

import pytest
import torch

from mora.functional import risk
from mora.functional.centering import centered, group_means
from mora.types import BeliefKind, RewardBelief

GROUPS = torch.tensor([7, 3, 7, 3, 7, 9, 9])
RISKS = [
    risk.mean,
    risk.minimum,
    risk.median,
    partial(risk.quantile, level=0.3),
    partial(risk.cvar, alpha=0.4),
    partial(risk.lcb, k=1.0),
    partial(risk.uwo, coefficient=0.5),
    partial(risk.entropic, beta=0.7),
]


def members(kind: BeliefKind = "member", size: int = 5) -> RewardBelief:
    atoms = torch.randn(7, 2, size, generator=torch.Generator().manual_seed(0))
    return RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 1 / size), kind=kind)


def test_group_means_by_hand():
    values = torch.tensor([[1.0], [10.0], [2.0], [20.0], [6.0], [0.0], [-4.0]])
    assert group_means(values, GROUPS).flatten().tolist() == [3.0, 15.0, 3.0, 15.0, 3.0, -2.0, -2.0]


def test_means_of_a_prompt_are_0_for_every_atom_and_distances_stay():
    sample = members()
    found = centered(sample, GROUPS).atoms
    for group in GROUPS.unique():
        rows = group == GROUPS
        torch.testing.assert_close(found[rows].mean(0), torch.zeros(2, 5), atol=1e-6, rtol=0)
        torch.testing.assert_close(found[rows] - found[rows][:1], sample.atoms[rows] - sample.atoms[rows][:1])


@pytest.mark.parametrize("function", RISKS)
def test_reducers_over_members_are_invariant_to_shifts_per_member_and_prompt_after_centering(function):
    sample = members()
    drawn = 5 * torch.randn(10, 2, 5, generator=torch.Generator().manual_seed(1))  # by prompt, objective and member
    shifted = RewardBelief(atoms=sample.atoms + drawn[GROUPS], weights=sample.weights, kind="member")
    torch.testing.assert_close(
        function(centered(shifted, GROUPS)), function(centered(sample, GROUPS)), atol=1e-5, rtol=1e-5
    )
    if function is not risk.mean:  # without centering the shifts are read as disagreement: other orders within a prompt
        raw, moved = (function(one) - group_means(function(one), GROUPS) for one in (sample, shifted))
        assert (raw - moved).abs().max() > 0.1


def test_centered_quantiles_are_no_quantiles_any_more():
    sample = members("quantile")
    sample.levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    found = centered(sample, GROUPS)
    assert (found.kind, found.levels) == ("member", None)
    assert centered(members("point", 1), GROUPS).kind == "point"


def test_atoms_that_are_not_paired_and_prompts_with_one_answer_are_refused():
    with pytest.raises(ValueError, match="category"):
        centered(members("category"), GROUPS)
    with pytest.raises(ValueError, match="1 of 4 groups have one row"):
        centered(members(), torch.tensor([7, 3, 7, 3, 1, 9, 9]))
