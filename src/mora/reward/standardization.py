"""Scores in units of the reference policy: subtract its mean, divide by its standard deviation, per objective.

Pairs leave the zero of a score open, and its scale too in practice: only after this may two objectives be added.  An
objective whose zero means something (a limit that is kept or broken) is divided and never shifted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional import risk
from mora.types import RewardBelief

CONSTANT = 1e-6  # a deviation below this share of the mean's size is rounding


@dataclass(frozen=True, kw_only=True)
class Standardization:
    """Mean and deviation (M,) in fp32, which objectives are shifted by the mean, and where the numbers come from."""

    mean: Tensor
    std: Tensor
    shifted: tuple[bool, ...] | None = None  # None: all
    provenance: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        belief: RewardBelief,
        *,
        objectives: Sequence[str],
        prompts: Sequence[str],
        provenance: Mapping[str, Any],
        weights: Tensor | None = None,
        zero: Sequence[bool] | None = None,
    ) -> Standardization:
        """Statistics of the belief's mean over reference samples; the number of samples and their prompts are noted.

        ``weights`` (B,), which sum to 1, weigh the samples: with all responses and their probabilities the statistics
        are exact.  Objectives whose ``zero`` means something keep it.  Raises InputError when an objective's deviation
        is 0 or not finite.
        """
        means = risk.mean(belief).double().cpu()
        share = torch.full_like(means[:, 0], 1 / len(means)) if weights is None else weights
        share = share.to(means)[:, None]
        center = (share * means).sum(0)
        deviation = (share * (means - center) ** 2).sum(0).sqrt()
        for index, objective in enumerate(objectives):
            value = deviation[index].item()
            if not CONSTANT * max(1.0, abs(center[index].item())) < value < float("inf"):
                raise InputError(
                    f"objective {objective}: the {len(means)} reference samples score with a standard deviation of "
                    f"{value:.3g}, so scores have no unit; check the reward model, or take more samples of a "
                    "policy whose answers vary"
                )
        digest = hashlib.sha256("\x1f".join(sorted(set(prompts))).encode()).hexdigest()
        facts = {**provenance, "samples": len(means), "prompts_sha256": digest}
        shifted = None if zero is None else tuple(not kept for kept in zero)
        return cls(mean=center.float().cpu(), std=deviation.float().cpu(), shifted=shifted, provenance=facts)

    @property
    def shifts(self) -> tuple[bool, ...]:
        """Per objective whether the mean is subtracted; else scores are only divided and 0 stays 0."""
        return (True,) * len(self.mean) if self.shifted is None else self.shifted

    @property
    def shift(self) -> Tensor:
        """What is subtracted (M,): the mean, or 0."""
        return torch.where(torch.tensor(self.shifts), self.mean, torch.zeros_like(self.mean))

    def __call__(self, belief: RewardBelief) -> RewardBelief:
        """The belief in standard units: every atom shifted and scaled alike."""
        shift, std = self.shift.to(belief.atoms), self.std.to(belief.atoms)
        return replace(belief, atoms=(belief.atoms - shift[:, None]) / std[:, None])

    def select(self, columns: Sequence[int]) -> Standardization:
        """The statistics of some objectives, in the order given."""
        shifted = tuple(self.shifts[column] for column in columns)
        return replace(self, mean=self.mean[list(columns)], std=self.std[list(columns)], shifted=shifted)

    def scale_only(self) -> Standardization:
        """The same statistics, of which only the deviations are used."""
        return replace(self, shifted=(False,) * len(self.mean))

    def facts(self) -> dict[str, Any]:
        """As JSON; the fp32 numbers are written exactly."""
        numbers = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        return numbers | {"shifted": list(self.shifts), "provenance": dict(self.provenance)}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Standardization:
        """From what :meth:`facts` gave; facts that do not say what is shifted are of scores that all are."""
        mean, std = torch.tensor(facts["mean"], dtype=torch.float32), torch.tensor(facts["std"], dtype=torch.float32)
        shifted = tuple(facts["shifted"]) if "shifted" in facts else None
        return cls(mean=mean, std=std, shifted=shifted, provenance=facts["provenance"])
