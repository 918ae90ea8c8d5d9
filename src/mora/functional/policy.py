"""Losses of policy and critic: sums over tokens divided by a constant.

A constant normalizer keeps the gradient an unbiased estimate of the gradient of expected gain.  A mean over each
row's own tokens does not: it weighs a token of a long answer less.

What stands off the mask is never read, in a loss or in its gradient; a NaN on it comes out as NaN.  Without a row or a
token a loss is 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def clipped_surrogate_loss(
    logps: Float[Tensor, "B T"],
    old_logps: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip: float,
    normalizer: float,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """``-sum min(rho A, clip(rho, 1 +- clip) A) / normalizer`` (PPO, Schulman et al. 2017, eq. 7), and tokens clipped.

    ``advantages`` are scalarized already, so that clipping happens once.  The second value is the number of tokens
    whose gradient the clip removed.
    """
    advantages = torch.where(mask, advantages, 0.0)
    ratio = torch.exp(torch.where(mask, logps - old_logps, 0.0))
    plain = ratio * advantages
    clipped = ratio.clamp(1 - clip, 1 + clip) * advantages
    surrogate = torch.minimum(plain, clipped)
    return -surrogate.sum() / normalizer, (clipped < plain).sum()


def clipped_value_loss(
    values: Float[Tensor, "B T C"],
    old_values: Float[Tensor, "B T C"],
    returns: Float[Tensor, "B T C"],
    mask: Bool[Tensor, "B T"],
    *,
    clip: float,
    normalizer: float,
) -> Float[Tensor, ""]:
    """``1/2 sum max((V - R)^2, (clip(V, V_old +- clip) - R)^2) / normalizer``, over the C outputs of the critic."""
    values, old_values, returns = (torch.where(mask[..., None], each, 0.0) for each in (values, old_values, returns))
    near = old_values + (values - old_values).clamp(-clip, clip)
    squared = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    return 0.5 * squared.sum() / normalizer
