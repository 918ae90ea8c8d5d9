"""Files that are whole or absent: every write goes to a temporary file beside its target, is synced, and renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mora.errors import InputError, naming
from mora.json_text import NotJSON, decoded, dumps, loads
from mora.locks import alive, held
from mora.manifest import MANIFEST, check_bytes, entries_of, manifest_of, seal
from mora.regular import read_bytes

NAME_BYTES = 255  # the longest name of a file that common filesystems take
TEMPORARY = ".partial-"  # the names of unfinished files and folders begin with this
REPLACED = ".replaced-"  # a folder that is about to be replaced by its successor carries this before its name


def file_name(text: str, *, room: int = 0) -> str:
    """``text`` as one part of a path that leaves ``room`` of ``NAME_BYTES``; a longer one is cut and ends in a hash."""
    text = text.replace("/", "-").replace("\0", "-")
    whole = text.encode()
    if len(whole) <= NAME_BYTES - room:
        return text
    digest = hashlib.sha256(whole).hexdigest()[:10]
    return f"{whole[: NAME_BYTES - room - 11].decode(errors='ignore')}-{digest}"


def _beside(path: Path, mark: str, own: str = "") -> Path:
    """A name beside ``path`` that begins with ``mark``."""
    return path.with_name(f"{mark}{file_name(path.name, room=len(mark) + 64)}{own[:64]}")


def _temporary(path: Path) -> Path:
    """Where ``path`` is being written, by this process; what processes of this host that are gone left is removed."""
    host = f"-{socket.gethostname()[:32]}-"
    for left in leftovers(path):
        writer = left.name.removeprefix(_beside(path, TEMPORARY).name + host).partition("-")[0]
        if writer.isdigit() and not alive(int(writer)):
            remove(left)
    return _beside(path, TEMPORARY, f"{host}{os.getpid()}-{uuid.uuid4().hex[:8]}")


def leftovers(path: Path) -> list[Path]:
    """The unfinished files and folders that were to become ``path``."""
    begin = f"{_beside(path, TEMPORARY).name}-"
    return [other for other in path.parent.iterdir() if other.name.startswith(begin)] if path.parent.is_dir() else []


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    with naming(path):
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
    write_text(path, dumps(content, indent=2))


def json_line(content: Any) -> str:
    """``content`` as one line of JSON with its line end; NaN and infinity become null."""
    return dumps(content)


def write_lines(path: Path | str, rows: Iterable[Any]) -> None:
    """Write one JSON object per line to ``path`` atomically."""
    write_text(path, "".join(json_line(row) for row in rows))


def record_json(path: Path | str, content: Any) -> None:
    """``write_json``, with an entry in the manifest of the folder; one writer at a time."""
    _record(Path(path), dumps(content, indent=2))


def record_lines(path: Path | str, rows: Iterable[Any]) -> None:
    """``write_lines``, with an entry in the manifest of the folder; one writer at a time."""
    _record(Path(path), "".join(json_line(row) for row in rows))


def _record(path: Path, text: str) -> None:
    """The entry first, with the content that it replaces: a reader finds one of the two at every moment."""
    content, entries = text.encode(), entries_of(path.parent) or {}
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if path.is_file():
        entry["before"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(path.parent / MANIFEST, manifest_of({**entries, path.name: entry}))
    write_bytes(path, content)


def read_json(path: Path | str, *, constants: bool = False) -> Any:
    """The content of a JSON file.  Raises ``InputError`` when it is missing, no JSON, or not what a manifest lists.

    ``constants``: NaN and Infinity are taken, as other libraries write them.
    """
    path = Path(path)
    try:
        return loads(_text(path), constants=constants)
    except NotJSON as error:
        place = f"{path}:{error.line}" if error.line else f"{path}"
        raise InputError(f"{place} is not JSON ({error}); repair or delete the file") from None


def read_object(path: Path | str, needed: Iterable[str] = ()) -> dict[str, Any]:
    """The object in a JSON file.  Raises ``InputError`` when it is no object, or lacks a key that is ``needed``.

    A key with dots is one in an object inside: ``algo._target_``.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; repair or delete the file")
    for key in needed:
        inner: Any = content
        for step in key.split("."):
            if not isinstance(inner, dict) or step not in inner:
                raise InputError(f"{path}: {key} is missing; repair the file, or run the command that writes it again")
            inner = inner[step]
    return content


def read_lines(path: Path | str) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; blank lines are skipped.  Raises ``InputError`` with file and line."""
    rows = []
    for number, value in numbered_lines(path):
        if not isinstance(value, dict):
            raise InputError(f"{path}:{number} holds no JSON object; repair or delete the line")
        rows.append(value)
    return rows


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
    """The text of a file of JSON.  Raises ``InputError`` where it is missing, no UTF-8, too large, or damaged."""
    try:
        content = read_bytes(path)
        check_bytes(path, content)
        return decoded(content)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path, or run the command that writes it first") from None
    except (NotJSON, OSError) as error:
        raise InputError(f"{path} cannot be read as JSON text ({error}); repair or delete the file") from None


@contextmanager
def new_folder(path: Path | str, *, sealed: bool = False) -> Iterator[Path]:
    """Fill a temporary folder that becomes ``path`` when the block ends well, and disappears when it does not.

    ``sealed``: with a manifest, which its readers hold against what they find (``manifest.check_content``).

    An existing ``path`` is renamed aside just before and removed after; ``remove_temporary`` puts it back when the
    process was killed between the two renames.  One writer at a time.
    """
    path = Path(path)
    old = _beside(path, REPLACED)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        temporary.mkdir()
        try:
            yield temporary
            if sealed:
                seal(temporary)
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


def check_writable(path: Path | str, key: str) -> None:
    """Raises ``InputError`` where nothing can be written at ``path``; ``key`` names the setting that it is from.

    A file without a name is made in the nearest folder that exists, and is gone at once.
    """
    there = Path(path).absolute()
    there = there.parent if there.is_file() else there
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = f"cannot be written ({error.strerror})" if there.is_dir() else "is no folder"
        raise InputError(f"{key}={path}: {there} {reason}; name a place that can be written") from None


@contextmanager
def exclusive(path: Path | str) -> Iterator[None]:
    """While this lasts no other process makes ``path``; what a killed one left of it is removed, or put back."""
    path = Path(path)
    with held(path.with_name(f".{file_name(path.name, room=64)}.lock")):
        for left in leftovers(path):
            remove(left)
        _restore(_beside(path, REPLACED), path)
        yield


def _restore(old: Path, path: Path) -> None:
    """Put back what was about to be replaced and has no successor; remove it where it has one."""
    if old.exists() and not path.exists():
        os.replace(old, path)
    elif old.exists():
        remove(old)


def sync_tree(folder: Path) -> None:
    """Make every file and every name below ``folder`` durable."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(parent) / name)
        sync_folder(Path(parent))


def remove_temporary(folder: Path | str, *, besides: Sequence[str] = ()) -> list[str]:
    """Remove what killed writers left directly in ``folder``; the caller must hold the lock.  Returns their names.

    A folder that was being replaced and has no successor is put back.  What belongs to the names ``besides`` stays:
    those have locks of their own (``exclusive``).
    """
    folder = Path(folder)
    apart = tuple(mark + name for name in besides for mark in (TEMPORARY, REPLACED))
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    left = [folder / name for name in names if name.startswith((TEMPORARY, REPLACED)) and not name.startswith(apart)]
    for path in left:
        if path.name.startswith(REPLACED):
            _restore(path, path.with_name(path.name.removeprefix(REPLACED)))
        else:
            remove(path)
    return [path.name for path in left]
