"""The gold reward: the rules of a world, known exactly.  Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mora.types import BeliefKind, RewardBelief

UNTRAINED = "reward=gold is a world's rules: there is no head to train or read; use GoldPanel"


@dataclass(kw_only=True)
class Gold:
    """``reward=gold``; it has no keys.  Score with :class:`mora.reward.panel.GoldPanel`."""

    name: ClassVar[str] = "gold"
    trained: ClassVar[bool] = False
    belief_kind: ClassVar[BeliefKind] = "point"

    @property
    def width(self) -> int:
        """One number per objective: the true score."""
        return 1

    @property
    def atoms(self) -> int:
        """A belief is one point."""
        return 1

    @property
    def levels(self) -> None:
        """A point has no quantile levels."""
        return None

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def loss(self, raw_0: Tensor, raw_1: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)
