"""Distributions over a few fixed rewards: which of two answers draws the larger one, and how wide a pair spreads.

Only the order of the atoms decides a pair, so their unit and their distances are a convention: A atoms, equally spaced
from -1 to 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def support(atoms: int) -> tuple[float, ...]:
    """``s_a = (2 a - A - 1) / (A - 1)`` for a = 1..A: equally spaced from -1 to 1; for odd A the middle one is 0.

    Raises ValueError for fewer than 2 atoms.
    """
    if atoms < 2:
        raise ValueError(f"{atoms} atoms: a distribution over atoms needs at least 2")
    return tuple((2 * place - (atoms - 1)) / (atoms - 1) for place in range(atoms))


def tilted_log_probabilities(raw: Float[Tensor, "*batch W"]) -> Float[Tensor, "*batch A"]:
    """``log_softmax_a(raw_1 s_a + raw_{1+a})`` of W = A + 1 raw outputs: a location that tilts, and A free logits.

    A raised location moves mass up, whatever the logits are, and the logits alone reach every distribution with full
    support.  Location and logits share two directions (a constant and a tilt of the logits) that change nothing, so
    they have no gradient.  Computed in fp32 or better.
    """
    raw = raw if raw.dtype == torch.float64 else raw.float()
    places = raw.new_tensor(support(raw.shape[-1] - 1))
    return (raw[..., :1] * places + raw[..., 1:]).log_softmax(-1)


def categorical_log_likelihood(
    log_p_1: Float[Tensor, "*batch A"], log_p_0: Float[Tensor, "*batch A"]
) -> Float[Tensor, "*batch"]:
    """Log-probability that answer 1 beats answer 0, in nats: ``P = sum_{a > b} p1_a p0_b + 1/2 sum_a p1_a p0_a``.

    Each answer draws an atom by itself, equal atoms are a toss-up (Siththaranjan et al. 2023).  The sum is taken of
    logarithms, so its own and the gradient stay finite however far apart the answers are.
    """
    places = torch.arange(log_p_1.shape[-1], device=log_p_1.device)
    lead = (places[:, None] - places).sign()  # of answer 1's atom over answer 0's
    credit = (0.5 * (1 + lead)).to(log_p_1).log()  # log 1, log 1/2 or log 0
    return (log_p_1[..., :, None] + log_p_0[..., None, :] + credit).flatten(-2).logsumexp(-1)


def shared_entropy(log_p_1: Float[Tensor, "*batch A"], log_p_0: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """Entropy of the mean of two distributions, ``H((p1 + p0) / 2)``, in nats: at most log A."""
    log_mean = torch.logaddexp(log_p_1, log_p_0) - math.log(2.0)
    return -(log_mean.exp() * log_mean).sum(-1)


def log_above_zero(log_p: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """Log-probability in nats of an atom above 0, with half of the mass at 0."""
    credit = 0.5 * (1 + log_p.new_tensor(support(log_p.shape[-1])).sign())
    return (log_p + credit.log()).logsumexp(-1)
