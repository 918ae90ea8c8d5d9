"""Files that are whole or absent: every write goes to a temporary file beside its target, is synced, and renamed."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mora.limits import JSON_BYTES
from mora.errors import InputError
from mora.json_text import NotJSON, decoded, loads

MODEL_FILES = (".safetensors", ".json", ".model", ".jinja", ".txt")  # what weights, tokenizer and template are kept in
TEMPORARY = ".partial-"  # the names of unfinished files and folders begin with this
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take a formula by
REPLACED = ".replaced-"  # a folder that is about to be replaced by its successor carries this before its name


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of ``path`` durable."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def new_file(path: Path | str) -> Iterator[Path]:
    """Fill a temporary file that becomes ``path`` when the block ends well, and disappears when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; parent folders are made."""
    with new_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, content: Any) -> None:
    """Write ``content`` as indented JSON to ``path`` atomically; NaN and infinity are written as null.

    Raises ``TypeError`` when ``content`` holds something that is not JSON.
    """
    write_text(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_line(content: Any) -> str:
    """``content`` as one line of JSON with its line end; NaN and infinity become null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False) + "\n"


def write_lines(path: Path | str, rows: Iterable[Any]) -> None:
    """Write one JSON object per line to ``path`` atomically."""
    write_text(path, "".join(json_line(row) for row in rows))


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as comma-separated values under a head line, atomically; None is an empty field.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (``inert``).
    Raises ``ValueError`` for a row with other keys than the first, and writes an empty file when there is no row.
    """
    names: list[str] | None = None
    lines = []
    for row in rows:
        if names is None:
            names = list(row)
            lines.append(_csv_line(names))
        if set(row) != set(names):
            raise ValueError(f"a row has the keys {sorted(row)}, the first one {sorted(names)}")
        lines.append(_csv_line([row[name] for name in names]))
    write_text(path, "".join(lines))


def _csv_line(cells: Sequence[Any]) -> str:
    cells = [inert(cell) for cell in cells]
    returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # the csv module leaves these unquoted
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL).writerow(cells)
    return stream.getvalue()


def inert(cell: Any) -> Any:
    """A cell of a table that no spreadsheet runs: a text that begins as a formula does is marked as a text.

    Numbers stay numbers, also those that are written out, such as ``-1.5``.
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_json(path: Path | str) -> Any:
    """The content of a JSON file.  Raises ``InputError`` when it is missing or no JSON."""
    path = Path(path)
    try:
        return loads(_text(path))
    except NotJSON as error:
        place = f"{path}:{error.line}" if error.line else f"{path}"
        raise InputError(f"{place} is not JSON ({error}); repair or delete the file") from None


def read_lines(path: Path | str) -> list[Any]:
    """The rows of a JSON-lines file; blank lines are skipped.  Raises ``InputError`` with file and line."""
    return [value for _, value in numbered_lines(path)]


def numbered_lines(path: Path | str) -> Iterator[tuple[int, Any]]:
    """The values of a JSON-lines file with the number of their line.  Raises ``InputError`` as ``read_lines``."""
    path = Path(path)
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield number, loads(line)
            except NotJSON as error:
                raise InputError(f"{path}:{number} is not JSON ({error}); repair or delete the line") from None


def _text(path: Path) -> str:
    """The text of a file of JSON.  Raises ``InputError`` where it is missing, no UTF-8, or too large."""
    try:
        size = path.stat().st_size
        if size > JSON_BYTES:
            raise InputError(f"{path}: {size} bytes, more than the {JSON_BYTES} that are read at once; split the file")
        return decoded(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path, or run the command that writes it first") from None
    except (NotJSON, OSError) as error:
        raise InputError(f"{path} cannot be read as JSON text ({error}); repair or delete the file") from None


def sha256(path: Path | str) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_content(folder: Path | str) -> dict[str, str]:
    """The sha256 of each file below ``folder`` that weights, tokenizers and chat templates are kept in, by its path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix in MODEL_FILES)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Fill a temporary folder that becomes ``path`` when the block ends well, and disappears when it does not.

    An existing ``path`` is renamed aside just before and removed after; ``remove_temporary`` puts it back when the
    process was killed between the two renames.  One writer at a time.
    """
    path = Path(path)
    old = path.with_name(f"{REPLACED}{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def alone(path: Path | str) -> Iterator[None]:
    """While this lasts no other process makes ``path``; what a killed one left of it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in path.parent.glob(f"{TEMPORARY}{path.name}-*"):
            shutil.rmtree(left)
        yield


def sync_tree(folder: Path) -> None:
    """Make every file and every name below ``folder`` durable."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(parent) / name)
        sync_folder(Path(parent))


def remove_temporary(folder: Path | str) -> list[str]:
    """Remove what killed writers left directly in ``folder``; the caller must hold the lock.  Returns their names.

    A folder that was being replaced and has no successor is put back.
    """
    folder = Path(folder)
    left = sorted(p for p in folder.iterdir() if p.name.startswith((TEMPORARY, REPLACED))) if folder.is_dir() else []
    for path in left:
        original = path.with_name(path.name.removeprefix(REPLACED))
        if path.name.startswith(REPLACED) and not original.exists():
            os.replace(path, original)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in left]


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if content - content == 0.0 else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
