"""Some of many, spread evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(members: Sequence[T], count: int) -> list[T]:
    """At most ``count`` members at even distances, the first among them: neighbors in a file are often alike."""
    count = min(count, len(members))
    return [members[i * len(members) // count] for i in range(count)]
