"""Bernstein polynomials on the simplex: numbers that depend on a preference, as a weighted mean of few of them."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import factorial, prod

import torch
from jaxtyping import Float
from torch import Tensor


def exponents(objectives: int, degree: int) -> list[tuple[int, ...]]:
    """Of each polynomial the exponents of the M weights, which sum to ``degree``: C(M + degree - 1, degree) of them.

    The first is all of the first objective, the last all of the last.
    """
    chosen = combinations_with_replacement(range(objectives), degree)
    return [tuple(some.count(i) for i in range(objectives)) for some in chosen]


def corners(objectives: int, degree: int) -> list[int]:
    """Of each objective the place of the polynomial that is 1 where it has all the weight."""
    own = exponents(objectives, degree)
    return [own.index(tuple(degree * (i == j) for j in range(objectives))) for i in range(objectives)]


def bernstein(preference: Float[Tensor, "B M"], degree: int) -> Float[Tensor, "B F"]:
    """``degree! / prod_i e_i! prod_i w_i^e_i`` for each of :func:`exponents`, in double precision.

    None is negative and they sum to 1, so a combination of them stays within the range of its coefficients, and at a
    single objective it is that objective's coefficient.  Degree 1 gives the weights themselves.
    """
    weights = preference.double()
    columns = []
    for powers in exponents(weights.shape[1], degree):
        count = factorial(degree) / prod(factorial(power) for power in powers)
        columns.append(count * torch.stack([weights[:, i] ** power for i, power in enumerate(powers)]).prod(0))
    return torch.stack(columns, 1)
