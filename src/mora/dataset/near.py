"""Texts that are nearly the same: exact Jaccard similarity of their shingles, after MinHash found who may be alike.

A text is the set of its runs of ``SHINGLE`` characters (Broder, "On the resemblance and containment of documents",
1997).  Signatures are those of ``rensa`` (MinHash, 128 numbers of 32 bits, a fixed seed), cut into ``BANDS``: two texts
are compared where they agree in a whole band (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4), which
at a similarity of 0.7 is missed once in 6,000 times.  What is compared is decided by the exact similarity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

SHINGLE = 5  # characters
SIMILAR = 0.7  # Jaccard similarity of shingles from which on two texts are near each other
LONGEST = 20_000  # characters of a text that are compared
BANDS, WIDTH = 32, 4  # numbers of a signature: BANDS * WIDTH
FROM_BAND, COMPARED = (
    64,
    32,
)  # texts that one band brings forward, and those that a text is compared with, most alike first
AT_ONCE = 1024  # texts that are signed together
SEED = 1

Hashes = NDArray[np.uint64]
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 1], np.uint64)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def shingles(text: str) -> Hashes:
    """Hashes of the runs of SHINGLE characters in a text, each once, ascending; of a shorter text one, of it all."""
    codes = np.frombuffer(text[:LONGEST].ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    count = len(codes) - SHINGLE + 1
    found = sum((codes[i : i + count] * factor for i, factor in enumerate(_FACTORS)), np.zeros(count, np.uint64))
    found = (found ^ (found >> np.uint64(32))) * _MIX
    return np.unique(found ^ (found >> np.uint64(29)))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Elements of both sets over elements of either; the sets ascend."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


class Similar:
    """Texts among which near ones are looked for.  Holds 384 bytes a text, and not the texts.

    ``texts`` are read once; ``reread`` gives some of them again by their numbers.
    """

    def __init__(self, texts: Iterable[str], reread: Callable[[Sequence[int]], Iterable[str]]) -> None:
        self._reread = reread
        bands = np.concatenate([np.zeros((0, BANDS), np.uint64), *(keys for _, keys in _signed(texts))])
        order = np.argsort(bands, axis=0, kind="stable")
        self._keys = np.ascontiguousarray(np.take_along_axis(bands, order, axis=0).T)  # (BANDS, texts)
        self._order = np.ascontiguousarray(order.T.astype(np.int32))

    def near(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each text has a near one among those that are known (texts,)."""
        return np.fromiter((hit for sets, keys in _signed(texts) for hit in self._hits(sets, keys)), bool, len(texts))

    def _hits(self, sets: Sequence[Hashes], keys: Hashes) -> Iterator[bool]:
        first, last = (
            np.stack([np.searchsorted(known, keys[:, band], side) for band, known in enumerate(self._keys)], axis=1)
            for side in ("left", "right")
        )
        for own, starts, ends in zip(sets, first.tolist(), last.tolist(), strict=True):
            agreeing: Counter[int] = Counter()
            for band, (start, end) in enumerate(zip(starts, ends, strict=True)):
                if start < end:
                    agreeing.update(self._order[band, start : min(end, start + FROM_BAND)].tolist())
            most = [number for number, _ in agreeing.most_common(COMPARED)]
            yield any(jaccard(own, shingles(text)) >= SIMILAR for text in (self._reread(most) if most else ()))


def _signed(texts: Iterable[str]) -> Iterator[tuple[list[Hashes], Hashes]]:
    """Shingles of texts, AT_ONCE at a time, and the keys of their bands (texts, BANDS)."""
    waiting: list[Hashes] = []
    for text in texts:
        waiting.append(shingles(text))
        if len(waiting) == AT_ONCE:
            yield waiting, _bands(waiting)
            waiting = []
    if waiting:
        yield waiting, _bands(waiting)


def _bands(sets: Sequence[Hashes]) -> Hashes:
    ends = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), ends, BANDS * WIDTH, SEED)
    numbers = np.array(matrix.to_rows(), np.uint64).reshape(len(sets), BANDS, WIDTH)
    keys = np.zeros((len(sets), BANDS), np.uint64)
    for place in range(WIDTH):
        keys = (keys ^ numbers[..., place]) * _FACTORS[0]
        keys ^= keys >> np.uint64(31)
    return keys
