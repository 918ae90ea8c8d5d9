"""The categorical reward: probabilities of a few fixed atoms per objective, trained by which answer draws the larger.

It can have several modes, as groups of annotators who disagree give it, and no answer can be better than the highest
atom.  Pairs see the order of the atoms alone: their distances, and so means and deviations, are a convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mora import bounds
from mora.bounds import AtLeastTwo, NonNegative
from mora.functional.categorical import (
    categorical_log_likelihood,
    log_above_zero,
    shared_entropy,
    support,
    tilted_log_probabilities,
)
from mora.functional.margins import label_loss
from mora.reward.compared import Compared
from mora.types import BeliefShape, Judgments, RewardBelief


@dataclass(kw_only=True)
class Categorical(Compared):
    """``reward=categorical``; the fields are the keys of ``conf/reward/categorical.yaml``."""

    name: ClassVar[str] = "categorical"
    linear: ClassVar[bool] = False  # the mean of the atoms is bounded, the first raw output is not

    atoms: AtLeastTwo
    entropy: NonNegative  # share of a nat of likelihood that a nat of entropy is worth

    def __post_init__(self) -> None:
        bounds.check(self, "reward")

    @property
    def shape(self) -> BeliefShape:
        """Categories at fixed places."""
        return BeliefShape("category", self.atoms)

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """A location and A logits: all atoms alike."""
        return (0.0,) * (self.atoms + 1)

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``-[q log P + (1 - q) log(1 - P)] - entropy H((p_0 + p_1) / 2)``, (B, M) in nats; 0 where not labelled.

        P is the probability of ``log_wins`` that answer 1 wins, q the label.  Without the bonus an answer that is
        judged once ends at the outermost atom.  Siththaranjan et al. (2023) take the entropy of the mean over the
        batch; over the pair it does not depend on the batch, so micro-batches change nothing.
        """
        log_p_1, log_p_0 = tilted_log_probabilities(raw_1), tilted_log_probabilities(raw_0)
        wins, loses = categorical_log_likelihood(log_p_1, log_p_0), categorical_log_likelihood(log_p_0, log_p_1)
        loss = label_loss(wins, loses, judgments.labels) - self.entropy * shared_entropy(log_p_1, log_p_0)
        return torch.where(judgments.labelled, loss, torch.zeros_like(loss))

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 draws the larger atom, equal atoms being a toss-up."""
        return categorical_log_likelihood(tilted_log_probabilities(raw_1), tilted_log_probabilities(raw_0))

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Log of the mass above 0 and half of the mass at 0, and of the rest, each (B, M) in nats."""
        log_p = tilted_log_probabilities(raw)
        return log_above_zero(log_p), log_above_zero(log_p.flip(-1))

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, A + 1) as the probabilities of A atoms from -1 to 1."""
        weights = tilted_log_probabilities(raw).exp()
        return RewardBelief(
            atoms=weights.new_tensor(support(self.atoms)).expand_as(weights), weights=weights, kind="category"
        )
