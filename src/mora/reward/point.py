"""What reward kinds share whose belief is one point per objective."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora.reward.compared import Compared
from mora.types import BeliefShape, RewardBelief

ONE_POINT = BeliefShape("point", 1)


def point_belief(raw: Tensor) -> RewardBelief:
    """Raw outputs (B, M, 1) as a belief of one atom."""
    return RewardBelief(atoms=raw, weights=torch.ones_like(raw), kind="point")


class Point(Compared):
    """One raw output per objective, which is the score in logits, and a pair decided as Bradley and Terry (1952) do."""

    shape: ClassVar[BeliefShape] = ONE_POINT
    linear: ClassVar[bool] = True
    initial_bias: ClassVar[tuple[float, ...]] = (0.0,)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """``log sigma(r_1 - r_0)``, (B, M) in nats.  A margin is asked of the training alone and is not in it."""
        return logsigmoid((raw_1 - raw_0).squeeze(-1))

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """``log sigma(r)`` and ``log sigma(-r)``, each (B, M) in nats."""
        score = raw.squeeze(-1)
        return logsigmoid(score), logsigmoid(-score)

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, 1) as a belief in logits."""
        return point_belief(raw)
