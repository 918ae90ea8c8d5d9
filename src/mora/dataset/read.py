"""Records from files: JSON Lines, JSON, CSV and Parquet, plain or compressed (gz, xz), with the place of each record.

A file named ``.jsonl`` may be one JSON list of objects, and one named ``.json`` may hold lines.

A record that cannot be read (broken JSON, bytes that are no UTF-8, a line beyond ``mora.limits``) comes with its
problem; a file that cannot be read, or that gives more than its size lets expect, raises InputError.
"""

from __future__ import annotations

import csv
import glob
import gzip
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

from mora.errors import InputError
from mora.json_text import BOM, NotJSON, decoded, loads
from mora.limits import JSON_BYTES, LINE_BYTES, SHOWN, TABLE_ROWS, expanded

FORMS = (".jsonl", ".json", ".csv", ".parquet")
PACKED = (".gz", ".xz")
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
        _refuse_links_out(place, found, key)
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


def _refuse_links_out(folder: Path, found: Sequence[Path], key: str) -> None:
    """Raises InputError for a file of a folder that is a link to a file elsewhere: a folder may be a stranger's.

    In a snapshot of the hub's cache links lead to files of the same dataset.
    """
    root = folder.resolve()
    root = root.parents[1] if root.parent.name == "snapshots" else root
    for file in found:
        if not file.resolve().is_relative_to(root):
            raise InputError(
                f"{key}: {file} is a link out of {folder}, to {file.resolve()}; name that file, or copy it"
            )


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
        start = start.removeprefix(BOM).lstrip()
        if form == ".csv":
            yield from _of_csv(file)
        elif _LIST.match(start) or (form == ".json" and start[:1] in (b"[", b"")):
            yield from _of_list(file)
        else:
            yield from _of_lines(file)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException) as error:
        raise InputError(f"{file}: cannot be read, damaged or not what its name says: {error}") from error


def _opened(file: Path) -> BinaryIO:
    suffix = file.suffix.lower()
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    return cast(BinaryIO, lzma.open(file, "rb")) if suffix == ".xz" else open(file, "rb")


def _most(file: Path) -> int | None:
    """The most bytes that a file may give; None for one that is not compressed."""
    return expanded(file.stat().st_size) if file.suffix.lower() in PACKED else None


