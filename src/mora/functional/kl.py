"""The estimate of KL(pi || pi_ref) from samples of pi, in nats.

What stands off the mask is never read; a NaN on it comes out as NaN, and an answer without a token has a KL of 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def sequence_kl(
    logps: Float[Tensor, "B T"], ref_logps: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """``sum_t log pi - log pi_ref`` of each sampled response: unbiased for the sequence KL, may be negative (k1)."""
    return torch.where(mask, logps - ref_logps, 0.0).sum(-1)
