"""`task=split`: parts of a file by prompt, which stay the same when rows are added."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora import bounds
from mora.bounds import Share
from mora.dataset import split
from mora.dataset.read import Record
from mora.dataset.schema import text
from mora.errors import InputError
from mora.task.base import Part, Task
from mora.task.prompt import prompt
from mora.task.row_counts import RowCounts


@dataclass(kw_only=True)
class Split(Task):
    """Rows of any form, unchanged, each in the part that a hash of its prompt falls into.

    Raises InputError for shares that are negative or do not sum to 1, and for names that are no part of a file name.
    """

    shares: dict[str, Share]
    by: str

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise InputError(f"task.shares: the name {name!r} must be letters, digits, - and _: it names a file")
            if isinstance(share, bool) or not isinstance(share, int | float):
                raise InputError(f"task.shares.{name}={share}: must be a number from 0 to 1; 0 removes the part")
        bounds.check(self, "task")
        if not math.isclose(sum(self.shares.values()), 1.0, abs_tol=1e-9):
            said = ", ".join(f"{name} {share}" for name, share in self.shares.items())
            raise InputError(f"task.shares: {said}: must sum to 1, not {sum(self.shares.values()):g}")
        self.shares = {name: share for name, share in self.shares.items() if share > 0}

    def parts(self) -> Sequence[str]:
        """The names of the parts."""
        return tuple(self.shares)

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """Every row, with its part."""
        prompts: dict[str, set[str]] = {name: set() for name in self.shares}
        for key, fields in counts.parsed(records, self._keyed):
            name = split.part(key, self.shares)
            prompts[name].add(key)
            yield name, fields
        counts.notes.append("prompts: " + ", ".join(f"{name} {len(found)}" for name, found in prompts.items()))
        empty = [name for name, found in prompts.items() if not found]
        if empty:
            counts.notes.append(f"no prompt fell into {', '.join(empty)}: raise its share, or give more rows")

    def _keyed(self, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        key = prompt(fields) if self.by == "prompt" else text(fields, self.by)
        return key, dict(fields)
