"""Random numbers that belong to rows: a counter-based generator.

A draw is a pure function of ``(seed, stream, counters)``.  Keyed by row id, step and token position it does not
depend on the batch a row stands in, on the number of processes or on what was drawn before; nothing has to be saved
for a resume.  The mixing function is the finalizer of SplitMix64 (Steele, Lea and Flood 2014), applied once per
counter.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor


class Stream(IntEnum):
    """What a draw is for: two streams never share numbers."""

    GENERATION = 1
    VERTEX = 2
    DIRICHLET = 3
    PERMUTATION = 4
    ROW = 5
    MEMBER = 6
    REFERENCE = 7
    SCORE = 8


def _signed(value: int) -> int:
    """The int64 with the same bits as the unsigned 64-bit ``value``."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MULTIPLY_1 = _signed(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's ``>>`` is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The SplitMix64 finalizer on int64; multiplication wraps modulo 2^64."""
    x = (x ^ _shift(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift(x, 27)) * _MULTIPLY_2
    return x ^ _shift(x, 31)


def hashed(seed: int, stream: Stream, *counters: int | Tensor) -> Tensor:
    """64 mixed bits (as int64) for each element of the broadcast ``counters``."""
    device = next((c.device for c in counters if isinstance(c, Tensor)), torch.device("cpu"))
    start = torch.tensor(_signed(seed), dtype=torch.int64, device=device)
    state = _mix(_mix(start + _GOLDEN) + int(stream))  # mixed twice: at no seed is a stream mistaken for a counter
    for counter in counters:
        value = (
            counter if isinstance(counter, Tensor) else torch.tensor(_signed(counter), dtype=torch.int64, device=device)
        )
        state = _mix((state ^ _mix(value + _GOLDEN)) + _GOLDEN)
    return state


def uniform(seed: int, stream: Stream, *counters: int | Tensor) -> Tensor:
    """Uniform numbers in the open interval (0, 1), float64, one for each element of the broadcast ``counters``.

    ``counters`` are integers or int64 tensors.  The top 53 bits are used, so neither 0 nor 1 occurs.
    """
    return (_shift(hashed(seed, stream, *counters), 11).double() + 0.5) * 2.0**-53


def normal(seed: int, stream: Stream, *counters: int | Tensor) -> Tensor:
    """Standard normal numbers, float64, one for each element of the broadcast ``counters``, by inversion."""
    drawn: Tensor = torch.special.ndtri(uniform(seed, stream, *counters))
    return drawn


def poisson_ones(seed: int, stream: Stream, *counters: int | Tensor) -> Tensor:
    """Poisson(1) numbers, int64, one for each element of the broadcast ``counters``, by inversion.

    The number of times that a row stands in a bootstrap sample of very many rows.  At most 12, which is exceeded once
    in 1e10 draws.
    """
    draws = uniform(seed, stream, *counters)
    below = term = math.exp(-1.0)
    count = torch.zeros_like(draws, dtype=torch.int64)
    for k in range(1, 13):
        count += draws > below
        term /= k
        below += term
    return count
