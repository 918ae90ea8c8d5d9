"""What data a configuration stands for, before any of it is read: contents of files, commits of the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name

from mora.dataset.paths import match_files, of_subset
from mora.errors import InputError
from mora.manifest import sha256

AWAY = (OSError, HTTPError)  # what asking the hub raises where there is no way to it, or it fails
PATIENCE = 5.0  # seconds that the hub is given to answer
OF_SUBSETS = ("path", "test_path")  # keys of paths in which the subsets of a source stand


def by_content(dataset: Mapping[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """The dataset's settings with local files replaced by the hash of their content, and a revision by its commit.

    Sections below, such as the parts of a mixture, likewise.  The files are those that are read for the ``objectives``
    of the run, whose names may be those of subsets.
    """
    subsets = _subsets(dataset, objectives)
    section = {key: _pinned(key, value, subsets, objectives) for key, value in dataset.items()}
    if section.get("hub") is not None and section.get("path") is None:
        section["revision"] = hub_snapshot(section["hub"], section["revision"]).commit
    return section


def used_rules(objectives: Mapping[str, Any]) -> dict[str, Any]:
    """Of a configuration's section ``objectives`` the rules of those that have one, in their order."""
    known = objectives.get("rules") or {}
    return {name: known[name] for name in objectives["names"] if name in known}


def code_of(section: Any) -> dict[str, str]:
    """The packages outside mora whose objects ``section`` names, each with the hash of all its Python files."""
    found: dict[str, str] = {}
    if isinstance(section, Mapping):
        target = section.get("_target_")
        if isinstance(target, str) and not target.startswith("mora."):
            package = target.partition(".")[0]
            found[package] = _hash_of_code(package)
        for value in section.values():
            found |= code_of(value)
    elif isinstance(section, list):
        for item in section:
            found |= code_of(item)
    return dict(sorted(found.items()))


def _hash_of_code(package: str) -> str:
    spec, digest = importlib.util.find_spec(package), hashlib.sha256()
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    if not folders and spec is not None and spec.origin is not None:
        files = [Path(spec.origin)]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _subsets(dataset: Mapping[str, Any], objectives: Sequence[str]) -> list[str] | None:
    """The subsets that a source reads; of those named as objectives also such as it may lack, which hold no file."""
    subsets = dataset.get("subsets")
    if subsets == "objectives":
        columns = dataset.get("columns") or {}
        return [columns.get(objective, objective) for objective in objectives]
    return subsets


def _pinned(key: str, value: Any, subsets: Sequence[str] | None, objectives: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return by_content(value, objectives)
    if isinstance(value, list):
        return [_pinned(key, item, subsets, objectives) for item in value]
    if isinstance(value, str) and (key == "path" or key.endswith("_path")):
        return _content_of_data(value, subsets if key in OF_SUBSETS else None)
    return value


def _content_of_data(path: str, subsets: Sequence[str] | None) -> str:
    """The hash of what the files say that a path means and, of more than a single one, of their names there.

    Of several subsets those of each, one after another, with its name.
    """
    digest, there = hashlib.sha256(), False
    for subset in (None,) if subsets is None else subsets:
        found = match_files(of_subset(path, subset, subsets))
        for file in found.files:
            stat, there = file.stat(), True
            name = "" if found.single else json.dumps(found.name(file))
            name = name if subset is None else json.dumps(subset) + name
            digest.update(f"{name}{_sha256(str(file), stat.st_mtime_ns, stat.st_size)}".encode())
    return digest.hexdigest() if there else path  # what is not there is told when it is read


@lru_cache(maxsize=4096)
def _sha256(path: str, modified: int, size: int) -> str:
    """The hash of a file, computed once by a process as long as the file does not change."""
    return sha256(path)


@dataclass(frozen=True, kw_only=True)
class HubSnapshot:
    """A dataset of the hub at one commit; ``folder`` is its snapshot in the local cache where the hub is away."""

    commit: str
    folder: Path | None


def hub_snapshot(hub: str, revision: str | None) -> HubSnapshot:
    """The commit that ``revision`` (None: the newest) stands for, by the hub's word.

    Where the hub cannot be asked, that which the local cache holds for it.  Raises InputError where the hub has no such
    dataset or revision, and where it is away and the cache holds none.
    """
    try:
        sha = HfApi().dataset_info(hub, revision=revision, timeout=PATIENCE).sha
    except RepositoryNotFoundError as error:
        raise InputError(no_dataset(hub, "the hub has no such dataset, or it needs a login")) from error
    except RevisionNotFoundError as error:
        raise InputError(f"dataset.revision={revision}: {hub} has no such revision") from error
    except AWAY as error:
        return _cached(hub, revision, error)
    assert sha is not None  # of one dataset that was asked for by name
    return HubSnapshot(commit=sha, folder=None)


def _cached(hub: str, revision: str | None, reason: Exception) -> HubSnapshot:
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub, repo_type="dataset")
    wanted = revision or constants.DEFAULT_REVISION
    notes = {str(note.relative_to(folder / "refs")): note for note in folder.glob("refs/**/*") if note.is_file()}
    commit = notes[wanted].read_text(encoding="utf-8").strip() if wanted in notes else wanted
    snapshots = {place.name: place for place in folder.glob("snapshots/*") if any(place.iterdir())}
    if commit not in snapshots:
        away = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else f"it cannot be reached ({reason})"
        at = "" if revision is None else f" at revision {revision}"
        raise InputError(no_dataset(hub, f"{away}, and the cache {constants.HF_HUB_CACHE} holds no copy{at}"))
    return HubSnapshot(commit=commit, folder=snapshots[commit])


def no_dataset(hub: str, reason: str) -> str:
    """Why a dataset could not be loaded, and the way out."""
    return f"dataset {hub!r} could not be loaded from the hub: {reason}; with a local copy: dataset.path=FILE_OR_FOLDER"
