"""Units of reward that follow the policy: statistics over what it was rewarded with so far.

On the reward after risk, (B, M).  The order of a rollout: its rewards enter the statistics, then they are divided (and
shifted) by them.  So the first rollout has a unit of its own, and no rollout meets a unit that its rewards did not
help to set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mora.functional.moments import Moments, decayed, merged, moments, nothing
from mora.reward.standardization import CONSTANT


class Tracking:
    """Mean and deviation of M rewards, over all rollouts ("running") or fading ones ("ema" with ``decay``).

    ``shifts`` says per objective whether the mean is subtracted.  What it holds is small and the same on all
    processes, if each hands in the rows of all; it belongs into checkpoints.
    """

    def __init__(self, how: Literal["running", "ema"], *, decay: float, shifts: Sequence[bool]) -> None:
        self.how, self.decay, self.shifts = how, decay, tuple(shifts)
        self.known: Moments = nothing(len(self.shifts))

    def update(self, rewards: Tensor) -> None:
        """Take in the rewards (B, M) of a whole rollout, the rows of all processes in one order."""
        batch = moments(rewards.cpu())
        self.known = merged(self.known, batch) if self.how == "running" else decayed(self.known, batch, self.decay)

    @property
    def deviation(self) -> Tensor:
        """What rewards are divided by (M,); 1, the unit of the reference policy, while an objective never varied."""
        deviation = self.known.variance.sqrt()
        varied = deviation > CONSTANT * self.known.mean.abs().clamp_min(1.0)
        return torch.where(varied, deviation, torch.ones_like(deviation))

    def __call__(self, rewards: Tensor) -> Tensor:
        """Rewards (B, M) in the unit of what was seen so far."""
        shift = torch.where(torch.tensor(self.shifts), self.known.mean, torch.zeros_like(self.known.mean))
        return (rewards - shift.to(rewards)) / self.deviation.to(rewards)

    def metrics(self, objectives: Sequence[str]) -> dict[str, float]:
        """Mean and deviation of each objective so far, in standard deviations of the reference policy."""
        columns = {"mean": self.known.mean.tolist(), "std": self.known.variance.sqrt().tolist()}
        return {
            f"tracked_{what}/{name}": value
            for what, numbers in columns.items()
            for name, value in zip(objectives, numbers, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """The statistics."""
        return self.known._asdict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.known = Moments(**state)
