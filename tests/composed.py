"""Settings as a command composes them, less the check of every value, which is tested in tests/settings."""

from __future__ import annotations

from functools import cache
from typing import Any

from mora.settings.compose import finish
from mora.settings.identity import plain
from mora.settings.overrides import prepare
from mora.settings.tree import opened


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """What ``mora.compose`` gives for training, as plain values, in less than half its time.  Do not change it."""
    with opened("train") as tree:
        return plain(finish(tree.compose(prepare(overrides))))
