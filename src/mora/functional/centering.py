"""Beliefs compared within a prompt: of every atom the mean over the answers to the same prompt is taken off.

Pairs leave a constant per prompt open, another one for each ensemble member.  A risk over atoms reads such constants as
disagreement unless they are taken off first.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mora.types import BeliefKind, RewardBelief

PAIRED: tuple[BeliefKind, ...] = ("point", "quantile", "member")  # atom s of one answer belongs to atom s of another


def centered(belief: RewardBelief, groups: Int[Tensor, " B"]) -> RewardBelief:
    """``a_bms - mean_{b' in the group of b} a_b'ms``: invariant to any constant per group, objective and atom.

    What was an ascending quantile is an atom like a member's afterwards: what all answers to a prompt share of the
    spread is gone too.  Raises ValueError for atoms that are not paired, and for a group of one row.
    """
    if belief.kind not in PAIRED:
        raise ValueError(f"atoms of a {belief.kind} belief are not paired, so none has a mean over answers")
    atoms = belief.atoms - group_means(belief.atoms, groups).to(belief.atoms)
    kind: BeliefKind = "member" if belief.kind == "quantile" else belief.kind
    return replace(belief, atoms=atoms, kind=kind, levels=None)


def group_means(values: Float[Tensor, "B ..."], groups: Int[Tensor, " B"]) -> Float[Tensor, "B ..."]:
    """For each row the mean of ``values`` over the rows of its group, in double precision.

    Raises ValueError for a group of one row, whose difference from its mean says nothing.
    """
    shared, index, count = torch.unique(groups, return_inverse=True, return_counts=True)
    if bool((count < 2).any()):
        raise ValueError(
            f"{int((count < 2).sum())} of {len(shared)} groups have one row; a mean to compare with needs 2"
        )
    rows = values.double()
    sums = rows.new_zeros(len(shared), *rows.shape[1:]).index_add_(0, index, rows)
    means: Tensor = sums / count.view(-1, *[1] * (rows.dim() - 1))
    return means[index]
