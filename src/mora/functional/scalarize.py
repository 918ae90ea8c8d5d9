"""From rewards (B, M) and preferences (B, M) to one gain per row (B,).

A linear gain lets a critic with one output per objective serve as the baseline, ``<preference, V>``; any other gain
needs a critic of the gain itself.  ``linear`` and ``shares`` tell an algorithm which case it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(kw_only=True)
class Linear:
    """``gain = sum_i w_i r_i`` (linear scalarization; Panacea eq. 6)."""

    linear: ClassVar[bool] = True
    shares: ClassVar[bool] = False

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row, in reward units."""
        return (rewards * preference).sum(-1)


def _gaps(rewards: Tensor, preference: Tensor, ideal: float | list[float]) -> Tensor:
    """Weighted distance to the ideal, ``w_i (r_i - z_i)``; raises where a reward lies above the ideal."""
    z = torch.as_tensor(ideal, dtype=rewards.dtype, device=rewards.device).expand(rewards.shape[-1])
    above = (rewards > z).any(0)
    if bool(above.any()):
        worst = rewards.amax(0)
        index = int(above.float().argmax())
        raise ValueError(
            f"Tchebycheff scalarization needs an ideal above every reward: objective {index} reached "
            f"{float(worst[index]):.4g} and scalarize.ideal is {float(z[index]):.4g}; above the ideal "
            "the minimum would favor small weights. Set scalarize.ideal higher."
        )
    return preference * (rewards - z)


@dataclass(kw_only=True)
class Tchebycheff:
    """``gain = min_i w_i (r_i - z_i) + rho sum_i w_i (r_i - z_i)`` of each response (``tchebycheff_response``).

    ``temperature`` > 0 replaces the minimum by ``-mu logsumexp(-x / mu)``.  The expectation of this gain is another
    utility than Panacea's eq. 7, which takes the minimum of expectations: see :class:`TchebycheffExpected`.
    ``ideal`` is z, in reward units; one number or one per objective.
    """

    linear: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    ideal: float | list[float]
    augment: float
    temperature: float

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row.  Raises ValueError when a reward exceeds the ideal."""
        gaps = _gaps(rewards, preference, self.ideal)
        if self.temperature > 0:
            least = -self.temperature * torch.logsumexp(-gaps / self.temperature, dim=-1)
        else:
            least = gaps.amin(-1)
        return least + self.augment * gaps.sum(-1)


@dataclass(kw_only=True)
class TchebycheffExpected:
    """Gradient of ``min_i w_i (E r_i - z_i)`` (Panacea eq. 7), estimated on the rows that share a preference.

    The minimum is taken over the mean reward of those rows, ``i* = argmin_i w_i (mean r_i - z_i)``; each row's gain is
    then ``w_{i*} r_{i*} + rho sum_i w_i r_i``, whose expectation has that gradient.  Rows share a preference when
    ``preference.unit`` is ``group`` or ``batch``.
    """

    linear: ClassVar[bool] = False
    shares: ClassVar[bool] = True
    ideal: float | list[float]
    augment: float

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row.  Raises ValueError when a preference stands on one row only or a mean exceeds the ideal."""
        shared, index, count = torch.unique(preference, dim=0, return_inverse=True, return_counts=True)
        if bool((count < 2).any()):
            raise ValueError(
                "expected Tchebycheff needs at least two rows with the same preference: preference=group or batch"
            )
        means = torch.zeros_like(shared).index_add_(0, index, rewards.to(shared)) / count[:, None]
        least = _gaps(means, shared, self.ideal).argmin(-1)[index, None]
        weighted = preference * rewards
        return weighted.gather(-1, least).squeeze(-1) + self.augment * weighted.sum(-1)

    def value(self, expected: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """``min_i w_i (E r_i - z_i) + rho sum_i w_i (E r_i - z_i)`` of known expectations: the utility itself."""
        gaps = _gaps(expected, preference, self.ideal)
        return gaps.amin(-1) + self.augment * gaps.sum(-1)
