"""Token ids of texts that were tokenized before, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


class TokenCache:
    """Token ids of the texts that were asked for last, as many as ``capacity`` bytes hold."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._held = capacity, 0
        self._known: OrderedDict[str, Ids] = OrderedDict()

    def get(self, text: str) -> Ids | None:
        """The ids of ``text`` (T,), or None where they are not remembered."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
        return known

    def put(self, text: str, ids: Sequence[int]) -> Ids:
        """``ids`` as an array (T,) that nobody may write to; what was not asked for longest is forgotten for it."""
        kept = np.array(ids, dtype=np.int32)
        kept.setflags(write=False)
        self._known[text] = kept
        self._held += _bytes(text, kept)
        while self._held > self._capacity and len(self._known) > 1:
            self._held -= _bytes(*self._known.popitem(last=False))
        return kept


def _bytes(text: str, ids: Ids) -> int:
    return len(text) + ids.nbytes + 400  # the objects around them
