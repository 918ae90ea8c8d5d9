"""Estimates of KL(pi || pi_ref) from samples of pi, in nats.

What stands off the mask is never read; a NaN on it comes out as NaN, and an answer without a token has a KL of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Estimator = Literal["k2", "k3"]
ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "k2": lambda ratio: 0.5 * ratio**2,
    "k3": lambda ratio: torch.expm1(-ratio) + ratio,
}
"""By log pi - log pi_ref of a token (Schulman 2020, "Approximating KL divergence"); neither is ever negative."""


def sequence_kl(
    logps: Float[Tensor, "B T"], ref_logps: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """``sum_t log pi - log pi_ref`` of each sampled response: unbiased for the sequence KL, may be negative (k1)."""
    return torch.where(mask, logps - ref_logps, 0.0).sum(-1)


def token_kl_loss(
    logps: Float[Tensor, "B T"],
    ref_logps: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    estimator: Estimator,
    kl_coef: Float[Tensor, " B"] | float,
    normalizer: float,
) -> Float[Tensor, ""]:
    """``sum_t kl_coef k(log pi - log pi_ref) / normalizer`` over sampled tokens, to be differentiated.

    Its gradient is not that of the sequence KL: what a token does to the KL of later ones is left out.  Of what is
    left, k2 has the gradient of KL(pi || pi_ref) of each token, and k3 that of KL(pi_ref || pi).
    """
    ratio = torch.where(mask, logps - ref_logps, 0.0)
    price = torch.as_tensor(kl_coef).to(logps)[..., None]
    return (price * ESTIMATORS[estimator](ratio)).sum() / normalizer
