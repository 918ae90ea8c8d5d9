"""The gold reward: the rules of a world, known exactly.  Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mora.reward.point import Point
from mora.types import Judgments, RewardBelief

UNTRAINED = "reward=gold is a world's rules: there is no head to train or read; use GoldPanel"


@dataclass(kw_only=True)
class Gold(Point):
    """``reward=gold``; it has no keys.  Score with :class:`mora.reward.panel.GoldPanel`."""

    name: ClassVar[str] = "gold"
    trained: ClassVar[bool] = False

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raises ValueError: there is no head."""
        raise ValueError(UNTRAINED)
