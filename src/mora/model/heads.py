"""Reward heads: from the pooled hidden states of backbones to the raw outputs of every objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as affine


class RewardHead(nn.Module):
    """Linear maps to W raw outputs for each of M objectives, in fp32 whatever the trunk's precision.

    The outputs of an objective are those of its E members side by side, W/E each.  ``backbones`` (M E,) says which
    features the outputs of each (objective, member) are read from.  A head refuses to be cast down: in bf16 it would
    round scores to three digits.
    """

    def __init__(self, hidden: int, objectives: int, width: int, *, backbones: Sequence[int]) -> None:
        super().__init__()
        members, rest = divmod(len(backbones), objectives)
        if rest or width % members:
            raise ValueError(f"{len(backbones)} backbones for {objectives} objectives of {width} outputs do not divide")
        self.objectives, self.width, self.members = objectives, width, members
        self.backbones = tuple(backbones)
        self.linear = nn.Linear(hidden, objectives * width, dtype=torch.float32)
        each = width // members
        self._rows = [
            [block * each + i for block, backbone in enumerate(backbones) if backbone == number for i in range(each)]
            for number in range(max(backbones) + 1)
        ]
        places = [row for rows in self._rows for row in rows]
        self._order = sorted(range(len(places)), key=places.__getitem__)

    @torch.no_grad()
    def reset(self, bias: Sequence[float], generator: torch.Generator) -> None:
        """Start each objective's outputs at ``bias`` (W,).

        The weights of each member's first output (the location) are normal with standard deviation 1/(H + 1); all
        others are 0, so that at the start only locations depend on the text.  Raises ValueError unless ``bias`` has W
        numbers.
        """
        if len(bias) != self.width:
            raise ValueError(f"a head of width {self.width} needs as many biases, got {len(bias)}")
        hidden = self.linear.in_features
        weight = torch.zeros(self.objectives, self.members, self.width // self.members, hidden)
        drawn = torch.randn(self.objectives, self.members, hidden, generator=generator)
        weight[:, :, 0] = drawn / (hidden + 1)
        self.linear.weight.copy_(weight.flatten(0, 2))
        self.linear.bias.copy_(torch.tensor(bias).repeat(self.objectives))

    @torch.no_grad()
    def fill(self, weights: Tensor, biases: Tensor) -> None:
        """Take weights (M W, H) and biases (M W,) that were computed elsewhere, rounded to fp32."""
        self.linear.weight.copy_(weights)
        self.linear.bias.copy_(biases)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Raw outputs (..., M, W) in fp32 of the pooled hidden states (..., H) of each backbone."""
        weight, bias = self.linear.weight, self.linear.bias
        with torch.autocast(device_type=features[0].device.type, enabled=False):
            if len(self._rows) == 1:
                raw: Tensor = self.linear(features[0].to(weight.dtype))
            else:
                parts = zip(self._rows, features, strict=True)
                raw = torch.cat([affine(pooled.to(weight.dtype), weight[r], bias[r]) for r, pooled in parts], dim=-1)
                raw = raw[..., self._order]
        return raw.unflatten(-1, (self.objectives, self.width))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RewardHead:
        def kept_in_fp32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(kept_in_fp32, recurse)
        return self
