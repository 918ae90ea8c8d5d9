"""Reward: kinds of reward model behind one protocol, and scorers that score texts on all objectives.

A kind says how the raw outputs of a head are trained on pairs and read as a belief; a scorer holds a trained model or
the rules of a world and hands out beliefs in units of the reference policy's standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from mora.types import BeliefKind, Judgments, RewardBelief, Row

if TYPE_CHECKING:
    from torch import Tensor


class RewardKind(Protocol):
    """One way to model reward; the objects of ``conf/reward``.

    ``trained`` is False for what has no head of ours (rules, foreign models): ``loss``, ``log_wins``,
    ``against_zero`` and ``belief`` are never asked for.  ``linear``: whether the mean of a belief is the first raw
    output, so that a linear head alone can stand for the kind.
    """

    name: ClassVar[str]
    trained: ClassVar[bool]
    solved: ClassVar[bool]  # whether the head is solved and not descended to: there is no ``loss``

    @property
    def reads_ratings(self) -> bool:
        """Whether it learns from ratings of whole answers, beside labels or in their place."""

    @property
    def needs_teacher(self) -> bool:
        """Whether what it learns are the scores of another reward model."""

    @property
    def linear(self) -> bool:
        """Whether the mean of a belief is the first raw output, of an ensemble the mean of the members' first ones."""

    @property
    def belief_kind(self) -> BeliefKind:
        """What an atom of a belief is."""

    @property
    def members(self) -> int:
        """Models E whose raw outputs stand side by side in W; 1 but for ensembles."""

    @property
    def width(self) -> int:
        """Raw outputs W per objective; the first of each member is its location."""

    @property
    def atoms(self) -> int:
        """Atoms S of a belief."""

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Quantile levels of the atoms; None unless ``belief_kind`` is "quantile"."""

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raw outputs (W,) before training."""

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """Whether a reward of 0 means something, per objective (M,): then units must not shift it."""

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError where training rows lack what the kind learns an objective from."""

    def covered(self, judgments: Judgments) -> Tensor:
        """Which pairs teach which objective (B, M): where ``loss`` is a loss.  Its means are over their number."""

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """Loss (B, M) of pairs with raw outputs (B, M, W); 0 where not ``covered``.

        In nats, but for kinds of absolute ratings, which have the unit of these.
        """

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 beats answer 0 under the likelihood that ``loss`` descends.

        Raw outputs are (B, M, W).  Swapping them gives the probability of the other outcome: both sum to 1.
        """

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, M) in nats that an answer beats, and that it loses to, one whose reward is surely 0."""

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, W) as a belief (B, M, S) in the kind's own units, not standardized."""
