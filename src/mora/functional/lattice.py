"""Piecewise linear functions of a preference: numbers at the points of a lattice of the simplex, and between them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mora.functional.bernstein import exponents


def hats(preference: Float[Tensor, "B M"], steps: int) -> Float[Tensor, "B F"]:
    """Weights of the lattice points (multiples of ``1 / steps``, in the order of :func:`exponents`) at each preference.

    Barycentric in the simplex of the Kuhn triangulation (1960) that a preference lies in: at most M are above 0, they
    sum to 1, and ``hats(w) @ points == w``.  In double precision.
    """
    if preference.shape[1] == 1:
        return torch.ones_like(preference).double()
    points = torch.tensor(exponents(preference.shape[1], steps), device=preference.device)
    keys, order = _keys(points.cumsum(1)[:, :-1], steps).sort()
    sums = (steps * preference.double()).cumsum(1)[:, :-1].clamp(0, steps)  # rising, as those of the points
    near = sums.round()
    sums = torch.where((sums - near).abs() < 1e-6, near, sums)  # single precision must not make a neighbor of a point
    corner = sums.floor().long()
    rest, turn = (sums - corner).flip(1).sort(dim=1, descending=True, stable=True)  # of equal ones the later first
    edges = torch.cat([torch.ones_like(sums[:, :1]), rest, torch.zeros_like(sums[:, :1])], 1)
    found = torch.zeros(len(preference), len(points), dtype=torch.float64, device=preference.device)
    for number in range(sums.shape[1] + 1):
        weight = edges[:, number] - edges[:, number + 1]
        place = order[torch.searchsorted(keys, _keys(corner, steps)).clamp_max(len(keys) - 1)]
        found.scatter_add_(1, place[:, None], weight[:, None])
        if number < sums.shape[1]:
            corner = corner.scatter_add(1, sums.shape[1] - 1 - turn[:, [number]], torch.ones_like(corner[:, :1]))
    return found


def _keys(sums: Tensor, steps: int) -> Tensor:
    """A number for each lattice point, given by its partial sums (F, M - 1)."""
    powers = (steps + 2) ** torch.arange(sums.shape[1], device=sums.device)
    return (sums * powers).sum(1)


def projected(values: Float[Tensor, "M F"]) -> Float[Tensor, "M F"]:
    """The nearest point of the simplex to each column (Duchi et al. 2008, algorithm 1)."""
    ordered = values.sort(0, descending=True).values
    over = ordered.cumsum(0) - 1
    counts = torch.arange(1, len(values) + 1, device=values.device)[:, None]
    kept = (ordered - over / counts > 0).sum(0, keepdim=True)
    return (values - over.gather(0, kept - 1) / kept).clamp_min(0.0)
