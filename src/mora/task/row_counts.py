"""Where every row went: read, used, left out for a reason, or bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mora.dataset.messages import remarks
from mora.dataset.read import Record
from mora.dataset.record_parser import RecordParser
from mora.errors import InputError

T = TypeVar("T")


@dataclass(kw_only=True)
class RowCounts(RecordParser):
    """Counts of one run of a task.  ``total`` is always ``used`` + the rows left out + the rejected ones."""

    rows_out: Counter[str] = field(default_factory=Counter)  # by part of the output
    left_out: Counter[str] = field(default_factory=Counter)  # rows, by reason
    not_made: Counter[str] = field(default_factory=Counter)  # results that could have been made, by reason
    notes: list[str] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Rows that the task used."""
        return self.total - self.left_out.total() - len(self.rejected)

    def parsed(
        self, records: Iterable[Record], parse: Callable[[Mapping[str, Any]], T], *, rewrites: bool = False
    ) -> Iterator[T]:
        """What ``parse`` makes of each good record.

        ``rewrites``: the messages of records are written anew, so what is left out of them is to be told.
        """
        for record, value in self.parse(records, parse):
            self.remarks.update(remarks(record.fields or {}) if rewrites else ())
            yield value

    def _raw(self, record: Record) -> Any:
        return record.raw if record.fields is None else record.fields

    def require(self, objectives: Sequence[str] | None, columns: Callable[[str], Sequence[str]]) -> None:
        """Raises InputError for a named objective none of whose ``columns`` occurs in any row."""
        absent = [name for name in objectives or () if not any(column in self.columns for column in columns(name))]
        if absent and self.columns:
            needed = "; ".join(f"{name!r} needs {' or '.join(columns(name))}" for name in absent)
            raise InputError(f"task.objectives: {needed}; columns that exist: {', '.join(self.columns)}")

    def lines(self) -> list[str]:
        """The counts as lines of text, with every reason."""
        parts = [f"{self.used} used"]
        parts += [f"{self.left_out.total()} left out"] if self.left_out else []
        parts += [f"{len(self.rejected)} bad"] if self.rejected else []
        out = f"; rows out {self.rows_out.total()}" if self.rows_out else ""
        found = [f"rows in {self.total} = {' + '.join(parts)}{out}"]
        found += [f"  left out {count}: {reason}" for reason, count in self.left_out.most_common()]
        found += [f"  not made {count}: {reason}" for reason, count in self.not_made.most_common()]
        first = {bad.kind: bad for bad in reversed(self.rejected)}
        for kind, count in Counter(bad.kind for bad in self.rejected).most_common():
            found.append(f"  bad {count}: {kind.replace('_', ' ')}, first {first[kind].where}: {first[kind].reason}")
        found += [f"  {count} rows {remark}" for remark, count in self.remarks.items()]
        return found + [f"  {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """The counts for a file."""
        return {
            "rows_in": self.total,
            "used": self.used,
            "left_out": dict(self.left_out),
            "bad": dict(Counter(bad.kind for bad in self.rejected)),
            "rows_out": dict(self.rows_out),
            "not_made": dict(self.not_made),
            "remarks": dict(self.remarks),
            "notes": self.notes,
        }
