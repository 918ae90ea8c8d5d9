"""Rows to files, by suffix: JSON Lines, plain or compressed (gz, xz), and Parquet; a file is whole or absent."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

from mora.dataset.cells import Cell, written
from mora.errors import InputError
from mora.files import json_line, new_file

Fields = Mapping[str, Any]
Write = Callable[[Fields], None]
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet")


def suffix(path: Path, key: str) -> str:
    """The suffix that says how ``path`` is written.

    ``key`` is the configuration key that names the path.  Raises InputError for one of no known format.
    """
    for known in SUFFIXES:
        if path.name.lower().endswith(known) and len(path.name) > len(known):
            return path.name[-len(known) :]
    raise InputError(f"{key}={path}: no format that can be written; let the name end in {' or '.join(SUFFIXES)}")


@contextmanager
def writing(path: Path, key: str) -> Iterator[Write]:
    """Hand out a function that writes a row; ``path`` comes into being when the block ends well.

    Equal rows give equal bytes.  Raises InputError for an unknown suffix, and for a column of a Parquet file whose
    values are of different kinds.
    """
    kind = suffix(path, key).lower()
    with new_file(path) as temporary:
        if kind == ".parquet":
            rows: list[Fields] = []
            yield rows.append
            pyarrow.parquet.write_table(_table(rows, path), temporary)
        else:
            with temporary.open("wb") as raw, _packed(raw, kind) as stream:
                yield lambda row: _put(stream, row)


def _put(stream: BinaryIO, row: Fields) -> None:
    stream.write(encoded(written(row)))


def encoded(row: Fields) -> bytes:
    """A row as a line of JSON; what JSON does not have, such as dates, becomes text."""
    try:
        return json_line(row).encode()
    except TypeError:
        return encoded(json.loads(json.dumps(row, default=str)))
    except UnicodeEncodeError:  # half of a surrogate pair stays the escape that it was
        return json.dumps(json.loads(json_line(row))).encode() + b"\n"


def _packed(stream: BinaryIO, kind: str) -> BinaryIO:
    if kind == ".jsonl.gz":
        return cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0))
    return cast(BinaryIO, lzma.open(stream, "wb")) if kind == ".jsonl.xz" else stream


def _table(rows: list[Fields], path: Path) -> pyarrow.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[name] = _column([row.get(name) for row in rows], name)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            raise InputError(
                f"{path}: the values of {name!r} are of different kinds, too large or broken texts, which Parquet "
                f"cannot hold ({ascii(str(error))}); write a .jsonl file"
            ) from None
    return pyarrow.table(columns)


def _column(values: list[Any], name: str) -> pyarrow.Array:
    """A column of what its cells stand for; of texts, where some of them stand for another kind than others."""
    try:
        return pyarrow.array([written({name: value})[name] for value in values])
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        if not any(isinstance(value, Cell) for value in values):
            raise
        return pyarrow.array(values)
