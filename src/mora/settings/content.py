"""The content of models that a configuration names by path: runs are told apart by what they read, not by its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mora.manifest import model_content


def content_of(path: str) -> Any:
    """Identity of a model that no run of ours made: the hashes of its files, or the hub id."""
    return model_content(path) if Path(path).is_dir() else path


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
