"""Advantages and returns over response tokens.

What stands off the mask is never read, whatever it is; a NaN on it comes out as NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mora.bounds import Share
from mora.functional.centering import group_means

LEAST_STD = 1e-4  # added to the deviation of a group, as is usual; answers that score alike have no advantage
Normalization = Literal["none", "scale", "whiten"]


def token_rewards(
    score: Float[Tensor, "B C"],
    old_logps: Float[Tensor, "B T"],
    ref_logps: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: Float[Tensor, " B"] | float,
) -> Float[Tensor, "B T C"]:
    """Rewards of each token: ``-kl_coef (log pi_old - log pi_ref)``, plus the score on the last response token.

    The KL term stands in every one of the C streams; because preference weights sum to 1 it enters a linear gain once.
    ``kl_coef`` is in reward units per nat, of all rows or of each.  No row gives no row; raises ValueError when a row
    has no response token, T = 0 included.
    """
    lengths = mask.sum(-1)
    if bool((lengths == 0).any()):
        raise ValueError("a row has no response token: the score would have no place")
    price = torch.as_tensor(kl_coef).to(old_logps)[..., None]
    penalty = torch.where(mask, -price * (old_logps - ref_logps), 0.0)
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


def rloo(returns: Float[Tensor, "B C"], weights: Float[Tensor, "B C"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """``sum_c w_c (R_c - mean of R_c over the other rows of the group)`` (Kool et al. 2019).

    RLOO for language models: Ahmadian et al. 2024.  Rows with the same ``group`` are answers to one prompt, each at
    weights of its own.  The baseline of a row does not depend on its own answer, so the gradient stays unbiased.
    Raises ValueError for a row alone in its group.
    """
    centered, size = _within(returns, group)
    advantages: Tensor = (centered * weights).sum(-1) * (size / (size - 1)).squeeze(-1)
    return advantages


def reinforce(
    returns: Float[Tensor, "B C"], weights: Float[Tensor, "B C"], group: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """``sum_c w_c R_c``: nothing is subtracted, and rows need no group (Williams 1992).  Unbiased, of high variance."""
    gains: Tensor = (returns * weights).sum(-1)
    return gains


def grpo(returns: Float[Tensor, "B C"], weights: Float[Tensor, "B C"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """``(G - mean G) / std G`` over a row's group, of gains ``G_j = sum_c w_c R_jc`` at the row's own weights.

    Shao et al. 2024 (arXiv 2402.03300, 4.1.2), with the deviation of a sample (divisor n - 1).  Where a prompt's
    answers differ little their advantages are enlarged: prompts count alike, and no longer by what is to be gained.
    Raises ValueError for a row alone in its group.
    """
    centered, size = _within(returns, group)
    products = group_means(centered[:, :, None] * centered[:, None, :], group).to(returns)
    products = products * (size / (size - 1))[..., None]
    variance = torch.einsum("bc,bcd,bd->b", weights, products, weights)
    return (centered * weights).sum(-1) / (variance.clamp_min(0.0).sqrt() + LEAST_STD)


def gdpo(returns: Float[Tensor, "B C"], weights: Float[Tensor, "B C"], group: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """``sum_c w_c (R_c - mean R_c) / std R_c`` over a row's group: each reward is normalized before it is weighed.

    GDPO (arXiv 2601.05242), before its normalization over the batch.  A preference then weighs standardized rewards of
    each prompt, and not rewards: an objective that hardly varies on a prompt counts as much as one that varies much.
    Raises ValueError for a row alone in its group.
    """
    return _standardized(returns, weights, group).sum(-1)


def gd2po(
    returns: Float[Tensor, "B C"], weights: Float[Tensor, "B C"], group: Int[Tensor, " B"], *, agreement: Share
) -> Float[Tensor, " B"]:
    """:func:`gdpo` without the answers that rewards disagree about, times the share of a group that is kept.

    An answer is left out, with an advantage of exactly 0, where the terms ``a_c`` of its sum cancel:
    ``|sum a_c| < agreement sum |a_c|``, which none does whose terms have one sign (GD2PO, arXiv 2606.16771; the
    threshold is that of its code, .2).  ``a_c`` stand as weighed here, so that a preference decides what is a
    conflict.  Raises ValueError as :func:`gdpo`.
    """
    terms = _standardized(returns, weights, group)
    advantages = terms.sum(-1)
    kept = (advantages.abs() >= agreement * terms.abs().sum(-1)).to(returns)
    share = group_means(kept[:, None], group).to(returns)[:, 0]
    return advantages * kept * share


def _standardized(returns: Tensor, weights: Tensor, group: Tensor) -> Tensor:
    """Each reward less the mean and divided by the deviation of its group, weighed (B, C)."""
    centered, size = _within(returns, group)
    variances = group_means(centered**2, group).to(returns) * size / (size - 1)
    return centered / (variances.sqrt() + LEAST_STD) * weights


def _within(returns: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Returns less the mean of their group (B, C), and the rows of the group (B, 1)."""
    centered = returns - group_means(returns, group).to(returns)
    _, index, count = torch.unique(group, return_inverse=True, return_counts=True)
    return centered, count.to(returns)[index, None]


def normalized(
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    how: Normalization,
    total: Callable[[Tensor], Tensor],
) -> Float[Tensor, "B T"]:
    """Advantages on the mask, 0 off it, in the unit of all on the mask: as they are (``none``), divided by their
    standard deviation (``scale``), or less their mean too (``whiten``).

    ``total`` sums a tensor over processes.
    """
    advantages = torch.where(mask, advantages, 0.0)
    if how == "none":
        return advantages
    count, sums, squares = total(torch.stack([mask.float().sum(), advantages.sum(), (advantages**2).sum()]).double())
    count = count.clamp_min(1.0)
    mean = sums / count
    std = (squares / count - mean**2).clamp_min(1e-12).sqrt()
    shift = mean if how == "whiten" else torch.zeros_like(mean)
    return torch.where(mask, (advantages - shift.to(advantages)) / std.to(advantages), 0.0)
