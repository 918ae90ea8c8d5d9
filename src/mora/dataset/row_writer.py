"""Writes rows one by one into a folder of shards, which ``store.StoredRows`` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import pyarrow

from mora.dataset.columns import record_batch, said_of, schema, texts_of
from mora.dataset.split import conversation_id
from mora.dataset.store import CARD, COLUMNS, ROWS_AT_ONCE, SCHEMA
from mora.files import new_folder, write_json
from mora.types import Row

SHARD_BYTES = 2**30  # a shard ends with the record batch that reaches it


class RowWriter:
    """Writes rows of some objectives into ``folder``, which is whole or absent::

        with RowWriter(folder, objectives) as writer:
            writer.add(row)

    Holds ``ROWS_AT_ONCE`` rows at most.  ``add`` raises ValueError for a row that says something of another objective.
    """

    def __init__(self, folder: Path | str, objectives: Sequence[str], *, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._objectives, self._shard_bytes = Path(folder), tuple(objectives), shard_bytes
        self._schema = schema(self._objectives)
        self._waiting: list[Row] = []
        self._shards: list[dict[str, Any]] = []
        self._sink: pyarrow.OSFile | None = None
        self._texts, self._content = hashlib.sha256(), hashlib.sha256()

    def __enter__(self) -> RowWriter:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(new_folder(self._folder))
            self._columns: dict[str, IO[bytes]] = {
                name: stack.enter_context((self._temporary / f"{name}.bin").open("wb")) for name in COLUMNS
            }
            stack.push(self._closed)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(self, row: Row) -> None:
        """Append a row; raises ValueError for one that says something of another objective."""
        unknown = {*row.labels, *row.ratings, *row.strengths} - {*self._objectives}
        if unknown:
            raise ValueError(f"{row.where or repr(row.prompt[:60])}: objectives that the rows do not have: {unknown}")
        self._waiting.append(row)
        if len(self._waiting) == ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        for row in rows:
            texts = texts_of(row)
            self._texts.update(texts)
            self._content.update(texts + said_of(row))
        values = {
            "prompt_ids": [row.prompt_id for row in rows],
            "conversation_ids": [conversation_id(row.prompt) for row in rows],
            "row_ids": [row.id for row in rows],
            "response_counts": [len(row.responses) for row in rows],
        }
        for name, dtype in COLUMNS.items():
            self._columns[name].write(np.array(values[name], dtype).tobytes())
        if self._sink is None:
            name = f"rows-{len(self._shards):05d}.arrow"
            self._sink = pyarrow.OSFile(str(self._temporary / name), "wb")
            self._writer = pyarrow.ipc.new_file(self._sink, self._schema)
            self._shards.append({"file": name, "rows": 0})
        self._writer.write_batch(record_batch(rows, self._objectives))
        self._shards[-1]["rows"] += len(rows)
        if self._sink.tell() >= self._shard_bytes:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._sink is not None:
            self._writer.close()
            self._sink.close()
            self._shards[-1]["bytes"] = (self._temporary / self._shards[-1]["file"]).stat().st_size
            self._sink = None

    def _closed(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._end_shard()
        for stream in self._columns.values():
            stream.close()
        card = {
            "schema": SCHEMA,
            "objectives": list(self._objectives),
            "rows": sum(shard["rows"] for shard in self._shards),
            "rows_at_once": ROWS_AT_ONCE,
            "texts": self._texts.hexdigest(),
            "content": self._content.hexdigest(),
            "shards": self._shards,
        }
        if kind is None:
            write_json(self._temporary / CARD, card)
