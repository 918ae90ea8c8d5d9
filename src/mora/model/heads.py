"""Reward heads: from the pooled hidden state of a trunk to the raw outputs of every objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class RewardHead(nn.Module):
    """One linear map ``H -> M W``: W raw outputs for each of M objectives, in fp32 whatever the trunk's precision.

    It refuses to be cast down: a head in bf16 would round scores to three digits.
    """

    def __init__(self, hidden: int, objectives: int, width: int) -> None:
        super().__init__()
        self.objectives, self.width = objectives, width
        self.linear = nn.Linear(hidden, objectives * width, dtype=torch.float32)

    @torch.no_grad()
    def reset(self, bias: Sequence[float], generator: torch.Generator) -> None:
        """Start each objective's outputs at ``bias`` (W,).

        The weights of the first output (the location) are normal with standard deviation 1/(H + 1); all others are 0,
        so that at the start only the location depends on the text.  Raises ValueError unless ``bias`` has W numbers.
        """
        if len(bias) != self.width:
            raise ValueError(f"a head of width {self.width} needs as many biases, got {len(bias)}")
        hidden = self.linear.in_features
        weight = torch.zeros(self.objectives, self.width, hidden)
        weight[:, 0] = torch.randn(self.objectives, hidden, generator=generator) / (hidden + 1)
        self.linear.weight.copy_(weight.flatten(0, 1))
        self.linear.bias.copy_(torch.tensor(bias).repeat(self.objectives))

    @torch.no_grad()
    def fill(self, weights: Tensor, biases: Tensor) -> None:
        """Take weights (M W, H) and biases (M W,) that were computed elsewhere, rounded to fp32."""
        self.linear.weight.copy_(weights)
        self.linear.bias.copy_(biases)

    def forward(self, pooled: Tensor) -> Tensor:
        """Raw outputs (B, M, W) in fp32 of pooled hidden states (B, H)."""
        with torch.autocast(device_type=pooled.device.type, enabled=False):
            raw: Tensor = self.linear(pooled.to(self.linear.weight.dtype))
        return raw.view(-1, self.objectives, self.width)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RewardHead:
        def kept_in_fp32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(kept_in_fp32, recurse)
        return self
