"""The gold reward: the rules of a world, known exactly.  Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mora.dataset.corpus import Corpus
from mora.errors import InputError
from mora.reward import Origin, RewardKind
from mora.reward.point import ONE_POINT
from mora.reward.scorer import GoldScorer, Scorer
from mora.types import BeliefShape


@dataclass(kw_only=True)
class Gold(RewardKind):
    """``reward=gold``; it has no keys."""

    name: ClassVar[str] = "gold"
    origin: ClassVar[Origin] = "rules"
    shape: ClassVar[BeliefShape] = ONE_POINT

    def scorer(self, corpus: Corpus) -> Scorer:
        """The true scores of the corpus' world.  Raises InputError where it is none."""
        if corpus.world is None:
            raise InputError(f"reward=gold needs the rules of a world, and dataset={corpus.name} has none")
        return GoldScorer(corpus.world).select(corpus.objectives)
