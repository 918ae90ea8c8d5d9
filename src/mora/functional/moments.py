"""Means and variances that are merged instead of stored.

Population variances throughout: a batch of one has the variance 0, never NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Moments(NamedTuple):
    """Total weight of what was seen, its mean (M,) and its population variance (M,), in double precision."""

    weight: float
    mean: Tensor
    variance: Tensor


def moments(values: Float[Tensor, "B M"]) -> Moments:
    """Of the rows of a batch, each with weight 1; at least one row."""
    rows = values.double()
    mean = rows.mean(0)
    return Moments(float(len(rows)), mean, (rows - mean).square().mean(0))


def merged(one: Moments, other: Moments) -> Moments:
    """Moments of the union (Chan, Golub and LeVeque 1983), for any weights of which one is above 0.

    ``mean = m_1 + d w_2 / w``, ``variance = (w_1 v_1 + w_2 v_2) / w + d^2 w_1 w_2 / w^2`` with ``w = w_1 + w_2`` and
    ``d = m_2 - m_1``; no difference of large squares, so values far from 0 lose no digits.
    """
    weight = one.weight + other.weight
    share = other.weight / weight
    distance = other.mean - one.mean
    within = (1.0 - share) * one.variance + share * other.variance
    return Moments(weight, one.mean + distance * share, within + distance.square() * share * (1.0 - share))


def decayed(one: Moments, batch: Moments, decay: float) -> Moments:
    """The exponential moving average: ``one`` fades by ``decay``, the batch counts as 1 - decay whatever its size.

    After t batches the weight is ``1 - decay^t``.  Means are over the weight that there is, so early values carry no
    bias toward a start: the first is that of the first batch (bias correction as in Adam, Kingma and Ba 2015).
    """
    return merged(one._replace(weight=decay * one.weight), batch._replace(weight=1.0 - decay))


def nothing(objectives: int) -> Moments:
    """Before anything was seen: weight 0."""
    zeros = torch.zeros(objectives, dtype=torch.float64)
    return Moments(0.0, zeros, zeros.clone())
