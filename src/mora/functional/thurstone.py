"""Normal utilities (Thurstone 1927): two answers with a location and a scale each, and which one wins.

An answer's utility, over those who judge it, is ``N(location, scale^2)``; a pair depends on the difference of locations
D and on ``s = sqrt(scale_1^2 + scale_0^2)`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from mora.functional.quantile import midpoint_levels

MIN_SCALE = 1e-2  # least scale of an answer: bounds D / s
STEP, STEPS = 1.0 / 6.0, 60  # of the rule that averages over a standard normal: 121 nodes from -10 to 10


def positive_scale(raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Scales from raw outputs: ``softplus(raw) + 0.01``."""
    return softplus(raw) + MIN_SCALE


def scale_bias(initial_scale: float) -> float:
    """The raw output that :func:`positive_scale` turns into ``initial_scale``: inverse softplus.

    Raises ValueError unless the scale exceeds the least one.
    """
    if initial_scale <= MIN_SCALE:
        raise ValueError(f"a scale of {initial_scale} is not above the least one, {MIN_SCALE}")
    return math.log(math.expm1(initial_scale - MIN_SCALE))


def probit_log_likelihood(
    location_1: Float[Tensor, "*batch"],
    location_0: Float[Tensor, "*batch"],
    scale_1: Float[Tensor, "*batch"],
    scale_0: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Log-probability that answer 1 beats answer 0, in nats: ``log Phi(D / s)``, Thurstone's case III.

    It stays the same when locations and scales grow by one factor: pairs leave the unit open.  Computed in fp64 and
    returned in fp32 (fp64 for fp64): in fp32 the gradient of log Phi is off by 5 % at -1000 and lost at -1e5.
    """
    dtype = torch.promote_types(location_1.dtype, torch.float32)
    spread = torch.hypot(scale_1.double(), scale_0.double())
    log_wins: Tensor = torch.special.log_ndtr((location_1.double() - location_0.double()) / spread)
    return log_wins.to(dtype)


def logistic_log_likelihood(
    location_1: Float[Tensor, "*batch"],
    location_0: Float[Tensor, "*batch"],
    scale_1: Float[Tensor, "*batch"],
    scale_0: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Log-probability that answer 1 beats answer 0, in nats: ``log E sigma(D + s eps)``, eps standard normal.

    Utilities with logistic noise of unit scale on top: s = 0 is Bradley-Terry, and the noise fixes the unit.  The
    logarithm stands outside the mean; inside, any smaller s would lower the loss and the scales would collapse.

    The mean is the trapezoidal rule, whose error falls as ``exp(-2 pi^2 / (s STEP))`` since the integrand's poles lie
    pi / s off the real axis: for |D| <= 30, log P is exact to 1e-6 up to s = 7 (scales of 5 each) and to 1e-3 up to
    s = 14.  Gauss-Hermite needs over 200 nodes for as much.  Its nodes are symmetric, so the probabilities of both
    outcomes sum to 1 at any s.  Computed in fp32 or better.
    """
    dtype = torch.promote_types(location_1.dtype, torch.float32)
    spread = torch.hypot(scale_1.to(dtype), scale_0.to(dtype))
    nodes = STEP * torch.arange(-STEPS, STEPS + 1, dtype=dtype, device=spread.device)
    log_weights = (-0.5 * nodes.square()).log_softmax(0)
    difference = location_1.to(dtype) - location_0.to(dtype)
    return (logsigmoid(difference[..., None] + spread[..., None] * nodes) + log_weights).logsumexp(-1)


def anchor_classes(ratings: Float[Tensor, "*batch"], cuts: Sequence[float]) -> Int[Tensor, "*batch"]:
    """0 below the first cut, 1 from it to the second, 2 from the second on."""
    return (ratings >= cuts[0]).long() + (ratings >= cuts[1]).long()


def anchor_log_probabilities(
    location: Float[Tensor, "*batch"], scale: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3"]:
    """Log-probabilities in nats that ``N(location, scale^2)`` is below -1, between -1 and 1, and above 1.

    ``log Phi((-1 - mu)/s)``, ``log(Phi((1 - mu)/s) - Phi((-1 - mu)/s))``, ``log Phi((mu - 1)/s)``: two fixed cuts say
    where 0 is and what a unit is, which pairs under :func:`probit_log_likelihood` leave open.  The middle one is taken
    on the side where both terms are small, ``Phi((1 - |mu|)/s) - Phi((-1 - |mu|)/s)``, from their logarithms.
    Computed in fp64 and returned in fp32 (fp64 for fp64).
    """
    dtype = torch.promote_types(location.dtype, torch.float32)
    location, scale = location.double(), scale.double()
    below, above = (torch.special.log_ndtr((side * location - 1.0) / scale) for side in (-1.0, 1.0))
    upper, lower = (torch.special.log_ndtr((cut - location.abs()) / scale) for cut in (1.0, -1.0))
    between = upper + (-torch.expm1(lower - upper)).log()
    return torch.stack([below, between, above], -1).to(dtype)


def scale_loss(scale_1: Float[Tensor, "*batch"], scale_0: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """``(log s_1)^2 + (log s_0)^2``: pulls scales to 1, the same for a scale of c as for 1 / c."""
    return scale_1.log().square() + scale_0.log().square()


def normal_atoms(
    location: Float[Tensor, "*batch"], scale: Float[Tensor, "*batch"], *, count: int
) -> Float[Tensor, "*batch K"]:
    """``N(location, scale^2)`` as K ascending atoms of mass 1/K whose mean and deviation are location and scale.

    The atoms are the quantiles at the midpoint levels (k - 1/2)/K, stretched about the location: K midpoints leave out
    the tails and would have a deviation of 0.79 (K = 3), 0.93 (K = 9) or 0.98 (K = 33) of the scale.  Raises ValueError
    for fewer than 2 atoms.
    """
    if count < 2:
        raise ValueError(f"{count} atoms: a distribution with a deviation needs at least 2")
    normal = NormalDist()
    places = torch.tensor([normal.inv_cdf(level) for level in midpoint_levels(count)], dtype=torch.float64)
    places = (places - places.flip(0)) / 2  # symmetric to the last bit
    places = (places / places.square().mean().sqrt()).to(location)
    return location[..., None] + scale[..., None] * places
