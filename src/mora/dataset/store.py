"""Rows in files: written once as shards of Arrow IPC, read through memory maps, so that no process holds them.

A folder of rows is ``rows.json``, the shards, and a file of fixed width for each of ``COLUMNS``.  It appears under its
name when it is whole (``row_writer.py``).  Labels, ratings and strengths are kept to the bit.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow
from numpy.typing import NDArray

from mora.dataset.columns import card_of, mapped, rows_of, said_of, texts_of
from mora.dataset.split import conversation_id
from mora.dataset.view import Index, Ints, column, narrowed
from mora.errors import InputError
from mora.types import Row

SCHEMA = 2  # of the folder
CARD = "rows.json"
ROWS_AT_ONCE = 512  # rows of a record batch
OPEN_BATCHES = 256  # record batches whose place is remembered
COLUMNS = {  # read without decoding a row
    "prompt_ids": "<i8",
    "conversation_ids": "<i8",
    "row_ids": "<i8",
    "response_counts": "i1",
}


def texts_digest(rows: Iterable[Row]) -> str:
    """SHA-256 of the prompts and responses of rows and of their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(texts_of(row))
    return digest.hexdigest()


def take(rows: Sequence[Row], indices: Sequence[int] | Ints) -> Sequence[Row]:
    """Some rows, in the order given: a view of rows that lie in files, a list of others."""
    select = getattr(rows, "select", None)
    chosen: Sequence[Row] = [rows[i] for i in indices] if select is None else select(indices)
    return chosen


def prompt_ids(rows: Sequence[Row]) -> NDArray[np.int64]:
    """``Row.prompt_id`` of each row (rows,)."""
    if isinstance(rows, StoredRows):
        return rows.prompt_ids
    return np.fromiter((row.prompt_id for row in rows), np.int64, len(rows))


def conversation_ids(rows: Sequence[Row]) -> NDArray[np.int64]:
    """``split.conversation_id`` of each row's prompt (rows,)."""
    if isinstance(rows, StoredRows):
        return rows.conversation_ids
    return np.fromiter((conversation_id(row.prompt) for row in rows), np.int64, len(rows))


def row_ids(rows: Sequence[Row]) -> NDArray[np.int64]:
    """``Row.id`` of each row (rows,)."""
    return rows.row_ids if isinstance(rows, StoredRows) else np.fromiter((row.id for row in rows), np.int64, len(rows))


def content(rows: Sequence[Row]) -> str:
    """A hash of all that rows say, ``where`` aside, and of their order; the same in memory and in files."""
    if isinstance(rows, StoredRows):
        return rows.content
    digest = hashlib.sha256()
    for row in rows:
        digest.update(texts_of(row) + said_of(row))
    return digest.hexdigest()


