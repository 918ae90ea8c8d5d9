"""Reward: kinds of reward model behind one protocol, and panels that score texts on all objectives.

A kind says how the raw outputs of a head are trained on pairs and read as a belief; a panel holds a trained model or
the rules of a world and hands out beliefs in units of the reference policy's standard deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from mora.types import BeliefKind, RewardBelief

if TYPE_CHECKING:
    from torch import Tensor


class RewardKind(Protocol):
    """One way to model reward; the objects of ``conf/reward``.

    ``trained`` is False for rules, which have no head: ``loss``, ``log_wins`` and ``belief`` are never asked for.
    """

    name: ClassVar[str]
    trained: ClassVar[bool]
    belief_kind: ClassVar[BeliefKind]

    @property
    def width(self) -> int:
        """Raw outputs W per objective."""

    @property
    def atoms(self) -> int:
        """Atoms S of a belief."""

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Quantile levels of the atoms; None unless ``belief_kind`` is "quantile"."""

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Raw outputs (W,) before training."""

    def loss(self, raw_0: Tensor, raw_1: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """Loss (B, M) in nats of pairs with raw outputs (B, M, W); 0 where not ``labelled`` (B, M)."""

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 beats answer 0 under the likelihood that ``loss`` descends.

        Raw outputs are (B, M, W).  Swapping them gives the probability of the other outcome: both sum to 1.
        """

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, W) as a belief (B, M, S) in the kind's own units, not standardized."""
