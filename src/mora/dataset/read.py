"""Records from files: JSON Lines, JSON, CSV and Parquet, plain or compressed (gz, xz, bz2, zst), each with its place.

A file named ``.jsonl`` may be one JSON list of objects, and one named ``.json`` may hold lines; objects may be printed
over several lines.  CSV may have commas, semicolons or tabs between its columns; in ``.tsv`` they are tabs.

A record that cannot be read (broken JSON, bytes that are no UTF-8, a line beyond ``mora.limits``) comes with its
problem; a file that cannot be read, or that gives more than its size lets expect, raises InputError.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet

from mora.dataset import opened
from mora.dataset.cells import cell
from mora.dataset.paths import file_format, files
from mora.errors import InputError
from mora.json_text import BOM, NotJSON, decoded, loads, values
from mora.limits import JSON_BYTES, LINE_BYTES, SHOWN, TABLE_ROWS, expanded

DELIMITERS = ",;\t"  # between the columns of a CSV file
_LIST = re.compile(rb"\[\s*\{")  # of objects
_PRINTED = re.compile(rb"\{\s*\n")  # an object over several lines


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


def _of_file(file: Path) -> Iterator[Record]:
    kind = file_format(file)
    with opened.readable(file):
        if kind == ".parquet":
            yield from _of_parquet(file)
            return
        start = opened.start(file)
        if kind in (".csv", ".tsv"):
            yield from _of_csv(file)
        elif _LIST.match(start) or (kind == ".json" and start[:1] in (b"[", b"")):  # nothing yet: far down, or empty
            yield from _of_list(file)
        elif _PRINTED.match(start):
            yield from _of_printed(file)
        else:
            yield from _of_lines(file)


def _of_lines(file: Path) -> Iterator[Record]:
    for number, line in opened.lines(file):
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
    content = _whole(file, "a JSON list")
    if not content.removeprefix(BOM).strip():
        return
    try:
        found = loads(decoded(content))
    except NotJSON as error:
        raise _broken(file, error) from None
    for number, value in enumerate(found, start=1):
        yield _of_value(f"{file}: record {number}", value, value)


def _of_printed(file: Path) -> Iterator[Record]:
    """JSON objects printed over several lines, one after another.  Raises InputError as ``_of_list``."""
    content = _whole(file, "JSON printed over several lines")
    try:
        for line, value in values(decoded(content)):
            yield _of_value(f"{file}:{line}", value, value)
    except NotJSON as error:
        raise _broken(file, error) from None


def _whole(file: Path, what: str) -> bytes:
    most = opened.most(file)
    bound = JSON_BYTES if most is None else min(most, JSON_BYTES)
    with opened.opened(file) as stream:
        content = stream.read(bound + 1)
    if len(content) > bound == most:
        raise opened.too_much(str(file), bound)
    if len(content) > bound:
        raise InputError(f"{file}: {what} of more than {bound} bytes; write it as JSON Lines, one record a line")
    return content


def _broken(file: Path, error: NotJSON) -> InputError:
    return InputError(f"{file}:{error.line}: {error}" if error.line else f"{file}: {error}")


def _of_csv(file: Path) -> Iterator[Record]:
    """Rows under a line of column names; an empty field is null, and what may be more than a text is a ``Cell``."""
    csv.field_size_limit(LINE_BYTES)
    lines = _Lines(_csv_lines(file))
    head = lines.head()
    reader = csv.DictReader(lines, strict=True, delimiter="\t" if file_format(file) == ".tsv" else _delimiter(head))
    try:
        _refuse_repeated(reader.fieldnames or (), f"{file}:{lines.first}")
        lines.first = 0
        for row in reader:
            where, lines.first = f"{file}:{lines.first}", 0
            if None in row or None in row.values():
                problem = f"the row does not have the {len(reader.fieldnames or ())} fields that the first line names"
                yield Record(where=where, fields=None, raw=row, problem=problem)
            else:
                yield Record(where=where, fields={name: cell(text) for name, text in row.items()}, raw=row)
    except csv.Error as error:
        raise InputError(f"{file}:{lines.number}: broken CSV: {error}") from None


class _Lines:
    """The lines of a table from that of its names on, and where they stand: a row may have several.

    ``number`` is that of the last line, ``first`` that of the first with something in it since ``first`` was set to 0.
    """

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines, self._head = lines, ""
        self.number = self.first = 0

    def head(self) -> str:
        """The line of names, which comes first when one goes through the lines; a blank one in a file without text."""
        for number, line in self._lines:
            self.number, self._head = number, line
            if line.strip():
                break
        return self._head

    def __iter__(self) -> Iterator[str]:
        yield self._seen(self.number, self._head)
        for number, line in self._lines:
            yield self._seen(number, line)

    def _seen(self, number: int, line: str) -> str:
        self.number, self.first = number, self.first or (number if line.strip("\r\n") else 0)
        return line


def _delimiter(head: str) -> str:
    """What stands between columns: that which makes most of them out of the line of names, else the comma."""

    def columns(delimiter: str) -> int:
        try:
            return max(len(row) for row in csv.reader([head], delimiter=delimiter))
        except (csv.Error, ValueError):
            return 0

    return max(DELIMITERS, key=columns)


def _csv_lines(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in opened.lines(file):
        if len(line) > LINE_BYTES:
            raise InputError(f"{file}:{number}: the line has more than {LINE_BYTES} bytes")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{file}:{number}: byte {error.start + 1} of the line is no UTF-8; save the file as UTF-8"
            ) from None


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises InputError where two columns have one name: one of them would be lost."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"{where}: two columns are named {', '.join(map(repr, repeated))}; rename one of them")


def _of_parquet(file: Path) -> Iterator[Record]:
    table = pyarrow.parquet.ParquetFile(file)
    _refuse_repeated(table.schema_arrow.names, str(file))
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    most = expanded(file.stat().st_size)
    if any(size > most or size < 0 for size in (group.total_byte_size for group in groups)):
        raise opened.too_much(str(file), most)
    number, given = 0, 0
    for chunk in table.iter_batches(batch_size=TABLE_ROWS):
        where = f"{file}: row {number + 1} or one of the {TABLE_ROWS} after it"
        given += chunk.nbytes
        if given > most:
            raise opened.too_much(where, most)
        if chunk.nbytes > TABLE_ROWS * LINE_BYTES:
            raise InputError(f"{where} has more than {LINE_BYTES} bytes")
        try:
            rows = chunk.to_pylist()
        except (ValueError, OverflowError) as error:  # a date that Python has none of, a text that is no UTF-8
            raise InputError(f"{where}: {error}") from None
        for fields in rows:
            number += 1
            yield Record(where=f"{file}: row {number}", fields=fields, raw=fields)
