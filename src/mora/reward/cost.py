"""Rewards whose zero means something: above it an answer is acceptable (safe), below it is not.

Safe-RLHF's cost model (Dai et al. 2024, eq. 8) turned around, so that it is maximized as everything here: reward =
-cost. Beside the comparison of the two answers, each answer's own mark pulls its reward to its side of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mora import bounds
from mora.bounds import Number, Positive
from mora.errors import InputError
from mora.reward import TrainedKind
from mora.reward.compared import Compared
from mora.types import BeliefShape, Judgments, RewardBelief, Row


@dataclass(kw_only=True)
class Cost(Compared):
    """``reward=cost``; the fields are the keys of ``conf/reward/cost.yaml``."""

    name: ClassVar[str] = "cost"

    base: TrainedKind
    threshold: Number  # of a mean rating: from here on an answer is acceptable
    signed: list[str] | None
    sign_weight: Positive

    def __post_init__(self) -> None:
        if isinstance(self.base, str):
            raise InputError(f"reward.base={self.base}: is a choice of its own; write reward@reward.base={self.base}")
        if not isinstance(self.base, TrainedKind) or self.base.shape.members != 1 or self.base.reads_ratings:
            raise InputError(
                f"reward.base: {self.base.name} cannot be given a sign; take a kind that learns from labels of "
                "pairs alone, such as scalar or qr"
            )
        if self.signed is not None and not self.signed:
            raise InputError("reward.signed=[]: no objective would have a sign; name some, or use reward=scalar")
        bounds.check(self, "reward")

    @property
    def reads_ratings(self) -> bool:
        """Marks are ratings."""
        return True

    @property
    def shape(self) -> BeliefShape:
        """That of the base."""
        return self.base.shape

    @property
    def linear(self) -> bool:
        """As the base."""
        return self.base.linear

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """That of the base."""
        return self.base.initial_bias

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """True for the objectives that have signs: all, or those in ``signed``."""
        return tuple(self.signed is None or name in self.signed for name in objectives)

    def check(self, objectives: Sequence[str]) -> None:
        """Raises InputError where ``signed`` names what is no objective."""
        unknown = sorted(set(self.signed or ()) - set(objectives))
        if unknown:
            raise InputError(f"reward.signed: {', '.join(unknown)} is no objective; choose of {', '.join(objectives)}")

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError for an objective with a sign but without marks on both sides of zero.

        Another one is asked for what its base needs; labels beside marks are welcome and not needed.
        """
        self.check(objectives)
        for name, signed in zip(objectives, self.has_zero(objectives), strict=True):
            if not signed:
                self.base.check_rows(rows, [name])
                continue
            means = [sum(v) / len(v) for row in rows for v in row.ratings.get(name, ()) if v]
            safe = sum(value >= self.threshold for value in means)
            if not 0 < safe < len(means):
                raise InputError(
                    f"objective {name}: reward=cost needs ratings on both sides of reward.threshold={self.threshold}; "
                    f"{safe} of {len(means)} reach it. Give {name}_rating_0 and {name}_rating_1, move the threshold, "
                    "or leave the objective out of reward.signed"
                )

    def covered(self, judgments: Judgments) -> Tensor:
        """Pairs (B, M) with a label, or with a mark where there are signs."""
        return self.base.covered(judgments) | (self._marked(judgments).any(0))

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``base + sign_weight sum_i -log P(s_i r_i > 0)``, (B, M) in nats; s_i = +1 acceptable, -1 not.

        The sum is over the marked answers of a pair.  With a scalar base and a weight of 1 it is Safe-RLHF's cost loss.
        """
        marked, good = self._marked(judgments), self._good(judgments)
        loss = self.base.loss(raw_0, raw_1, judgments)
        for side, raw in enumerate((raw_0, raw_1)):
            signs = torch.where(good[side], *self.base.against_zero(raw))
            loss = loss - self.sign_weight * torch.where(marked[side], signs, torch.zeros_like(signs))
        return loss

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """That of the base (B, M)."""
        return self.base.log_wins(raw_1, raw_0)

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the base (B, M): here they are trained."""
        return self.base.against_zero(raw)

    def belief(self, raw: Tensor) -> RewardBelief:
        """That of the base, in logits; above 0 is acceptable."""
        return self.base.belief(raw)

    def _marked(self, judgments: Judgments) -> Tensor:
        """Answers with a mark (2, B, M)."""
        signed = torch.tensor(self.has_zero(judgments.objectives), device=judgments.labels.device)
        return judgments.rated.any(-1) & signed

    def _good(self, judgments: Judgments) -> Tensor:
        """Whether the mean rating of an answer reaches the threshold (2, B, M); anything where there is none."""
        count = judgments.rated.sum(-1).clamp_min(1)
        return judgments.ratings.masked_fill(~judgments.rated, 0.0).sum(-1) / count >= self.threshold
