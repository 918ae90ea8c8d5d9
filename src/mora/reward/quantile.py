"""The quantile reward: K quantiles per objective that cannot cross, trained by distributional Bradley-Terry.

What pairs can teach about the spread is limited.  The link's own logistic noise (standard deviation 1.81 logits) is in
the model, so only heterogeneity beyond it is seen, and with one comparison per answer it is carried by what similar
texts share.  The spread of these quantiles is a model of disagreement; it is no confidence interval.

The likelihood and the belief give every quantile the mass 1/K.  So quantile k stands for the levels from (k - 1)/K to
k/K; which of them it is named by (the midpoints, or a list of levels) changes how it is read, not how it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora import bounds
from mora.bounds import AtLeastTwo, Inside, NonNegative
from mora.errors import InputError
from mora.functional.margins import centering_loss, label_loss
from mora.functional.quantile import (
    MIN_GAP,
    comonotone_log_likelihood,
    dbt_log_likelihood,
    gap_bias,
    mean_gaps,
    midpoint_levels,
)
from mora.reward.compared import Compared
from mora.types import BeliefShape, Judgments, RewardBelief

LIKELIHOODS = {"independent": dbt_log_likelihood, "comonotone": comonotone_log_likelihood}
LEVEL_TOLERANCE = 1e-6


def quantile_belief(atoms: Tensor, levels: Sequence[float]) -> RewardBelief:
    """K quantiles of equal mass (B, M, K), ascending, that are called by K levels."""
    weights = torch.full_like(atoms, 1.0 / atoms.shape[-1])
    return RewardBelief(atoms=atoms, weights=weights, kind="quantile", levels=atoms.new_tensor(levels))


@dataclass(kw_only=True)
class Quantile(Compared):
    """``reward=qr``, ``hk9`` and ``qrm19``; the fields are the keys of ``conf/reward/qr.yaml``."""

    name: ClassVar[str] = "quantile"
    linear: ClassVar[bool] = True

    atoms: AtLeastTwo
    at: list[Inside] | None  # levels of the atoms; None: the midpoints (k - 1/2)/K
    coupling: Literal["independent", "comonotone"]
    initial_gap: Annotated[float, Gt(MIN_GAP)]  # logits
    centering: NonNegative  # nats per squared logit

    def __post_init__(self) -> None:
        bounds.check(self, "reward")
        if self.coupling not in LIKELIHOODS:
            raise InputError(f"reward.coupling={self.coupling}: must be one of {', '.join(LIKELIHOODS)}")
        if self.at is not None:
            self.at = _checked_levels([float(level) for level in self.at], self.atoms)

    @property
    def levels(self) -> tuple[float, ...]:
        """``at``, or the midpoints ``(k - 1/2) / K``."""
        return midpoint_levels(self.atoms) if self.at is None else tuple(self.at)

    @property
    def shape(self) -> BeliefShape:
        """Quantiles at ``levels``."""
        return BeliefShape("quantile", self.atoms, self.levels)

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Location 0 and K - 1 gaps of ``initial_gap``: nearly Bradley-Terry at the start."""
        return (0.0, *[gap_bias(self.initial_gap)] * (self.atoms - 1))

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``-[q log P + (1 - q) log(1 - P)] + centering (mean_0 + mean_1)^2``, (B, M) in nats.

        P is the probability of ``log_wins`` that answer 1 wins, q the label; 0 where not labelled.  The first raw
        output is the mean of the quantiles.
        """
        loss = self._dbt_loss(mean_gaps(raw_1), mean_gaps(raw_0), judgments.labels)
        loss = loss + self.centering * centering_loss(raw_1[..., 0], raw_0[..., 0])
        return torch.where(judgments.labelled, loss, torch.zeros_like(loss))

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 wins: distributional Bradley-Terry with this ``coupling``.

        "independent": another annotator for each answer, P the mean over all pairs of quantiles; "comonotone": one
        annotator who stands at the same level for both, P the mean over the K pairs of like quantiles.
        """
        return LIKELIHOODS[self.coupling](mean_gaps(raw_1), mean_gaps(raw_0))

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """``log (1/K) sum_k sigma(z_k)``, and of -z_k, each (B, M) in nats; couplings do not matter to one answer."""
        atoms = mean_gaps(raw)
        above, below = (logsigmoid(z).logsumexp(-1) - math.log(self.atoms) for z in (atoms, -atoms))
        return above, below

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, K) as K quantiles of equal mass at ``levels``, in logits.

        With levels that leave out the tails (0.1 to 0.9) the mean over the atoms is a trimmed mean, and risks that
        need the tails are refused.
        """
        return quantile_belief(mean_gaps(raw), self.levels)

    def _dbt_loss(self, z_1: Tensor, z_0: Tensor, labels: Tensor) -> Tensor:
        """Loss (B, M) of quantiles (B, M, K), both outcomes by the likelihood."""
        log_likelihood = LIKELIHOODS[self.coupling]
        return label_loss(log_likelihood(z_1, z_0), log_likelihood(z_0, z_1), labels)


def _checked_levels(at: list[float], atoms: int) -> list[float]:
    """``at``; raises InputError unless level k of K stands in the k-th of K equal parts of 0 to 1."""
    if len(at) != atoms:
        raise InputError(f"reward.at={at}: has {len(at)} levels, but reward.atoms={atoms}; give one for each atom")
    if any(low >= high for low, high in zip(at, at[1:], strict=False)):
        raise InputError(f"reward.at={at}: must be ascending")
    for place, level in enumerate(at):
        low, high = place / atoms, (place + 1) / atoms
        if not low - LEVEL_TOLERANCE <= level <= high + LEVEL_TOLERANCE:
            raise InputError(
                f"reward.at={at}: atom {place + 1} of {atoms} has a mass of 1/{atoms}, so it is a quantile at "
                f"{low:.3g} to {high:.3g}, not at {level}; name a level within, or null for the midpoints"
            )
    return at
