"""The rated reward: K quantiles per objective of the absolute ratings of an answer, trained by quantile regression.

The target is always a rating.  Quantiles that are regressed on a mean of their own would all be drawn to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora import bounds
from mora.bounds import AtLeastTwo, Number, Positive
from mora.errors import InputError
from mora.functional.masking import mean_of_both
from mora.functional.quantile import (
    MIN_GAP,
    dbt_log_likelihood,
    gap_bias,
    mean_gaps,
    midpoint_levels,
    pinball_loss,
)
from mora.reward.compared import Compared, check_rated
from mora.reward.quantile import quantile_belief
from mora.types import BeliefShape, Judgments, RewardBelief, Row

Source = Literal["data", "teacher"]


@dataclass(kw_only=True)
class Rated(Compared):
    """``reward=rating`` and ``pseudo``; the fields are the keys of ``conf/reward/rating.yaml``."""

    name: ClassVar[str] = "rating"
    linear: ClassVar[bool] = True

    source: Source
    atoms: AtLeastTwo
    initial_location: Number  # rating units
    initial_gap: Annotated[float, Gt(MIN_GAP)]  # rating units
    noise: Positive  # rating units

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise InputError(f"reward.source={self.source}: must be one of {', '.join(get_args(Source))}")
        bounds.check(self, "reward")

    @property
    def levels(self) -> tuple[float, ...]:
        """``(k - 1/2) / K``."""
        return midpoint_levels(self.atoms)

    @property
    def shape(self) -> BeliefShape:
        """Quantiles at ``levels``."""
        return BeliefShape("quantile", self.atoms, self.levels)

    @property
    def initial_bias(self) -> tuple[float, ...]:
        """The location and K - 1 gaps before training."""
        return (self.initial_location, *[gap_bias(self.initial_gap)] * (self.atoms - 1))

    @property
    def reads_ratings(self) -> bool:
        """Nothing else."""
        return True

    @property
    def needs_teacher(self) -> bool:
        """Where the source says so."""
        return self.source == "teacher"

    def covered(self, judgments: Judgments) -> Tensor:
        """The pairs (B, M) with a rating of either answer; labels teach nothing here."""
        return judgments.rated.any(-1).any(0)

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError for an objective that no row has a rating on; a teacher rates whatever it is shown."""
        if self.source == "data":
            check_rated(rows, objectives, "reward=rating learns from ratings; give these columns, or use reward=qr")

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """Mean over all ratings t of both answers of ``(1/K) sum_k u_k (tau_k - 1[u_k < 0])``, ``u_k = t - z_k``.

        (B, M) in rating units; 0 where nothing is rated.  The least value is at the quantiles of the ratings.
        """
        quantiles = mean_gaps(torch.stack([raw_0, raw_1]))
        ratings, levels = judgments.ratings.to(quantiles), quantiles.new_tensor(self.levels)
        each = quantiles[..., None, :].expand(*ratings.shape, self.atoms)
        return mean_of_both(pinball_loss(each, ratings, levels) / self.atoms, judgments.rated)

    def log_wins(self, raw_1: Tensor, raw_0: Tensor) -> Tensor:
        """``P = (1/K^2) sum_kl sigma((z_1k - z_0l) / noise)``, log of it (B, M) in nats.

        Ratings say nothing of how a pair is decided and ``loss`` does not descend this: ``noise`` is a choice.
        """
        return dbt_log_likelihood(mean_gaps(raw_1) / self.noise, mean_gaps(raw_0) / self.noise)

    def against_zero(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """``log (1/K) sum_k sigma(z_k / noise)``, and of -z_k, each (B, M) in nats: the other answer is rated 0."""
        atoms = mean_gaps(raw) / self.noise
        above, below = (logsigmoid(z).logsumexp(-1) - math.log(self.atoms) for z in (atoms, -atoms))
        return above, below

    def belief(self, raw: Tensor) -> RewardBelief:
        """Raw outputs (B, M, K) as K quantiles of equal mass at ``levels``, in rating units."""
        return quantile_belief(mean_gaps(raw), self.levels)
