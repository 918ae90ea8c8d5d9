"""What reward kinds share that nobody trains here: rules, and classifiers that others trained."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mora.reward.point import Point
from mora.types import Judgments, RewardBelief


class Untrained(Point):
    """One point per objective, scored by a scorer of its own: there is no head of ours to train or to read.

    ``scorer`` names what scores instead.  Whatever concerns a head raises ValueError.
    """

    name: ClassVar[str]
    trained: ClassVar[bool] = False
    scorer: ClassVar[str]

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raises ValueError."""
        raise self._error()

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """Raises ValueError."""
        raise self._error()

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Raises ValueError."""
        raise self._error()

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError."""
        raise self._error()

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raises ValueError."""
        raise self._error()

    def _error(self) -> ValueError:
        return ValueError(f"a {self.name} reward is not trained: there is no head to train or read; use {self.scorer}")
