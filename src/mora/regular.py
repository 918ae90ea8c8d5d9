"""Regular files, read within bounds: what lies in a folder of others may be a device, a pipe or a link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mora.errors import InputError
from mora.limits import JSON_BYTES


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """A regular file.  Raises InputError for any other, and for one of more than ``most`` bytes (JSON_BYTES).

    The bound holds while it is read, also for a file that grows or states no size.  Raises OSError as ``open`` does.
    """
    most = JSON_BYTES if most is None else most
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # to open a pipe would wait for its writer
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is no regular file, and is not read; delete it")
        content = stream.read(most + 1)
    if len(content) > most:
        size = max(found.st_size, len(content))
        raise InputError(f"{path}: {size} bytes, more than the {most} that are read at once; split the file")
    return content


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` of a folder.  Raises InputError for a link that leads out of the folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link that leads out of its folder, and is not shown; put the file in its place")
    return path


def sibling(folder: Path, name: object) -> Path | None:
    """The folder ``name`` beside ``folder``; None for what is no plain name, such as a hub id or a path."""
    plain = isinstance(name, str) and Path(name).name == name and name not in ("", "..") and "\0" not in name
    return folder.parent / str(name) if plain else None
