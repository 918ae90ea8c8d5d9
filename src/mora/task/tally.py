"""Where every row went: read, used, left out for a reason, or bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mora.dataset.bad_rows import listed
from mora.dataset.messages import remarks
from mora.dataset.read import Record
from mora.dataset.schema import BadRow
from mora.errors import InputError

T = TypeVar("T")
OnBadRow = Literal["error", "quarantine"]


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A row that a task cannot read: what stands there, where it stands, the sort of reason, and the reason."""

    row: Any
    where: str
    kind: str
    reason: str


@dataclass(kw_only=True)
class Tally:
    """Counts of one run of a task.  ``rows_in`` is always ``used`` + the rows left out + the bad ones."""

    rows_in: int = 0
    rows_out: Counter[str] = field(default_factory=Counter)  # by part of the output
    left_out: Counter[str] = field(default_factory=Counter)  # rows, by reason
    not_made: Counter[str] = field(default_factory=Counter)  # results that could have been made, by reason
    bad: list[Bad] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)  # on what is left out of good rows
    columns: dict[str, None] = field(default_factory=dict)  # seen, in order
    notes: list[str] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Rows that the task used."""
        return self.rows_in - self.left_out.total() - len(self.bad)

    def parsed(
        self, records: Iterable[Record], parse: Callable[[Mapping[str, Any]], T], *, rewrites: bool = False
    ) -> Iterator[T]:
        """What ``parse`` makes of each record; one that it refuses with BadRow is kept with its place and reason.

        ``rewrites``: the messages of records are written anew, so what is left out of them is to be told.
        """
        for record in records:
            self.rows_in += 1
            try:
                if record.fields is None:
                    raise BadRow("broken_record", record.problem)
                self.columns |= dict.fromkeys(record.fields)
                value = parse(record.fields)
            except BadRow as error:
                row = record.raw if record.fields is None else record.fields
                self.bad.append(Bad(row=row, where=record.where, kind=error.kind, reason=str(error)))
                continue
            self.remarks.update(remarks(record.fields) if rewrites else ())
            yield value

    def require(self, objectives: Sequence[str] | None, columns: Callable[[str], Sequence[str]]) -> None:
        """Raises InputError for a named objective none of whose ``columns`` occurs in any row."""
        absent = [name for name in objectives or () if not any(column in self.columns for column in columns(name))]
        if absent and self.columns:
            needed = "; ".join(f"{name!r} needs {' or '.join(columns(name))}" for name in absent)
            raise InputError(f"task.objectives: {needed}; columns that exist: {', '.join(self.columns)}")

    def refuse_bad(self, on_bad_row: OnBadRow) -> None:
        """Raises InputError about bad rows where ``on_bad_row`` is error, and where no row is good."""
        if not self.bad or (on_bad_row == "quarantine" and len(self.bad) < self.rows_in):
            return
        lines = listed((bad.where, bad.reason) for bad in self.bad)
        advice = "correct them, or go on without them: on_bad_row=quarantine"
        if len(self.bad) == self.rows_in:
            advice = f"no good row is left; columns that exist: {', '.join(self.columns) or 'none'}"
        raise InputError("\n".join([f"{len(self.bad)} of {self.rows_in} rows are bad:", *lines, advice]))

    def lines(self) -> list[str]:
        """The counts as lines of text, with every reason."""
        parts = [f"{self.used} used"]
        parts += [f"{self.left_out.total()} left out"] if self.left_out else []
        parts += [f"{len(self.bad)} bad"] if self.bad else []
        out = f"; rows out {self.rows_out.total()}" if self.rows_out else ""
        found = [f"rows in {self.rows_in} = {' + '.join(parts)}{out}"]
        found += [f"  left out {count}: {reason}" for reason, count in self.left_out.most_common()]
        found += [f"  not made {count}: {reason}" for reason, count in self.not_made.most_common()]
        first = {bad.kind: bad for bad in reversed(self.bad)}
        for kind, count in Counter(bad.kind for bad in self.bad).most_common():
            found.append(f"  bad {count}: {kind.replace('_', ' ')}, first {first[kind].where}: {first[kind].reason}")
        found += [f"  {count} rows {remark}" for remark, count in self.remarks.items()]
        return found + [f"  {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """The counts for a file."""
        return {
            "rows_in": self.rows_in,
            "used": self.used,
            "left_out": dict(self.left_out),
            "bad": dict(Counter(bad.kind for bad in self.bad)),
            "rows_out": dict(self.rows_out),
            "not_made": dict(self.not_made),
            "remarks": dict(self.remarks),
            "notes": self.notes,
        }
