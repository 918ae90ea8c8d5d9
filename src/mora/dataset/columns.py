"""The form of stored rows: record batches of Arrow, and files of numbers beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from mora.errors import InputError
from mora.files import read_json
from mora.types import Row


def mapped(path: Path, dtype: str, rows: int, width: int = 1) -> NDArray[Any]:
    """The numbers of a file, memory-mapped: (rows,) or (rows, width).

    Raises InputError where it holds another number of them.
    """
    size = path.stat().st_size if path.is_file() else -1
    if size != rows * width * np.dtype(dtype).itemsize:
        raise InputError(f"{path}: damaged, {size} bytes for {rows} entries; delete the folder {path.parent}")
    if size == 0:
        return np.empty((0, width) if width > 1 else 0, dtype)
    flat: NDArray[Any] = np.memmap(path, dtype, mode="r")
    return flat.reshape(rows, width) if width > 1 else flat


def card_of(folder: Path, name: str, version: int) -> dict[str, Any]:
    """The card of a folder of files.  Raises InputError where it is missing, or of another schema than ``version``."""
    card = read_json(folder / name)
    found = card.get("schema") if isinstance(card, dict) else None
    if found != version:
        reason = f"of schema {found}, and this version reads {version}"
        raise InputError(f"{folder / name}: {reason}; delete the folder, and it is made again")
    return dict(card)


def schema(objectives: Sequence[str]) -> pyarrow.Schema:
    """Three columns of texts and four per objective; of a label there may be a number, null, or no word at all."""
    text, number = pyarrow.large_utf8(), pyarrow.float64()
    fields: dict[str, pyarrow.DataType] = {"prompt": text, "responses": pyarrow.list_(text), "where": text}
    for name in objectives:
        fields[f"has_label/{name}"], fields[f"label/{name}"] = pyarrow.bool_(), number
        fields[f"ratings/{name}"], fields[f"strength/{name}"] = pyarrow.list_(pyarrow.list_(number)), number
    return pyarrow.schema(list(fields.items()))


def record_batch(rows: Sequence[Row], objectives: Sequence[str]) -> pyarrow.RecordBatch:
    """Rows as a record batch of ``schema(objectives)``."""
    columns: list[list[Any]] = [[r.prompt for r in rows], [r.responses for r in rows], [r.where for r in rows]]
    for name in objectives:
        columns += [[name in r.labels for r in rows], [r.labels.get(name) for r in rows]]
        columns += [[r.ratings.get(name) for r in rows], [r.strengths.get(name) for r in rows]]
    form = schema(objectives)
    arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, form, strict=True)]
    return pyarrow.record_batch(arrays, schema=form)


def rows_of(batch: pyarrow.RecordBatch, objectives: Sequence[str]) -> Iterator[Row]:
    """The rows of a record batch."""
    columns = [column.to_pylist() for column in batch.columns]
    of = {name: columns[3 + 4 * place : 7 + 4 * place] for place, name in enumerate(objectives)}
    for i, (prompt, responses, where) in enumerate(zip(*columns[:3], strict=True)):
        yield Row(
            prompt=prompt,
            responses=tuple(responses),
            labels={name: label[i] for name, (known, label, _, _) in of.items() if known[i]},
            ratings={name: tuple(map(tuple, r[i])) for name, (_, _, r, _) in of.items() if r[i] is not None},
            strengths={name: s[i] for name, (_, _, _, s) in of.items() if s[i] is not None},
            where=where,
        )


def texts_of(row: Row) -> bytes:
    """What is hashed of the texts of a row."""
    texts = [text.encode() for text in (row.prompt, *row.responses)]
    return b"".join([" ".join(str(len(text)) for text in texts).encode(), b"\n", *texts])


def said_of(row: Row) -> bytes:
    """What is hashed of labels, ratings and strengths of a row."""
    said: list[Mapping[str, Any]] = [row.labels, row.ratings, row.strengths]
    return json.dumps([sorted(of.items()) for of in said]).encode()
