"""Ensembles: members of one kind, trained side by side in one run, whose disagreement is the belief.

Members are read as one random member: a belief has the atoms of all of them, paired across answers.  What members share
decides how much they can differ (``sharing``); resampled pairs (the bootstrap, online: Oza and Russell 2001) make them
differ on the data as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mora import bounds
from mora.bounds import Count, Seed
from mora.errors import InputError
from mora.functional.noise import Stream, poisson_ones
from mora.functional.quantile import midpoint_levels
from mora.functional.risk import LEVEL_TOLERANCE
from mora.model.backbones import SHARING, Sharing
from mora.reward import TrainedKind
from mora.reward.compared import Compared
from mora.types import BeliefShape, Judgments, RewardBelief, Row


@dataclass(kw_only=True)
class Ensemble(Compared):
    """``reward=ensemble``; the fields are the keys of ``conf/reward/ensemble.yaml``."""

    name: ClassVar[str] = "ensemble"

    member: TrainedKind
    members: Count
    sharing: Sharing
    resample: bool
    seed: Seed

    def __post_init__(self) -> None:
        bounds.check(self, "reward")
        if self.sharing not in SHARING:
            raise InputError(f"reward.sharing={self.sharing}: must be one of {', '.join(SHARING)}")
        if isinstance(self.member, str):
            raise InputError(
                f"reward.member={self.member}: is a choice of its own; write reward@reward.member={self.member}"
            )
        if not isinstance(self.member, TrainedKind) or self.member.shape.members != 1 or self.member.needs_teacher:
            raise InputError(
                f"reward.member: {self.member.name} cannot be a member; take a kind that is trained by one model, "
                "such as scalar or qr"
            )
        levels = self.member.shape.levels
        if levels is not None and any(
            abs(a - b) > LEVEL_TOLERANCE for a, b in zip(levels, midpoint_levels(len(levels)), strict=True)
        ):
            raise InputError(
                f"reward.member: quantiles at {levels[0]} to {levels[-1]} leave out the tails, and of several members "
                "no risk could be told so; take midpoint levels, as reward@reward.member=qr has them"
            )

    @property
    def reads_ratings(self) -> bool:
        """As a member."""
        return self.member.reads_ratings

    @property
    def shape(self) -> BeliefShape:
        """The atoms of all members; of categories the weights are what members say, and the atoms are the same."""
        kind, atoms, *_ = self.member.shape
        return BeliefShape("category" if kind == "category" else "member", self.members * atoms, members=self.members)

    @property
    def member_sharing(self) -> Sharing:
        """What they share."""
        return self.sharing

    @property
    def linear(self) -> bool:
        """As a member."""
        return self.member.linear

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Each member starts as it would alone."""
        return self.member.initial_bias * self.members

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """As for a member."""
        return self.member.has_zero(objectives)

    def check(self, objectives: Sequence[str]) -> None:
        """As for a member."""
        self.member.check(objectives)

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """As for a member."""
        self.member.check_rows(rows, objectives)

    def covered(self, judgments: Judgments) -> Tensor:
        """As for a member (B, M)."""
        return self.member.covered(judgments)

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``(1/E) sum_e w_e loss_e``, (B, M) in nats.

        With ``resample`` w_e ~ Poisson(1) for each pair and member, drawn by the content of the pair: the number of
        times that the pair stands in the member's own sample.  Otherwise 1.
        """
        losses = [
            self.member.loss(r0, r1, judgments) for r0, r1 in zip(self._each(raw_0), self._each(raw_1), strict=True)
        ]
        if self.resample:
            weights = poisson_ones(self.seed, Stream.MEMBER, judgments.row_ids[:, None], self._numbers(raw_0))
            losses = [weights[:, e, None].to(loss) * loss for e, loss in enumerate(losses)]
        return torch.stack(losses).mean(0)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """``log (1/E) sum_e P_e``, (B, M) in nats: one random member judges both answers."""
        pairs = zip(self._each(raw_1), self._each(raw_0), strict=True)
        return self._averaged([self.member.log_wins(r1, r0) for r1, r0 in pairs])

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The same of an answer and one whose reward is 0, each (B, M)."""
        above, below = zip(*(self.member.against_zero(part) for part in self._each(raw)), strict=True)
        return self._averaged(above), self._averaged(below)

    def belief(self, raw: Tensor) -> RewardBelief:
        """The atoms of all members (B, M, S), each member with the mass 1/E; member by member."""
        beliefs = [self.member.belief(part) for part in self._each(raw)]
        return RewardBelief(
            atoms=torch.cat([belief.atoms for belief in beliefs], -1),
            weights=torch.cat([belief.weights for belief in beliefs], -1) / self.members,
            kind=self.shape.kind,
        )

    def _each(self, raw: Tensor) -> list[Tensor]:
        return list(raw.split(self.member.width, -1))

    def _numbers(self, like: Tensor) -> Tensor:
        return torch.arange(self.members, device=like.device)

    def _averaged(self, logs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(logs)).logsumexp(0) - math.log(self.members)
