"""``~`` in front of a path is the home folder, in every key whose value is one, wherever that was set."""

from __future__ import annotations

import os
from typing import Any

from mora.settings.declared import is_path


def expanded(path: str) -> str:
    """A path with ``~`` or ``~USER`` in front of it replaced by the home folder."""
    return os.path.expanduser(path)


def in_settings(value: Any, key: str) -> Any:
    """The value of ``key``, a section or a plain one, with every path in it expanded."""
    if isinstance(value, dict):
        return {name: in_settings(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [in_settings(item, key) for item in value]
    return expanded(value) if isinstance(value, str) and is_path(key) else value
