"""Quantiles of a reward: a head that cannot cross, the likelihood of a pair, and the pinball loss."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softplus

MIN_GAP = 1e-4  # least distance of neighboring quantiles, in logits: their order survives rounding


def running_sum(values: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Cumulative sum over the last axis, for small K: unlike ``torch.cumsum``, deterministic on every device.

    A NaN or an infinity stands in the sums from its place on.
    """
    places = torch.arange(values.shape[-1], device=values.device)
    return torch.where(places <= places[:, None], values[..., None, :], 0.0).sum(-1)


def midpoint_levels(count: int) -> tuple[float, ...]:
    """Levels ``(k - 1/2) / K`` for k = 1..K: each quantile stands for a mass of 1/K."""
    return tuple((k + 0.5) / count for k in range(count))


def gap_bias(initial_gap: float) -> float:
    """The raw output that :func:`mean_gaps` turns into a gap of ``initial_gap`` logits: inverse softplus.

    Raises ValueError unless the gap exceeds the least one.
    """
    if initial_gap <= MIN_GAP:
        raise ValueError(f"a gap of {initial_gap} between quantiles is not above the least one, {MIN_GAP}")
    return math.log(math.expm1(initial_gap - MIN_GAP))


def mean_gaps(raw: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Ascending quantiles from one location and K - 1 raw gaps.

    ``z_k = raw_1 + c_k - mean(c)``, ``c_k = sum_{j=2..k} (softplus(raw_j) + 1e-4)``.  The mean of the quantiles is the
    location, so the location alone is the scalar score and the gaps only shape the spread.  Computed in fp32 or better.
    """
    raw = raw if raw.dtype == torch.float64 else raw.float()
    steps = pad(running_sum(softplus(raw[..., 1:]) + MIN_GAP), (1, 0))
    return raw[..., :1] + (steps - steps.mean(-1, keepdim=True))


def dbt_log_likelihood(z_1: Float[Tensor, "*batch K"], z_0: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Log-probability that answer 1 beats answer 0, in nats: distributional Bradley-Terry.

    ``log P = logsumexp_{kl} log sigma(z_1k - z_0l) - 2 log K`` with ``P = (1/K^2) sum_{kl} sigma(z_1k - z_0l)``: the
    likelihood of a random-utility model in which each answer's utility is one of its K quantiles.  K = 1 is
    Bradley-Terry.  The logarithm stands outside the mean: a mean of logarithms would be lowered by any contraction of
    the spread and collapse the quantiles.  Computed in fp32 or better.
    """
    if z_1.dtype != torch.float64:
        z_1, z_0 = z_1.float(), z_0.float()
    logs = logsigmoid(z_1[..., :, None] - z_0[..., None, :])
    return logs.flatten(-2).logsumexp(-1) - 2.0 * math.log(z_1.shape[-1])


def comonotone_log_likelihood(
    z_1: Float[Tensor, "*batch K"], z_0: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """Log-probability that answer 1 beats answer 0, in nats, when one annotator stands at the same level for both.

    ``log P = logsumexp_k log sigma(z_1k - z_0k) - log K`` with ``P = (1/K) sum_k sigma(z_1k - z_0k)``.  A spread that
    both answers share cancels, so pairs say less about it than in :func:`dbt_log_likelihood`.  K = 1 is Bradley-Terry.
    Computed in fp32 or better.
    """
    if z_1.dtype != torch.float64:
        z_1, z_0 = z_1.float(), z_0.float()
    return logsigmoid(z_1 - z_0).logsumexp(-1) - math.log(z_1.shape[-1])


def pinball_loss(
    quantiles: Float[Tensor, "*batch K"], target: Float[Tensor, "*batch"], levels: Float[Tensor, " K"]
) -> Float[Tensor, "*batch"]:
    """Quantile regression (Koenker and Bassett 1978), summed over levels: ``sum_k u_k (tau_k - 1[u_k < 0])``.

    ``u_k = target - quantile_k``; the minimum over a sample is its quantile at tau_k.  For absolute targets.
    """
    error = target[..., None] - quantiles
    return (error * (levels - (error < 0).to(error.dtype))).sum(-1)
