"""Advantages and returns over response tokens.

What stands off the mask is never read, whatever it is; a NaN on it comes out as NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mora.bounds import Share


def token_rewards(
    score: Float[Tensor, "B C"],
    old_logps: Float[Tensor, "B T"],
    ref_logps: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: float,
) -> Float[Tensor, "B T C"]:
    """Rewards of each token: ``-kl_coef (log pi_old - log pi_ref)``, plus the score on the last response token.

    The KL term stands in every one of the C streams; because preference weights sum to 1 it enters a linear gain once.
    ``kl_coef`` is in reward units per nat.  No row gives no row; raises ValueError when a row has no response token,
    T = 0 included.
    """
    lengths = mask.sum(-1)
    if bool((lengths == 0).any()):
        raise ValueError("a row has no response token: the score would have no place")
    penalty = torch.where(mask, -kl_coef * (old_logps - ref_logps), 0.0)
    rewards = penalty[..., None].expand(*mask.shape, score.shape[-1]).clone()
    last = (lengths - 1)[:, None, None].expand(-1, 1, score.shape[-1])
    return rewards.scatter_add(1, last, score[:, None, :].to(rewards.dtype))


def gae(
    rewards: Float[Tensor, "B T C"],
    values: Float[Tensor, "B T C"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: Share,
    lam: Share,
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16): advantages and returns, both 0 off the mask.

    ``delta_t = r_t + gamma V_{t+1} - V_t`` with V = 0 after the last response token,
    ``A_t = delta_t + gamma lam A_{t+1}``, ``returns = A + V``.  Without a row or a token there is nothing: the same
    empty shapes.
    """
    keep = mask[..., None]
    rewards, values = torch.where(keep, rewards, 0.0), torch.where(keep, values, 0.0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(rewards)
    running = rewards.new_zeros(rewards.shape[0], rewards.shape[2])
    for t in range(rewards.shape[1] - 1, -1, -1):
        running = torch.where(keep[:, t], deltas[:, t] + gamma * lam * running, 0.0)
        advantages[:, t] = running
    return advantages, advantages + values


def leave_one_out(gains: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """``gain - mean of the other N - 1 gains`` of the same prompt and preference (RLOO; Kool et al. 2019).

    Raises ValueError for fewer than two samples of a prompt.
    """
    count = gains.shape[-1]
    if count < 2:
        raise ValueError("leave-one-out needs at least two samples of a prompt")
    return (gains - gains.mean(-1, keepdim=True)) * (count / (count - 1))
