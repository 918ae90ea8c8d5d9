"""Which rows make up which global batch: a pure function of the step, so that resuming needs only the step."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mora.errors import InputError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit words that scatters neighbors (the SplitMix64 finalizer of Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


@lru_cache(maxsize=8)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Rows sorted by a 64-bit hash of (seed, epoch, row): the same on every machine and with every numpy."""
    with np.errstate(over="ignore"):
        key = np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
        key = _mix(_mix(key + _GOLDEN) + np.array([epoch], dtype=np.uint64) * _GOLDEN + np.uint64(1))
        keys = _mix(_mix(key + np.arange(rows, dtype=np.uint64) * _GOLDEN) + _GOLDEN)
    order = np.argsort(keys, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def batch(step: int, rows: int, batch_size: int, seed: int) -> np.ndarray:
    """Row indices (batch_size,) of global batch ``step`` (from 0).

    The run reads one long sequence: per epoch a fresh permutation of all rows, keyed by (seed, epoch).  Batch ``step``
    is its piece ``[step * batch_size, (step + 1) * batch_size)``, which may cross the border of an epoch.
    Raises InputError where there is no row.
    """
    if rows < 1:
        raise InputError("no rows to make batches of: the dataset has none of the kind that this algorithm reads")
    if step < 0 or batch_size < 1:
        raise ValueError(f"step must be >= 0 and batch_size >= 1, not {step} and {batch_size}")
    indices = np.empty(batch_size, dtype=np.int64)
    filled = 0
    while filled < batch_size:
        epoch, start = divmod(step * batch_size + filled, rows)
        piece = _permutation(rows, seed, epoch)[start : start + batch_size - filled]
        indices[filled : filled + len(piece)] = piece
        filled += len(piece)
    return indices
