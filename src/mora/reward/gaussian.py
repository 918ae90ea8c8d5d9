"""The Gaussian reward: a location and a scale per objective, trained by the probability that one normal beats another.

What pairs identify is limited.  The location is known up to a constant per prompt.  With link=probit the unit is open
as well: every factor on all locations and scales gives the same probabilities, so only ratios of scales come from the
data and ``scale_penalty`` says what a scale of 1 is.  Two anchors close both: coarse classes of absolute ratings, cut
at -1 and 1 of the reward, say where 0 is and what a unit is.  With link=logistic the noise of the link (standard
deviation 1.81 logits) fixes the unit; the scale is heterogeneity beyond that noise, small scales cannot be told from 0,
and the penalty is a prior.  With one comparison per answer either is carried by what similar texts share.  The scale is
a model of disagreement; it is no confidence interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from mora import bounds
from mora.bounds import AtLeastTwo, NonNegative, Number
from mora.errors import InputError
from mora.functional.margins import centering_loss, label_loss
from mora.functional.masking import mean_of_both
from mora.functional.quantile import midpoint_levels
from mora.functional.thurstone import (
    MIN_SCALE,
    anchor_classes,
    anchor_log_probabilities,
    logistic_log_likelihood,
    normal_atoms,
    positive_scale,
    probit_log_likelihood,
    scale_bias,
    scale_loss,
)
from mora.reward.compared import Compared, check_rated
from mora.reward.quantile import quantile_belief
from mora.types import BeliefShape, Judgments, RewardBelief, Row

LINKS = {"probit": probit_log_likelihood, "logistic": logistic_log_likelihood}


@dataclass(kw_only=True)
class Gaussian(Compared):
    """``reward=gaussian``; the fields are the keys of ``conf/reward/gaussian.yaml``."""

    name: ClassVar[str] = "gaussian"
    linear: ClassVar[bool] = True

    link: Literal["probit", "logistic"]
    atoms: AtLeastTwo
    initial_scale: Annotated[float, Gt(MIN_SCALE)]  # logits, or the unit that scale_penalty sets
    scale_penalty: NonNegative  # nats
    centering: NonNegative  # nats per squared unit of the location
    anchors: NonNegative  # nats of the ratings' loss per nat of the pair's
    anchor_ratings: list[Number] | None  # rating units: the cuts at -1 and at 1 of the reward

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise InputError(f"reward.link={self.link}: must be one of {', '.join(LINKS)}")
        bounds.check(self, "reward")
        if self.anchor_ratings is not None:
            self.anchor_ratings = _checked_cuts([float(cut) for cut in self.anchor_ratings])
        elif self.anchors > 0:
            raise InputError(
                f"reward.anchors={self.anchors} needs reward.anchor_ratings=[t1,t2], the ratings below and above which "
                "an answer is a low and a high one; the 25th and the 75th percentile of the training ratings are usual"
            )
        if self.link == "probit" and self.scale_penalty == 0 and self.anchors == 0:
            raise InputError(
                "reward.scale_penalty=0 with reward.link=probit: pairs leave the unit of the reward open; set it above "
                "0, use reward.link=logistic, or reward.anchors where answers have ratings"
            )

    @property
    def reads_ratings(self) -> bool:
        """Through the anchors."""
        return self.anchors > 0

    @property
    def shape(self) -> BeliefShape:
        """Quantiles at ``(k - 1/2) / K``."""
        return BeliefShape("quantile", self.atoms, midpoint_levels(self.atoms))

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Location 0 and a raw scale that is read as ``initial_scale``."""
        return (0.0, scale_bias(self.initial_scale))

    def covered(self, judgments: Judgments) -> Tensor:
        """The labelled pairs (B, M), and with anchors those with a rating of either answer."""
        return judgments.labelled | judgments.rated.any(-1).any(0) if self.anchors > 0 else judgments.labelled

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError for an objective that no row has a label on, or with anchors no rating."""
        super().check_rows(rows, objectives)
        if self.anchors > 0:
            check_rated(rows, objectives, "reward.anchors reads them; give ratings, or set it to 0")

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``-[q log P + (1 - q) log(1 - P)] + centering (mu_0 + mu_1)^2 + scale_penalty (log^2 s_0 + log^2 s_1)``.

        (B, M) in nats; P is the probability of ``log_wins`` that answer 1 wins, q the label; 0 where not labelled.
        Anchors add, labelled or not, ``anchors`` times the mean of ``-log P(class of t)`` over all ratings t of both
        answers; the classes are cut at ``anchor_ratings`` in ratings and at -1 and 1 in rewards.
        """
        (location_0, scale_0), (location_1, scale_1) = _read(raw_0), _read(raw_1)
        loss = label_loss(self.log_wins(raw_1, raw_0), self.log_wins(raw_0, raw_1), judgments.labels)
        loss = loss + self.centering * centering_loss(location_1, location_0)
        loss = loss + self.scale_penalty * scale_loss(scale_1, scale_0)
        loss = torch.where(judgments.labelled, loss, torch.zeros_like(loss))
        return loss + self._anchored(raw_0, raw_1, judgments) if self.anchors > 0 else loss

    def _anchored(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """The loss (B, M) of the ratings, in nats; 0 where there are none."""
        assert self.anchor_ratings is not None
        log_classes = anchor_log_probabilities(*_read(torch.stack([raw_0, raw_1])))
        classes = anchor_classes(judgments.ratings, self.anchor_ratings)
        return -self.anchors * mean_of_both(log_classes.gather(-1, classes), judgments.rated)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """Log-probability (B, M) in nats that answer 1 wins; D = mu_1 - mu_0 and s^2 = s_1^2 + s_0^2.

        "probit": ``P = Phi(D / s)``; "logistic": ``P = E sigma(D + s eps)``, eps standard normal, which for s = 0 is
        Bradley-Terry.
        """
        (location_1, scale_1), (location_0, scale_0) = _read(raw_1), _read(raw_0)
        return LINKS[self.link](location_1, location_0, scale_1, scale_0)

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Probit: ``log Phi(mu / s)``; logistic: ``log E sigma(mu + s eps)``; and of -mu, each (B, M) in nats."""
        location, scale = _read(raw)
        nothing, link = torch.zeros_like(location), LINKS[self.link]
        return link(location, nothing, scale, nothing), link(nothing, location, nothing, scale)

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, 2) as K atoms of equal mass whose mean and deviation are exactly the location and scale.

        The atoms are the quantiles of the normal at the midpoint levels, stretched by a constant of K that makes up for
        the tails that midpoints leave out (7 % for K = 9).
        """
        atoms = normal_atoms(*_read(raw), count=self.atoms)
        return quantile_belief(atoms, midpoint_levels(self.atoms))


def _checked_cuts(cuts: list[float]) -> list[float]:
    """``cuts``; raises InputError unless they are two ascending numbers."""
    if len(cuts) != 2 or not -math.inf < cuts[0] < cuts[1] < math.inf:
        raise InputError(f"reward.anchor_ratings={cuts}: give two ratings, the lower one first")
    return cuts


def _read(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale (B, M) of raw outputs (B, M, 2), in fp32 or better."""
    raw = raw if raw.dtype == torch.float64 else raw.float()
    return raw[..., 0], positive_scale(raw[..., 1])