class StoredRows(Sequence[Row]):
    """Rows of a folder that ``RowWriter`` wrote, or some of them, as a sequence.

    Nothing is read before it is asked for.  A slice and ``select`` are views; a view by indices holds these.
    """

    def __init__(self, files: _Files, index: Index) -> None:
        self._files, self._index = files, index

    @classmethod
    def open(cls, folder: Path | str) -> StoredRows:
        """All rows of ``folder``.  Raises InputError where it is none, damaged, or of another schema."""
        files = _Files(Path(folder))
        return cls(files, range(files.rows))

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> StoredRows: ...
    def __getitem__(self, index: int | slice) -> Row | StoredRows:
        if isinstance(index, slice):
            return StoredRows(self._files, self._index[index])
        return self._files.row(int(self._index[index]))

    def __iter__(self) -> Iterator[Row]:
        for some in self.batches(ROWS_AT_ONCE):
            yield from some

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the folder's name and opens it anew."""
        return _opened, (str(self.folder), self._index)

    @property
    def folder(self) -> Path:
        """Where the rows lie."""
        return self._files.folder

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives that rows may say something of."""
        return tuple(self._files.card["objectives"])

    @property
    def prompt_ids(self) -> NDArray[np.int64]:
        """``Row.prompt_id`` of each row (rows,)."""
        return self._column("prompt_ids")

    @property
    def conversation_ids(self) -> NDArray[np.int64]:
        """``split.conversation_id`` of each row's prompt (rows,)."""
        return self._column("conversation_ids")

    @property
    def row_ids(self) -> NDArray[np.int64]:
        """``Row.id`` of each row (rows,)."""
        return self._column("row_ids")

    @property
    def response_counts(self) -> NDArray[np.int8]:
        """The number of responses of each row (rows,)."""
        return self._column("response_counts")

    @property
    def texts(self) -> str:
        """``texts_digest`` of the rows; of a view, a hash of that of all rows and of the choice."""
        return self._digest("texts")

    @property
    def content(self) -> str:
        """A hash of all that the rows say, ``where`` aside, and of their order; as ``texts`` for a view."""
        return self._digest("content")

    def select(self, indices: Sequence[int] | Ints) -> StoredRows:
        """A view of some rows, in the order given."""
        return StoredRows(self._files, narrowed(self._index, indices))

    def batches(self, size: int) -> Iterator[list[Row]]:
        """The rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield list(self._files.decoded(self._index[start : start + size]))

    def _column(self, name: str) -> NDArray[Any]:
        return column(self._files.columns[name], self._index)

    def _digest(self, key: str) -> str:
        whole = str(self._files.card[key])
        if isinstance(self._index, range):
            if self._index == range(self._files.rows):
                return whole
            chosen = repr(self._index).encode()
        else:
            chosen = self._index.astype("<i8").tobytes()
        return hashlib.sha256(whole.encode() + chosen).hexdigest()


class _Files:
    """An opened folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card = folder, card_of(folder, CARD, SCHEMA)
        self.rows, self._at_once = int(self.card["rows"]), int(self.card["rows_at_once"])
        self.columns = {name: mapped(folder / f"{name}.bin", dtype, self.rows) for name, dtype in COLUMNS.items()}
        self._first, count = [], 0  # of each shard, the number of its first record batch
        for shard in self.card["shards"]:
            path = folder / shard["file"]
            if not path.is_file() or path.stat().st_size != shard["bytes"]:
                raise InputError(f"{path}: missing or damaged; delete the folder {folder}, and it is made again")
            self._first.append(count)
            count += -(-shard["rows"] // self._at_once)
        self._readers: dict[int, pyarrow.ipc.RecordBatchFileReader] = {}
        self._batch = lru_cache(OPEN_BATCHES)(self._read)

    def _read(self, number: int) -> pyarrow.RecordBatch:
        shard = bisect_right(self._first, number) - 1
        if shard not in self._readers:
            path = self.folder / self.card["shards"][shard]["file"]
            self._readers[shard] = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
        return self._readers[shard].get_batch(number - self._first[shard])

    def row(self, index: int) -> Row:
        """One row."""
        number, place = divmod(index, self._at_once)
        return next(rows_of(self._batch(number).slice(place, 1), self.card["objectives"]))

    def decoded(self, indices: Index) -> Iterator[Row]:
        """Rows in the order given; those beside each other of one record batch are decoded together."""
        for number, group in groupby(map(int, indices), lambda index: index // self._at_once):
            places = np.array(list(group)) - number * self._at_once
            batch, count = self._batch(number), len(places)
            ordered = count == 1 or bool((np.diff(places) == 1).all())
            part = batch.slice(int(places[0]), count) if ordered else batch.take(pyarrow.array(places))
            yield from rows_of(part, self.card["objectives"])


def _opened(folder: str, index: Index) -> StoredRows:
    return StoredRows(_files(folder), index)


@lru_cache(maxsize=8)
def _files(folder: str) -> _Files:
    return _Files(Path(folder))
