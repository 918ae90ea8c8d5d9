"""How many pairs stand in the data again, and how many are labelled both ways."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mora.types import Row, content_id


class Repeats:
    """Counts pairs by their texts, whichever way round they stand; 8 bytes are held of a pair and of each label."""

    def __init__(self) -> None:
        self._pairs = array("q")
        self._better: dict[str, tuple[array[int], array[int]]] = {}  # of each objective, pairs by their better answer

    def add(self, pair: Row) -> None:
        """Count a row of two answers, whichever way round they stand."""
        low, high = sorted(pair.responses)
        number = content_id(pair.prompt, low, high)
        self._pairs.append(number)
        for name, label in pair.labels.items():
            if label is not None and label != 0.5:
                sides = self._better.setdefault(name, (array("q"), array("q")))
                sides[(label > 0.5) == (pair.responses[1] == high)].append(number)

    def through(self, pairs: Iterable[Row]) -> Iterator[Row]:
        """The pairs, each counted as it passes."""
        for pair in pairs:
            self.add(pair)
            yield pair

    @property
    def repeated(self) -> int:
        """Pairs that stand there again."""
        return len(self._pairs) - len(np.unique(_numbers(self._pairs)))

    @property
    def contradictory(self) -> int:
        """Different pairs of which some objective prefers now the one answer, now the other."""
        both = [np.intersect1d(_numbers(one), _numbers(other)) for one, other in self._better.values()]
        return len(np.unique(np.concatenate(both))) if both else 0


def _numbers(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if values else np.empty(0, np.int64)
