"""The gold reward: true scores, of a synthetic task or by rules.  Nothing is trained."""

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
    """``reward=gold`` and ``reward=rules``; it has no keys."""

    name: ClassVar[str] = "gold"
    origin: ClassVar[Origin] = "rules"
    shape: ClassVar[BeliefShape] = ONE_POINT

    def scorer(self, corpus: Corpus) -> Scorer:
        """The true scores of the corpus.  Raises InputError where there are none."""
        if corpus.true_scores is None:
            raise InputError(f"reward=gold needs true scores, and dataset={corpus.name} has none; set objectives=rules")
        return GoldScorer(corpus.true_scores).select(corpus.objectives)
