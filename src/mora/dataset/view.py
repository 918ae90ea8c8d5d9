"""Views of sequences that lie in files: which rows of a file a view shows, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Index = range | Ints  # rows of the file, in the order of the view


def narrowed(index: Index, chosen: Sequence[int] | Ints) -> Index:
    """The view of some rows of a view; raises IndexError where it has no such row."""
    places = np.asarray(chosen, dtype=np.int64)
    if not isinstance(index, range):
        return index[places]
    if len(places) and not -len(index) <= places.min() <= places.max() < len(index):
        raise IndexError(f"an index lies outside of {len(index)} rows")
    return index.start + index.step * np.where(places < 0, places + len(index), places)


def column(values: NDArray[Any], index: Index) -> NDArray[Any]:
    """The numbers (rows, ...) of a view; of a range of rows they stay where they are, memory-mapped."""
    if not isinstance(index, range):
        return values[index]
    if len(index) == 0:
        return values[:0]
    stop = index[-1] + (1 if index.step > 0 else -1)
    return values[index[0] : None if stop < 0 else stop : index.step]
