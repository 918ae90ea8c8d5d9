"""The content of models that a configuration names by path: runs are told apart by what they read, not by its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mora.errors import InputError
from mora.manifest import model_content

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def content_of(path: str, key: str) -> Any:
    """Identity of a model that no run of ours made: the hashes of its files, or the hub id.

    Raises InputError for what is neither a folder nor of the form of a hub id; ``key`` names the setting.
    """
    if Path(path).is_dir():
        return model_content(path)
    if not HUB_ID.fullmatch(path):
        raise InputError(f"{key}={path}: there is no such folder, and an id of the hub has the form OWNER/NAME")
    return path


def classifiers_by_content(reward: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of classifiers with each local folder replaced by the hashes of its files, tokenizer included."""
    known: dict[str, Any] = {}  # several objectives may share one

    def content(path: Any, key: str) -> Any:
        if isinstance(path, str) and path not in known:
            known[path] = content_of(path, key)
        return known[path] if isinstance(path, str) else path

    models = reward["models"] if isinstance(reward["models"], Mapping) else {}
    entries = {name: entry if isinstance(entry, Mapping) else {"path": entry} for name, entry in models.items()}
    found = {
        name: {**entry, "path": content(entry.get("path"), f"reward.models.{name}")} for name, entry in entries.items()
    }
    return {**reward, "models": found}
