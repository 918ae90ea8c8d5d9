"""From rewards (B, M) and preferences (B, M) to one gain per row (B,).

A linear gain lets a critic with one output per objective serve as the baseline, ``<preference, V>``; any other gain
needs a critic of the gain itself.  ``linear`` and ``shares`` tell an algorithm which case it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

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
        return _least(gaps, self.temperature) + self.augment * gaps.sum(-1)


@dataclass(kw_only=True)
class Minimum:
    """``gain = min_{i: w_i > 0} r_i + rho sum_i w_i r_i``: the objective that is worst off, whatever its weight.

    The outer step of hierarchical pessimism, after a risk within each objective.  Weights say which objectives count,
    each in full as soon as its weight is above 0: with ``augment`` rho = 0 all preferences over the same objectives ask
    for the same.  At equal weights and rho = 0 it is ``M t + z``, t the Tchebycheff gain with one ideal z for all
    objectives, so it needs no ideal; at other weights the two differ.  ``temperature`` mu > 0, in reward units, makes
    the minimum ``-mu logsumexp(-r / mu)`` over the same objectives.
    """

    linear: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    augment: float
    temperature: float

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row, in reward units."""
        counted = rewards.masked_fill(preference <= 0, float("inf"))
        return _least(counted, self.temperature) + self.augment * (rewards * preference).sum(-1)


def _least(values: Tensor, temperature: float) -> Tensor:
    """``min_i x_i``, or ``-mu logsumexp(-x / mu)`` for a temperature mu > 0, which lies below it."""
    if temperature > 0:
        return -temperature * torch.logsumexp(-values / temperature, dim=-1)
    return values.amin(-1)


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


def check(scalarize: Any, *, objectives: int, atoms: int) -> list[str]:
    """Warnings where ``scalarize`` is the same as a plainer setting for so many objectives and atoms of a belief."""
    if not isinstance(scalarize, Minimum):
        return []
    if objectives == 1:
        return [
            "scalarize=minimum on one objective is its reward, the same as scalarize=linear up to scalarize.augment"
        ]
    if atoms == 1:
        return [
            "scalarize=minimum on a reward with one atom: the risk changes nothing, so the pessimism is across "
            "objectives alone"
        ]
    return []
