"""The Gaussian reward: a location and a scale per objective, trained by the probability that one normal beats another.

What pairs identify is limited.  The location is known up to a constant per prompt.  With link=probit the unit is open
as well: every factor on all locations and scales gives the same probabilities, so only ratios of scales come from the
data and ``scale_penalty`` says what a scale of 1 is.  With link=logistic the noise of the link (standard deviation 1.81
logits) fixes the unit; the scale is heterogeneity beyond that noise, small scales cannot be told from 0, and the
penalty is a prior.  With one comparison per answer either is carried by what similar texts share.  The scale is a model
of disagreement; it is no confidence interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional.margins import centering_loss, label_loss
from mora.functional.quantile import midpoint_levels
from mora.functional.thurstone import (
    MIN_SCALE,
    logistic_log_likelihood,
    normal_atoms,
    positive_scale,
    probit_log_likelihood,
    scale_bias,
    scale_loss,
)
from mora.reward.compared import Compared
from mora.types import BeliefKind, Judgments, RewardBelief

LINKS = {"probit": probit_log_likelihood, "logistic": logistic_log_likelihood}


@dataclass(kw_only=True)
class Gaussian(Compared):
    """``reward=gaussian``; the fields are the keys of ``conf/reward/gaussian.yaml``."""

    name: ClassVar[str] = "gaussian"
    belief_kind: ClassVar[BeliefKind] = "quantile"

    link: Literal["probit", "logistic"]
    atoms: int
    initial_scale: float  # logits, or the unit that scale_penalty sets
    scale_penalty: float  # nats
    centering: float  # nats per squared unit of the location

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise InputError(f"reward.link={self.link}: must be one of {', '.join(LINKS)}")
        if self.atoms < 2:
            raise InputError(f"reward.atoms={self.atoms}: a spread needs at least 2; for one use reward=scalar")
        if self.initial_scale <= MIN_SCALE:
            raise InputError(f"reward.initial_scale={self.initial_scale}: must be above {MIN_SCALE}")
        for key, value in (("scale_penalty", self.scale_penalty), ("centering", self.centering)):
            if value < 0:
                raise InputError(f"reward.{key}={value}: must be at least 0")
        if self.link == "probit" and self.scale_penalty == 0:
            raise InputError(
                "reward.scale_penalty=0 with reward.link=probit: pairs leave the unit of the reward open; set it above "
                "0, or use reward.link=logistic"
            )

    @property
    def width(self) -> int:
        """Two raw outputs per objective: the location and the raw scale."""
        return 2

    @property
    def levels(self) -> tuple[float, ...]:
        """``(k - 1/2) / K``."""
        return midpoint_levels(self.atoms)

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """Location 0 and a scale of ``initial_scale``."""
        return (0.0, scale_bias(self.initial_scale))

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``-[q log P + (1 - q) log(1 - P)] + centering (mu_0 + mu_1)^2 + scale_penalty (log^2 s_0 + log^2 s_1)``.

        (B, M) in nats; P is the probability of ``log_wins`` that answer 1 wins, q the label; 0 where not labelled.
        """
        (location_0, scale_0), (location_1, scale_1) = _read(raw_0), _read(raw_1)
        loss = label_loss(self.log_wins(raw_1, raw_0), self.log_wins(raw_0, raw_1), judgments.labels)
        loss = loss + self.centering * centering_loss(location_1, location_0)
        loss = loss + self.scale_penalty * scale_loss(scale_1, scale_0)
        return torch.where(judgments.labelled, loss, torch.zeros_like(loss))

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
        return RewardBelief(
            atoms=atoms,
            weights=torch.full_like(atoms, 1.0 / self.atoms),
            kind="quantile",
            levels=atoms.new_tensor(self.levels),
        )


def _read(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale (B, M) of raw outputs (B, M, 2), in fp32 or better."""
    raw = raw if raw.dtype == torch.float64 else raw.float()
    return raw[..., 0], positive_scale(raw[..., 1])
