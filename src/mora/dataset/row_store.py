"""Where the rows of a corpus are put while a source is read: lists in memory, or folders of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows
from mora.types import Row


class Writer(AbstractContextManager["Writer"], Protocol):
    """Takes rows one by one."""

    def add(self, row: Row) -> None:
        """Append a row; raises ValueError where the sequence cannot hold its objectives."""


class RowStore(Protocol):
    """Sequences of rows under names, each written once and then read."""

    def writer(self, name: str) -> Writer:
        """A writer of a new sequence, in place of one that was written under ``name`` before."""

    def rows(self, name: str) -> Sequence[Row]:
        """The sequence that was written under ``name``."""


class _List(list[Row]):
    """A list of rows as a writer."""

    def __enter__(self) -> _List:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, row: Row) -> None:
        """Append a row, as it is."""
        self.append(row)


class MemoryStore:
    """Lists of rows, held by this process."""

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}

    def writer(self, name: str) -> Writer:
        """An empty list under ``name``, whatever it held before."""
        self._lists[name] = _List()
        return self._lists[name]

    def rows(self, name: str) -> Sequence[Row]:
        """The list itself, no copy; KeyError where nothing was written under ``name``."""
        return self._lists[name]


class FolderStore:
    """Folders of stored rows below ``folder``, all with the same objectives."""

    def __init__(self, folder: Path, objectives: Sequence[str]) -> None:
        self._folder, self._objectives = folder, tuple(objectives)

    def writer(self, name: str) -> Writer:
        """Writes the folder ``name``, which appears when the writer is closed without an error."""
        return RowWriter(self._folder / name, self._objectives)

    def rows(self, name: str) -> Sequence[Row]:
        """The rows in the folder, memory-mapped.  Raises InputError as ``StoredRows.open`` does."""
        return StoredRows.open(self._folder / name)


def write_rows(store: RowStore, name: str, rows: Iterable[Row]) -> Sequence[Row]:
    """``rows`` written under ``name``, to be read from where they now lie."""
    with store.writer(name) as writer:
        for row in rows:
            writer.add(row)
    return store.rows(name)


def split_name(side: str, kind: str) -> str:
    """The name of a sequence of rows: of ``train`` or ``test``, and a kind of ``corpus.KINDS``."""
    return f"{side}-{kind}"
