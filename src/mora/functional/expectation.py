"""Exact expectations over enumerated responses, differentiable: what a policy is worth, without sampling.

Axes: X prompts, Y responses of each.  Policies are log-probabilities (X, Y) in nats; a mean over prompts is uniform.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def expected_rewards(logps: Float[Tensor, "X Y"], rewards: Float[Tensor, "X Y M"]) -> Float[Tensor, "X M"]:
    """``sum_y pi(y|x) r(x, y)`` of each prompt, in reward units."""
    return (logps.exp()[..., None] * rewards).sum(1)


def exact_kl(logps: Float[Tensor, "X Y"], ref_logps: Float[Tensor, "X Y"]) -> Float[Tensor, ""]:
    """``mean_x sum_y pi (log pi - log pi_ref)``, in nats."""
    return (logps.exp() * (logps - ref_logps)).sum(-1).mean()


def exact_utility(
    logps: Float[Tensor, "X Y"],
    ref_logps: Float[Tensor, "X Y"],
    gains: Float[Tensor, "X Y"],
    *,
    kl_coef: float,
) -> Float[Tensor, ""]:
    """``E gain - kl_coef KL(pi || pi_ref)``, in reward units: what policy optimization maximizes in expectation."""
    return (logps.exp() * gains).sum(-1).mean() - kl_coef * exact_kl(logps, ref_logps)
