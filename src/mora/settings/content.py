"""The content of what a configuration names by path: runs are told apart by what was read, not by where it lay."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mora.files import model_content, sha256


def content_of(path: str) -> Any:
    """Identity of a model that no run of ours made: the hashes of its files, or the hub id."""
    return model_content(path) if Path(path).is_dir() else path


def data_by_content(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The dataset's settings with local files replaced by the hash of their content."""
    section = dict(dataset)
    for key, value in dataset.items():
        if (key == "path" or key.endswith("_path")) and isinstance(value, str):
            section[key] = _content_of_data(value)
    return section


def classifiers_by_content(reward: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of classifiers with each local folder replaced by the hashes of its files, tokenizer included."""
    known: dict[str, Any] = {}  # several objectives may share one

    def content(path: Any) -> Any:
        if isinstance(path, str) and path not in known:
            known[path] = content_of(path)
        return known[path] if isinstance(path, str) else path

    models = reward["models"] if isinstance(reward["models"], Mapping) else {}
    entries = {name: entry if isinstance(entry, Mapping) else {"path": entry} for name, entry in models.items()}
    found = {name: {**entry, "path": content(entry.get("path"))} for name, entry in entries.items()}
    return {**reward, "models": found}


def _content_of_data(path: str) -> str:
    files = sorted(
        f for p in glob.glob(path) for f in (Path(p).rglob("*") if Path(p).is_dir() else [Path(p)]) if f.is_file()
    )
    if not files:
        return path  # a hub id; the commit that was loaded is recorded in the run
    digest = hashlib.sha256()
    for file in files:
        digest.update(sha256(file).encode())
    return digest.hexdigest()
