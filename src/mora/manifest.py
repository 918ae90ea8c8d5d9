"""What a folder was written with: a manifest with size and SHA-256 of each file, held against what is read later."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from mora.errors import InputError
from mora.json_text import decoded, loads
from mora.regular import read_bytes

MANIFEST = "manifest.json"
SCHEMA = "mora 1"  # marks a manifest as one of ours: others have files of that name
MODEL_FILES = (".safetensors", ".json", ".model", ".jinja", ".txt")  # what weights, tokenizer and template are kept in
REMEDY = (
    "put an undamaged copy in its place, or move the folder of the run away and give its command again (overrides.yaml)"
)


def sha256(path: Path | str) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_content(folder: Path | str) -> dict[str, str]:
    """The sha256 of each file below ``folder`` that weights, tokenizers and chat templates are kept in, by its path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix in MODEL_FILES and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def manifest_of(files: dict[str, dict[str, Any]]) -> str:
    """The text of a manifest of these files."""
    return json.dumps({"manifest": SCHEMA, "files": files}, indent=2) + "\n"


def seal(folder: Path) -> None:
    """Write the manifest of all files below ``folder``, which nobody else sees yet."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    entries = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
    }
    (folder / MANIFEST).write_text(manifest_of(entries), encoding="utf-8")


def entries_of(folder: Path) -> dict[str, dict[str, Any]] | None:
    """The entries of the manifest of ``folder``; None where there is none, or another library's.

    Raises InputError where ours is damaged, or names a file that is not below ``folder``.
    """
    try:
        found = loads(decoded(read_bytes(folder / MANIFEST)))
        if not isinstance(found, dict) or found.get("manifest") != SCHEMA:
            return None
        return {
            _inside(name): {**e, "bytes": int(e["bytes"]), "sha256": str(e["sha256"])}
            for name, e in found["files"].items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / MANIFEST} is damaged and cannot be read; {REMEDY}") from None


def _inside(name: str) -> str:
    """The path of a file below the folder of a manifest.  Raises ValueError for one that leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\0" in name:
        raise ValueError(f"{name!r} is no file of the folder")
    return name


def files_below(folder: Path, remedy: str) -> list[Path]:
    """Every file below ``folder``, sorted.  Raises InputError for a link, which may lead anywhere, and for a device."""
    found = []
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *names)):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise InputError(f"{path} is a link or no regular file, and is not followed; {remedy}")
        found += [Path(parent) / name for name in names]
    return sorted(found)


def check_content(folder: Path | str, remedy: str = REMEDY) -> None:
    """Compare the files of a folder with its manifest: once in a process, as long as the manifest stays the same.

    A folder without one, such as a download, passes.  Reads every file.  Raises InputError that names the file that is
    missing or differs, and ``remedy``.
    """
    path = Path(folder) / MANIFEST
    if path.is_file():
        stat = path.stat()
        _check(Path(folder).resolve(), (stat.st_mtime_ns, stat.st_size, stat.st_ino), remedy)


@lru_cache(maxsize=256)
def _check(folder: Path, written: tuple[int, int, int], remedy: str) -> None:
    for name, entry in sorted((entries_of(folder) or {}).items()):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing, and {MANIFEST} lists it; {remedy}")
        if path.stat().st_size != entry["bytes"] or sha256(path) != entry["sha256"]:
            raise InputError(f"{path} is damaged: its content differs from {MANIFEST}; {remedy}")


def check_bytes(path: Path, content: bytes) -> None:
    """Compare what was read from ``path`` with the manifest beside it, where that lists the file.  Raises InputError.

    While a listed file is being replaced both its old and its new content pass.
    """
    _check_hash(path, lambda: hashlib.sha256(content).hexdigest())


def check_file(path: Path) -> None:
    """The same of a file as it stands on the disk."""
    _check_hash(path, lambda: sha256(path))


def _check_hash(path: Path, computed: Callable[[], str]) -> None:
    entry = (entries_of(path.parent) or {}).get(path.name) if path.name != MANIFEST else None
    if entry is not None and computed() not in (entry["sha256"], entry.get("before")):
        raise InputError(f"{path} is damaged: its content differs from {MANIFEST}; {REMEDY}")
