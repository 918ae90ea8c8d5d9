"""Reward: kinds of reward model behind small protocols, and scorers that score texts on all objectives.

A kind says how the raw outputs of a head are trained on pairs and read as a belief; a scorer holds a trained model,
classifiers of others or rules, and hands out beliefs in units of the reference policy's standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from mora.types import BeliefShape, Judgments, RewardBelief, Row

if TYPE_CHECKING:
    from torch import Tensor

    from mora.dataset.corpus import Corpus
    from mora.model.backbones import Sharing
    from mora.reward.scorer import Scorer

Origin = Literal["trained", "imported", "rules"]


@runtime_checkable
class RewardKind(Protocol):
    """One way to get rewards; the objects of ``conf/reward``."""

    name: ClassVar[str]
    origin: ClassVar[Origin]  # where scores come from: a run of ours, others, or rules

    @property
    def shape(self) -> BeliefShape:
        """What its beliefs look like."""

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """Whether a reward of 0 means something, per objective (M,): then units must not shift it."""
        return (False,) * len(objectives)

    def check(self, objectives: Sequence[str]) -> None:
        """Raises InputError where its fields do not fit the objectives."""


@runtime_checkable
class RulesKind(RewardKind, Protocol):
    """Rewards by rules that are written down: no run makes them."""

    def scorer(self, corpus: Corpus) -> Scorer:
        """What scores the objectives of ``corpus``.  Raises InputError where the rules are not of such data."""


@runtime_checkable
class HeadKind(RewardKind, Protocol):
    """Rewards that are read off a head with W raw outputs per objective, on a trunk that reads prompt and answer."""

    @property
    def linear(self) -> bool:
        """Whether the mean of a belief is the first raw output, of an ensemble the mean of the members' first ones.

        Then a linear head alone can stand for the kind.
        """

    @property
    def member_sharing(self) -> Sharing:
        """What members share; "trunk" where there is one."""

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raw outputs (W,) before training; the first of each member is its location."""

    @property
    def width(self) -> int:
        """Raw outputs W per objective; those of members stand side by side."""
        return len(self.initial_bias)

    @property
    def reads_ratings(self) -> bool:
        """Whether it learns from ratings of whole answers, beside labels or in their place."""

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError where training rows lack what the kind learns an objective from."""

    def covered(self, judgments: Judgments) -> Tensor:
        """Which pairs teach which objective (B, M).  Means over pairs are over their number."""

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 beats answer 0 under the likelihood that it is trained by.

        Raw outputs are (B, M, W).  Swapping them gives the probability of the other outcome: both sum to 1.
        """

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, W) as a belief (B, M, S) in the kind's own units, not standardized."""


@runtime_checkable
class TrainedKind(HeadKind, Protocol):
    """Rewards whose head descends a loss of pairs."""

    @property
    def needs_teacher(self) -> bool:
        """Whether what it learns are the scores of another reward model."""

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """Loss (B, M) of pairs with raw outputs (B, M, W); 0 where not ``covered``.

        In nats, but for kinds of absolute ratings, which have the unit of these.
        """

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, M) in nats that an answer beats, and that it loses to, one whose reward is surely 0."""
