"""The scalar reward: one score per objective, trained by Bradley-Terry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from mora import bounds
from mora.bounds import NonNegative
from mora.errors import InputError
from mora.functional.margins import Strength, centering_loss, l2_loss, strength_loss
from mora.reward.point import Point
from mora.types import Judgments, Row


@dataclass(kw_only=True)
class Scalar(Point):
    """``reward=scalar``; the fields are the keys of ``conf/reward/scalar.yaml``."""

    name: ClassVar[str] = "scalar"

    strength: Strength
    margin: NonNegative  # logits; with strength=margin per unit of strength
    centering: NonNegative  # nats per squared logit
    l2: NonNegative  # nats per squared logit

    def __post_init__(self) -> None:
        if self.strength not in get_args(Strength):
            raise InputError(f"reward.strength={self.strength}: must be one of {', '.join(get_args(Strength))}")
        bounds.check(self, "reward")
        if self.strength == "margin" and self.margin == 0:
            raise InputError(
                "reward.margin=0 with reward.strength=margin: no pair asks for a lead; set it above 0 (logits per unit "
                "of strength), or use reward.strength=ignore"
            )

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError for an objective without labels, and without strengths where they are asked for."""
        super().check_rows(rows, objectives)
        for name in objectives if self.strength != "ignore" else ():
            if not any(name in row.strengths or all(row.ratings.get(name, ((),))) for row in rows):
                raise InputError(
                    f"objective {name}: reward.strength={self.strength}, and no pair says how strong it is; give "
                    f"{name}_strength, or ratings of both answers, or set reward.strength=ignore"
                )

    def loss(self, raw_0: Tensor, raw_1: Tensor, judgments: Judgments) -> Tensor:
        """``BT(r_1 - r_0; label, margin) + centering (r_0 + r_1)^2 + l2 (r_0^2 + r_1^2)``, (B, M) in nats.

        With ``strength`` "margin" the margin of a pair is ``margin`` times its strength; with "scale" BT, and not what
        is added to it, is weighed by the strength.  0 where not labelled.
        """
        score_0, score_1 = raw_0.squeeze(-1), raw_1.squeeze(-1)
        labels, strengths = judgments.labels, judgments.strengths
        loss = strength_loss(score_1, score_0, labels, strengths, margin=self.margin, use=self.strength)
        loss = loss + self.centering * centering_loss(score_1, score_0) + self.l2 * l2_loss(score_1, score_0)
        return torch.where(judgments.labelled, loss, torch.zeros_like(loss))
