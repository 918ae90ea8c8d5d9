"""The quantile reward: K quantiles per objective that cannot cross, trained by distributional Bradley-Terry.

What pairs can teach about the spread is limited.  The link's own logistic noise (standard deviation 1.81 logits) is in
the model, so only heterogeneity beyond it is seen, and with one comparison per answer it is carried by what similar
texts share.  The spread of these quantiles is a model of disagreement; it is no confidence interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional.margins import centering_loss
from mora.functional.quantile import MIN_GAP, dbt_loss, gap_bias, mean_gaps, midpoint_levels
from mora.types import BeliefKind, RewardBelief


def belief(raw: Tensor) -> RewardBelief:
    """Raw outputs (B, M, K) as K quantiles of equal mass at the midpoint levels (k - 1/2)/K."""
    atoms = mean_gaps(raw)
    levels = torch.tensor(midpoint_levels(raw.shape[-1]), dtype=atoms.dtype, device=atoms.device)
    return RewardBelief(
        atoms=atoms, weights=torch.full_like(atoms, 1.0 / raw.shape[-1]), kind="quantile", levels=levels
    )


@dataclass(kw_only=True)
class Quantile:
    """``reward=qr``; the fields are the keys of ``conf/reward/qr.yaml``."""

    name: ClassVar[str] = "quantile"
    trained: ClassVar[bool] = True
    belief_kind: ClassVar[BeliefKind] = "quantile"

    atoms: int
    initial_gap: float  # logits
    centering: float  # nats per squared logit

    def __post_init__(self) -> None:
        if self.atoms < 2:
            raise InputError(f"reward.atoms={self.atoms}: quantiles need at least 2; for one use reward=scalar")
        if self.initial_gap <= MIN_GAP:
            raise InputError(f"reward.initial_gap={self.initial_gap}: must be above {MIN_GAP} logits")
        if self.centering < 0:
            raise InputError(f"reward.centering={self.centering}: must be at least 0")

    @property
    def width(self) -> int:
        """K raw outputs per objective: a location and K - 1 gaps."""
        return self.atoms

    @property
    def levels(self) -> tuple[float, ...]:
        """``(k - 1/2) / K``."""
        return midpoint_levels(self.atoms)

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Location 0 and gaps of ``initial_gap``: nearly Bradley-Terry at the start."""
        return (0.0, *[gap_bias(self.initial_gap)] * (self.atoms - 1))

    def loss(self, raw_0: Tensor, raw_1: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """``-[q log P + (1 - q) log(1 - P)] + centering (mean_0 + mean_1)^2``, (B, M) in nats.

        P is the distributional Bradley-Terry probability that answer 1 wins, q = ``labels`` (B, M); 0 where not
        ``labelled``.  The first raw output is the mean of the quantiles.
        """
        loss = dbt_loss(mean_gaps(raw_1), mean_gaps(raw_0), labels)
        loss = loss + self.centering * centering_loss(raw_1[..., 0], raw_0[..., 0])
        return torch.where(labelled, loss, torch.zeros_like(loss))

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, K) as a belief in logits."""
        return belief(raw)
