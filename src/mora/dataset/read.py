"""Records from files: JSON Lines, JSON, CSV and Parquet, plain or compressed (gz, xz), with the place of each record.

A file named ``.jsonl`` may be one JSON list of objects, and one named ``.json`` may hold lines.

A record that cannot be read (broken JSON, bytes that are no UTF-8) comes with its problem; a file that cannot be read
raises InputError.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

from mora.errors import InputError

FORMS = (".jsonl", ".json", ".csv", ".parquet")
PACKED = (".gz", ".xz")
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_LIST = re.compile(rb"\s*\[\s*\{")  # of objects


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of a file; ``fields`` is None where it could not be read, and ``problem`` says why."""

    where: str
    fields: Mapping[str, Any] | None
    raw: Any
    problem: str = ""


def records(path: str, key: str) -> Iterator[Record]:
    """The records of a file, of all files below a folder, or of all files of a glob pattern, in order of name.

    ``key`` is the configuration key that names the path.  Raises InputError where there is no file or no record.
    """
    return records_of(files(path, key), f"{key}={path}")


def records_of(found: Sequence[Path], said: str) -> Iterator[Record]:
    """The records of files; ``said`` is what the user gave.  Raises InputError where there is none."""
    empty = True
    for file in found:
        for record in _of_file(file):
            empty = False
            yield record
    if empty:
        raise InputError(f"{said}: empty, no record in {', '.join(map(str, found[:5]))}")


def files(path: str, key: str) -> list[Path]:
    """The files that ``path`` means.  Raises InputError where there is none, or one of an unknown form."""
    place = Path(path).expanduser()
    if place.is_file():
        found = [place]
    elif place.is_dir():
        found = sorted(file for file in place.rglob("*") if file.is_file() and _form(file) in FORMS)
    else:
        found = sorted(Path(name) for name in glob.glob(str(place), recursive=True) if Path(name).is_file())
    if not found:
        there = "holds no file of a known form" if place.is_dir() else "no such file"
        raise InputError(f"{key}={path}: {there} (known: {', '.join(FORMS)}, also with {' or '.join(PACKED)})")
    for file in found:
        if _form(file) not in FORMS:
            raise InputError(
                f"{key}: {file}: unknown form (known: {', '.join(FORMS)}, also with {' or '.join(PACKED)})"
            )
    return found


def _form(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _of_file(file: Path) -> Iterator[Record]:
    form = _form(file)
    try:
        if form == ".parquet":
            yield from _of_parquet(file)
            return
        with _opened(file) as stream:
            start = stream.read(64)
        if start[:2] in _WIDE_BOMS:
            raise InputError(f"{file}: written as UTF-16; write it as UTF-8")
        with _opened(file) as stream:
            stream.read(len(_BOM) if start.startswith(_BOM) else 0)
            lines = _of_json if _LIST.match(start.removeprefix(_BOM)) else _of_lines
            yield from {".jsonl": lines, ".json": _of_json, ".csv": _of_csv}[form](file, stream)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException) as error:
        raise InputError(f"{file}: cannot be read, damaged or not what its name says: {error}") from error


def _opened(file: Path) -> BinaryIO:
    suffix = file.suffix.lower()
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    return cast(BinaryIO, lzma.open(file, "rb")) if suffix == ".xz" else open(file, "rb")


def _of_lines(file: Path, stream: BinaryIO) -> Iterator[Record]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield _of_line(f"{file}:{number}", line)


def _of_line(where: str, line: bytes) -> Record:
    raw = line.decode("utf-8", errors="replace").rstrip("\r\n")
    try:
        return _of_value(where, json.loads(line.decode("utf-8").rstrip("\r\n")), raw)
    except UnicodeDecodeError as error:
        return Record(where=where, fields=None, raw=raw, problem=f"byte {error.start + 1} of the line is no UTF-8")
    except json.JSONDecodeError as error:
        return Record(where=where, fields=None, raw=raw, problem=f"broken JSON: {error.msg} at column {error.colno}")


def _of_value(where: str, value: Any, raw: Any) -> Record:
    if isinstance(value, dict):
        return Record(where=where, fields=value, raw=raw)
    problem = f"must be a JSON object, not {type(value).__name__}"
    return Record(where=where, fields=None, raw=raw, problem=problem)


def _of_json(file: Path, stream: BinaryIO) -> Iterator[Record]:
    """A JSON list of records, or JSON Lines under this name."""
    content = stream.read()
    if not content.lstrip().startswith(b"["):
        yield from _of_lines(file, io.BytesIO(content))
        return
    try:
        values = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start + 1} is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{file}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}") from None
    for number, value in enumerate(values, start=1):
        yield _of_value(f"{file}: record {number}", value, value)


def _of_csv(file: Path, stream: BinaryIO) -> Iterator[Record]:
    """Rows under a line of column names; in a column of ids, 0 and 1 become numbers; an empty field becomes null."""
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8", newline=""), strict=True)
    try:
        for row in reader:
            where = f"{file}:{reader.line_num}"
            if None in row or None in row.values():
                problem = f"the row does not have the {len(reader.fieldnames or ())} fields that the first line names"
                yield Record(where=where, fields=None, raw=row, problem=problem)
            else:
                yield Record(where=where, fields={name: _of_cell(name, cell) for name, cell in row.items()}, raw=row)
    except UnicodeDecodeError:
        raise InputError(f"{file}:{reader.line_num + 1}: at or soon after this line, bytes that are no UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file}:{reader.line_num}: broken CSV: {error}") from None


def _of_cell(name: str, cell: str) -> Any:
    if cell == "":
        return None
    words = (
        {"0": 0, "1": 1} if name.endswith("_id") else {"true": True, "false": False} if name.startswith("is_") else {}
    )
    return words.get(cell.lower(), cell)


def _of_parquet(file: Path) -> Iterator[Record]:
    table = pyarrow.parquet.ParquetFile(file)
    number = 0
    for chunk in table.iter_batches(batch_size=1024):
        for fields in chunk.to_pylist():
            number += 1
            yield Record(where=f"{file}: row {number}", fields=fields, raw=fields)
