"""The gold reward: the rules of a world, known exactly.  Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mora.reward.untrained import Untrained


@dataclass(kw_only=True)
class Gold(Untrained):
    """``reward=gold``; it has no keys.  Score with :class:`mora.reward.scorer.GoldScorer`."""

    name: ClassVar[str] = "gold"
    scorer: ClassVar[str] = "GoldScorer"
