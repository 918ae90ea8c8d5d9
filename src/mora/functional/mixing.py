"""Policies between a reference policy and a trained one: geometric mixtures, estimated from sampled answers.

pi_a ~ pi_ref^(1 - a) pi^a, normalized for each prompt, 0 <= a <= 1.  For a policy that is optimal at a KL weight beta,
pi ~ pi_ref exp(r / beta), it is the policy that is optimal at beta / a, so going back from a trained policy to its
reference along a prefers nobody who spent more or less KL.  The mixture of answers, (1 - a) pi_ref + a pi, which costs
the more KL per gain the larger that of pi is, does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Path:
    """Geometric mixtures at G exponents, for each prompt."""

    kl: Floats  # (..., G) nats to the reference policy
    values: Floats  # (..., G, K) expected values of an answer
    effective: Floats  # (..., G) effective number of answers behind them (Kish), at most N + R


def geometric_path(
    own_ratios: ArrayLike,
    reference_ratios: ArrayLike,
    own_values: ArrayLike,
    reference_values: ArrayLike,
    exponents: ArrayLike,
) -> Path:
    """Expected values and KL of pi_a, from N answers of pi and R of pi_ref to each prompt, at ``exponents`` (G,).

    ``own_ratios`` (..., N) and ``reference_ratios`` (..., R) are log pi(y|x) - log pi_ref(y|x) of whole answers, in
    nats; ``own_values`` (..., N, K) and ``reference_values`` (..., R, K) what is averaged over answers.
    All answers together are samples of q = (N pi + R pi_ref) / (N + R) and get the self-normalized weights pi_a / q
    (the balance heuristic, Veach and Guibas, 1995), which unlike pi_a / pi are bounded, by 2 for N = R.  The
    KL is a E_a log(pi / pi_ref) - log Z_a + log Z_0 with Z_a the mean weight.  Both are shifted, linearly in a, to the
    plain means over own answers at a = 1 and over the reference's at a = 0.
    Biased for few answers, by about a variance of the weights divided by ``effective``.
    Raises ``ValueError`` for shapes that do not fit, exponents outside [0, 1], and values that are not finite.
    """
    own, base = np.asarray(own_ratios, dtype=np.float64), np.asarray(reference_ratios, dtype=np.float64)
    mine, theirs = np.asarray(own_values, dtype=np.float64), np.asarray(reference_values, dtype=np.float64)
    a = np.asarray(exponents, dtype=np.float64)
    if mine.shape[:-1] != own.shape or theirs.shape[:-1] != base.shape or own.shape[:-1] != base.shape[:-1]:
        raise ValueError(f"log-ratios {own.shape}, {base.shape} and values {mine.shape}, {theirs.shape} do not fit")
    if not all(np.isfinite(array).all() for array in (own, base, mine, theirs)) or not ((a >= 0) & (a <= 1)).all():
        raise ValueError("log-ratios and values must be finite, and exponents within [0, 1]")
    ratios, values = np.concatenate([own, base], -1), np.concatenate([mine, theirs], -2)
    count = ratios.shape[-1]
    below = np.log(count) - np.logaddexp(np.log(own.shape[-1]) + ratios, np.log(base.shape[-1]))  # log pi_ref / q

    def at(exponent: float) -> tuple[Floats, Floats, Floats]:
        logs = exponent * ratios + below
        weights = softmax(logs, axis=-1)
        kl = exponent * (weights * ratios).sum(-1) - logsumexp(logs, axis=-1) + logsumexp(below, axis=-1)
        return kl, np.einsum("...n,...nk->...k", weights, values), 1 / (weights**2).sum(-1)

    (_, start, _), (spent, end, _) = at(0.0), at(1.0)
    off_start, off_end, off_kl = theirs.mean(-2) - start, mine.mean(-2) - end, own.mean(-1) - spent
    found = [at(exponent) for exponent in a]
    return Path(
        kl=np.stack([kl + e * off_kl for e, (kl, _, _) in zip(a, found, strict=True)], -1),
        values=np.stack([v + (1 - e) * off_start + e * off_end for e, (_, v, _) in zip(a, found, strict=True)], -2),
        effective=np.stack([one[2] for one in found], -1),
    )


def at_kl_budget(kl: ArrayLike, values: ArrayLike, budget: ArrayLike | float) -> Floats:
    """Values (..., P, K) of the mixtures that spend ``budget`` nats, for mean paths ``kl`` (..., P, G) and ``values``
    (..., P, G, K) from the reference policy to the trained one; the trained policy where it spends no more.

    Linear between exponents in the square root of the KL, which near the reference policy is proportional to a.  A KL
    that falls along the path, or is negative (an estimate may be), is taken as the most so far, at least 0.
    ``budget`` is (..., P) or broadcasts to it.  Raises ``ValueError`` for a negative budget, fewer than two exponents,
    and on values that are not finite.
    """
    spent, points = np.asarray(kl, dtype=np.float64), np.asarray(values, dtype=np.float64)
    granted = np.broadcast_to(np.asarray(budget, dtype=np.float64), spent.shape[:-1])
    if not all(np.isfinite(array).all() for array in (spent, points, granted)) or (granted < 0).any():
        raise ValueError("kl, values and budget must be finite, and a budget at least 0")
    if points.shape[:-1] != spent.shape or spent.shape[-1] < 2:
        raise ValueError(f"kl {spent.shape} and values {points.shape} must have the same two or more exponents")
    roots, root = np.sqrt(np.maximum.accumulate(spent.clip(min=0.0), -1)), np.sqrt(granted)[..., None]
    roots = np.concatenate([0 * roots[..., :1], roots[..., 1:]], -1)
    below = ((roots <= root).sum(-1, keepdims=True) - 1).clip(max=spent.shape[-1] - 2)
    low, high = (np.take_along_axis(roots, below + step, -1) for step in (0, 1))
    share = np.where(high > root, (root - low) / np.where(high > low, high - low, 1.0), 1.0)
    start, end = (np.take_along_axis(points, (below + step)[..., None], -2)[..., 0, :] for step in (0, 1))
    return np.asarray(start + share * (end - start))
