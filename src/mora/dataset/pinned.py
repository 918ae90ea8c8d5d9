"""What data a configuration stands for, before any of it is read: contents of files, commits of the hub."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub

from mora.errors import InputError
from mora.files import sha256

PLACEHOLDER = "{subset}"  # in a path: where the name of a subset stands


def by_content(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The dataset's settings with local files replaced by the hash of their content, and a revision by its commit.

    Sections below, such as the parts of a mixture, likewise.
    """
    section = {key: _pinned(key, value) for key, value in dataset.items()}
    if section.get("hub") is not None and section.get("path") is None:
        section["revision"] = hub_commit(section["hub"], section["revision"])
    return section


def _pinned(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return by_content(value)
    if isinstance(value, list):
        return [_pinned(key, item) for item in value]
    if isinstance(value, str) and (key == "path" or key.endswith("_path")):
        return _content_of_data(value.replace(PLACEHOLDER, "*"))
    return value


def _content_of_data(path: str) -> str:
    places = [Path(found) for found in glob.glob(str(Path(path).expanduser()), recursive=True)]
    files = sorted(f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file())
    if not files:
        return path  # told when it is read
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(_sha256(str(file), stat.st_mtime_ns, stat.st_size).encode())
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _sha256(path: str, modified: int, size: int) -> str:
    """The hash of a file, computed once by a process as long as the file does not change."""
    return sha256(path)


def hub_commit(hub: str, revision: str | None) -> str | None:
    """The commit that ``revision`` (None: the newest) stands for.

    Where the hub cannot be asked, the one that the local cache noted for it, else ``revision`` itself.
    Raises InputError where the hub has no such dataset or revision.
    """
    try:
        return huggingface_hub.HfApi().dataset_info(hub, revision=revision).sha
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(no_dataset(hub, "the hub has no such dataset, or it needs a login")) from error
    except huggingface_hub.errors.RevisionNotFoundError as error:
        raise InputError(f"dataset.revision={revision}: {hub} has no such revision") from error
    except OSError:  # no network: a copy in the local cache may do
        return _cached(hub, revision) or revision


def _cached(hub: str, revision: str | None) -> str | None:
    folder = huggingface_hub.file_download.repo_folder_name(repo_id=hub, repo_type="dataset")
    note = Path(huggingface_hub.constants.HF_HUB_CACHE) / folder / "refs" / (revision or "main")
    return note.read_text(encoding="utf-8").strip() if note.is_file() else None


def no_dataset(hub: str, reason: str) -> str:
    """Why a dataset could not be loaded, and the way out."""
    return f"dataset {hub!r} could not be loaded from the hub: {reason}; with a local copy: dataset.path=FILE_OR_FOLDER"
