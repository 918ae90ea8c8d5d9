"""Random numbers of a corpus: a shorter corpus is the beginning of a longer one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Draws:
    """Uniform numbers for ``rows`` rows; each call is a fresh block, keyed by (seed, part, number of the call)."""

    def __init__(self, seed: int, part: int, rows: int):
        self.seed, self.part, self.rows, self.calls = seed, part, rows, 0

    def uniform(self, *shape: int) -> Floats:
        """(rows, *shape), in (0, 1)."""
        key = np.random.SeedSequence(self.seed, spawn_key=(self.part, self.calls))
        self.calls += 1
        return np.maximum(np.random.Generator(np.random.Philox(key)).random((self.rows, *shape)), 1e-16)

    def below(self, count: int | Codes) -> Codes:
        """(rows,) uniform integers in [0, count)."""
        return (self.uniform() * count).astype(np.int64)