def _too_much(where: str, most: int) -> InputError:
    return InputError(
        f"{where}: the compressed file gives more than {most} bytes, far beyond what text does; unpack it to see what "
        "it is, and name the unpacked file"
    )


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, less a byte-order mark; of one beyond LINE_BYTES no more than these.

    Raises InputError where a compressed file gives too much.
    """
    most, given, number = _most(file), 0, 0
    with _opened(file) as stream:
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            given += len(line)
            rest = line
            while len(rest) > LINE_BYTES and not rest.endswith(b"\n"):  # read on, and forget, up to the line's end
                rest = stream.readline(LINE_BYTES + 1)
                given += len(rest)
                if most is not None and given > most:
                    raise _too_much(f"{file}:{number}", most)
            if most is not None and given > most:
                raise _too_much(f"{file}:{number}", most)
            yield number, line.removeprefix(BOM) if number == 1 else line


def _of_lines(file: Path) -> Iterator[Record]:
    for number, line in _lines(file):
        if line.strip():
            yield _of_line(f"{file}:{number}", line)


def _of_line(where: str, line: bytes) -> Record:
    if len(line) > LINE_BYTES:
        start = line[:SHOWN].decode("utf-8", errors="replace")
        return Record(where=where, fields=None, raw=start, problem=f"the line has more than {LINE_BYTES} bytes")
    raw = line.decode("utf-8", errors="replace").rstrip("\r\n")
    try:
        return _of_value(where, loads(line.decode("utf-8").rstrip("\r\n")), raw)
    except UnicodeDecodeError as error:
        return Record(where=where, fields=None, raw=raw, problem=f"byte {error.start + 1} of the line is no UTF-8")
    except NotJSON as error:
        return Record(where=where, fields=None, raw=raw, problem=str(error))


def _of_value(where: str, value: Any, raw: Any) -> Record:
    if isinstance(value, dict):
        return Record(where=where, fields=value, raw=raw)
    problem = f"must be a JSON object, not {type(value).__name__}"
    return Record(where=where, fields=None, raw=raw, problem=problem)


def _of_list(file: Path) -> Iterator[Record]:
    """A JSON list of records.  Raises InputError for one that is broken or larger than JSON_BYTES."""
    most = _most(file)
    bound = JSON_BYTES if most is None else min(most, JSON_BYTES)
    with _opened(file) as stream:
        content = stream.read(bound + 1)
    if len(content) > bound == most:
        raise _too_much(str(file), bound)
    if len(content) > bound:
        raise InputError(f"{file}: a JSON list of more than {bound} bytes; write it as JSON Lines, one record a line")
    try:
        values = loads(decoded(content))
    except NotJSON as error:
        raise InputError(f"{file}:{error.line}: {error}" if error.line else f"{file}: {error}") from None
    for number, value in enumerate(values, start=1):
        yield _of_value(f"{file}: record {number}", value, value)


def _of_csv(file: Path) -> Iterator[Record]:
    """Rows under a line of column names; in a column of ids, 0 and 1 become numbers; an empty field becomes null."""
    csv.field_size_limit(LINE_BYTES)
    reader = csv.DictReader(_csv_lines(file), strict=True)
    try:
        _refuse_repeated(reader.fieldnames or (), f"{file}:1")
        for row in reader:
            where = f"{file}:{reader.line_num}"
            if None in row or None in row.values():
                problem = f"the row does not have the {len(reader.fieldnames or ())} fields that the first line names"
                yield Record(where=where, fields=None, raw=row, problem=problem)
            else:
                yield Record(where=where, fields={name: _of_cell(name, cell) for name, cell in row.items()}, raw=row)
    except csv.Error as error:
        raise InputError(f"{file}:{reader.line_num}: broken CSV: {error}") from None


def _csv_lines(file: Path) -> Iterator[str]:
    for number, line in _lines(file):
        if len(line) > LINE_BYTES:
            raise InputError(f"{file}:{number}: the line has more than {LINE_BYTES} bytes")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{file}:{number}: byte {error.start + 1} of the line is no UTF-8") from None


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises InputError where two columns have one name: one of them would be lost."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"{where}: two columns are named {', '.join(map(repr, repeated))}; rename one of them")


def _of_cell(name: str, cell: str) -> Any:
    if cell == "":
        return None
    words = (
        {"0": 0, "1": 1} if name.endswith("_id") else {"true": True, "false": False} if name.startswith("is_") else {}
    )
    return words.get(cell.lower(), cell)


def _of_parquet(file: Path) -> Iterator[Record]:
    table = pyarrow.parquet.ParquetFile(file)
    _refuse_repeated(table.schema_arrow.names, str(file))
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    most = expanded(file.stat().st_size)
    if any(size > most or size < 0 for size in (group.total_byte_size for group in groups)):
        raise _too_much(str(file), most)
    number, given = 0, 0
    for chunk in table.iter_batches(batch_size=TABLE_ROWS):
        where = f"{file}: row {number + 1} or one of the {TABLE_ROWS} after it"
        given += chunk.nbytes
        if given > most:
            raise _too_much(where, most)
        if chunk.nbytes > TABLE_ROWS * LINE_BYTES:
            raise InputError(f"{where} has more than {LINE_BYTES} bytes")
        try:
            rows = chunk.to_pylist()
        except (ValueError, OverflowError) as error:  # a date that Python has none of, a text that is no UTF-8
            raise InputError(f"{where}: {error}") from None
        for fields in rows:
            number += 1
            yield Record(where=f"{file}: row {number}", fields=fields, raw=fields)
