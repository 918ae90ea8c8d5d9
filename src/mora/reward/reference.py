"""Which prompts the units of rewards are measured on: drawn over all of them, each source in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mora.dataset.store import prompt_ids, take
from mora.functional.noise import Stream, hashed
from mora.types import Row

Ints = NDArray[np.int64]


def reference_prompts(rows: Sequence[Row], count: int) -> Sequence[Row]:
    """``count`` of the prompts ``rows``, or all where there are no more, in their order.

    A source, which is a file or a split of the hub, has as many of them as its share of the rows says, to less than
    one.  Within a source a hash of the prompt draws, so that neither the order of rows nor the seed of a run has a
    say.  Copies of a prompt are drawn one by one.
    """
    if count >= len(rows):
        return rows
    source = _sources(rows)
    granted = apportioned(np.bincount(source), count)
    keys = _keys(prompt_ids(rows))
    order = np.lexsort((keys, source))  # source by source, in each by hash
    sizes = np.bincount(source)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its source
    return take(rows, np.sort(order[place < np.repeat(granted, sizes)]))


def apportioned(sizes: Ints, count: int) -> Ints:
    """``count`` places (S,) for groups of these sizes (S,), by largest remainders; of equal ones the first group's.

    ``count`` is at most the sum of the sizes, and no group gets more than its size.
    """
    shares = sizes * count / sizes.sum()
    granted = np.floor(shares).astype(np.int64)
    left = count - int(granted.sum())
    granted[np.argsort(granted - shares, kind="stable")[:left]] += 1
    return granted


def _sources(rows: Sequence[Row]) -> Ints:
    """The number of each row's source (rows,), sources in order of appearance."""
    numbers: dict[str, int] = {}
    names = (row.where.rpartition(":")[0] for row in rows)
    return np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(rows))


def _keys(ids: Ints) -> Ints:
    """What each prompt is ordered by (rows,): a hash of it, and of how often it stood before."""
    order = np.argsort(ids, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0])
    turn = np.empty_like(order)
    turn[order] = np.arange(len(ids)) - np.repeat(first, np.diff(np.r_[first, len(ids)]))
    found: Ints = hashed(0, Stream.REFERENCE, torch.from_numpy(np.array(ids)), torch.from_numpy(turn)).numpy()
    return found
