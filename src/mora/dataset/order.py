"""Which rows make up which global batch: a pure function of the step, so that resuming needs only the step.

Nothing here grows with the number of rows, and nothing depends on how many processes read a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.errors import InputError

ROUNDS, SMALL = 12, 144  # of the permutation: 12, and on so few rows that halves have a bit or two, 144 / bits
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
Words = NDArray[np.uint64]


def _mix(x: Words) -> Words:
    """A bijection of 64-bit words that scatters neighbors (the SplitMix64 finalizer of Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = x ^ (x >> np.uint64(31))
    return mixed


def _keys(seed: int, numbers: Words) -> Words:
    """Keys of permutations, one for each number."""
    with np.errstate(over="ignore"):
        key = np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
        return _mix(_mix(key + _GOLDEN) + numbers * _GOLDEN + np.uint64(1))


def _feistel(places: Words, bits: int, keys: Words) -> Words:
    """A permutation of the numbers of ``bits`` bits: halves, changed in turn by what the other one hashes to."""
    low = bits - bits // 2
    masks = np.uint64((1 << (bits // 2)) - 1), np.uint64((1 << low) - 1)
    halves = [places >> np.uint64(low), places & masks[1]]
    with np.errstate(over="ignore"):
        for number in range(max(ROUNDS, SMALL // bits)):
            side = number % 2
            hashed = _mix((keys + np.uint64(number + 1) * _GOLDEN) ^ halves[1 - side])
            halves[side] = halves[side] ^ (hashed & masks[side])
    return (halves[0] << np.uint64(low)) | halves[1]


def permuted(places: NDArray[np.integer[Any]], count: int, keys: Words) -> NDArray[np.int64]:
    """Where the permutations of 0..count-1 that ``keys`` name put ``places``; all three broadcast.

    A keyed Feistel network on as many bits as ``count`` needs; what falls outside is sent through it again until it
    falls inside (cycle walking; Black and Rogaway 2002), twice on average at the worst.
    """
    bits = max((count - 1).bit_length(), 1)
    found, keys = (array.copy() for array in np.broadcast_arrays(places.astype(np.uint64), keys))
    outside = np.ones(len(found), dtype=bool)
    while outside.any():
        found[outside] = _feistel(found[outside], bits, keys[outside])
        outside = found >= count
    return found.astype(np.int64)


def batch(step: int, rows: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Row indices (batch_size,) of global batch ``step`` (from 0).

    The run reads one long sequence: per epoch a fresh permutation of all rows, keyed by (seed, epoch).  Batch ``step``
    is its piece ``[step * batch_size, (step + 1) * batch_size)``, which may cross the border of an epoch.
    Raises InputError where there is no row.
    """
    _check(step, rows, batch_size)
    return _piece(step * batch_size, batch_size, rows, seed)


def grouped_batch(
    step: int, lengths: NDArray[np.integer[Any]], batch_size: int, seed: int, window: int
) -> NDArray[np.int64]:
    """As ``batch``, of rows that are alike in length (rows,), so that little of a batch is padding.

    The rows of ``window`` consecutive batches of the sequence are sorted by length, rows of one length by their place
    in the sequence, cut into batches, and these are read in an order of their own.  Within a batch rows stand as in the
    sequence.  Windows begin anew with every epoch: a batch that crosses its border is that of ``batch``, so every epoch
    reads every row once.  With ``window`` 1 all batches are those of ``batch``.  Costs as much as ``window`` batches.
    """
    rows = len(lengths)
    _check(step, rows, batch_size)
    if window < 1:
        raise ValueError(f"window must be >= 1, not {window}")
    epoch = step * batch_size // rows
    first, last = -(-epoch * rows // batch_size), (epoch + 1) * rows // batch_size  # batches within the epoch
    start = first + (step - first) // window * window
    count = min(start + window, last) - start
    if not first <= step < last or count == 1:
        return batch(step, rows, batch_size, seed)
    indices = _piece(start * batch_size, count * batch_size, rows, seed)
    order = np.argsort(np.asarray(lengths[indices]), kind="stable").reshape(count, batch_size)
    key = _mix(_keys(seed, np.array([start], dtype=np.uint64)) ^ _GOLDEN)
    (place,) = permuted(np.array([step - start]), count, key)
    return indices[np.sort(order[place])]


def _check(step: int, rows: int, batch_size: int) -> None:
    if rows < 1:
        raise InputError("no rows to make batches of: the dataset has none of the kind that this algorithm reads")
    if step < 0 or batch_size < 1:
        raise ValueError(f"step must be >= 0 and batch_size >= 1, not {step} and {batch_size}")


def _piece(start: int, count: int, rows: int, seed: int) -> NDArray[np.int64]:
    """The rows (count,) at ``start`` and after it in the sequence of all epochs."""
    epoch, place = divmod(start, rows)
    places = np.arange(place, place + count, dtype=np.uint64)
    epochs = np.uint64(epoch) + places // np.uint64(rows)
    return permuted(places % np.uint64(rows), rows, _keys(seed, epochs))
