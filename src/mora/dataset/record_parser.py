"""From records to what a function makes of them; a record that it refuses is kept with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from mora.dataset.bad_rows import listed
from mora.dataset.read import Record
from mora.dataset.schema import BadRow, Fields, Kind
from mora.errors import InputError

T = TypeVar("T")
OnBadRow = Literal["error", "quarantine"]


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A record that could not be parsed: where it stands, the kind of reason, the reason, and what stood there."""

    where: str
    kind: Kind
    reason: str
    raw: Any


def quarantine_lines(rejected: Iterable[Rejected]) -> str:
    """Rejected records as JSON lines, in ASCII, since texts may be broken; what is not JSON as text."""
    return "".join(json.dumps(asdict(bad), default=str) + "\n" for bad in rejected)


class WrongFormat(InputError):
    """Not one record is as it should be, or says something of an objective: the data have another format, probably."""


@dataclass(kw_only=True)
class RecordParser:
    """Parses records of one or several files, counts them, and collects those that are bad."""

    total: int = 0  # records parsed so far, bad ones included
    rejected: list[Rejected] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)  # on what is left out of good records
    columns: dict[str, None] = field(default_factory=dict)  # seen, in order

    def parse(self, records: Iterable[Record], parse: Callable[[Fields], T]) -> Iterator[tuple[Record, T]]:
        """Each record with what ``parse`` makes of its fields; where that raises BadRow, the record is rejected."""
        for record in records:
            self.total += 1
            try:
                if record.fields is None:
                    raise BadRow("broken_record", record.problem)
                self.columns |= dict.fromkeys(record.fields)
                value = parse(record.fields)
            except BadRow as error:
                raw = self._raw(record)
                self.rejected.append(Rejected(where=record.where, kind=error.kind, reason=str(error), raw=raw))
                continue
            yield record, value

    def _raw(self, record: Record) -> Any:
        """What is kept of a rejected record."""
        return record.raw

    def check(self, on_bad_row: OnBadRow, max_bad_share: float = 1.0) -> list[str]:
        """What to tell the user about rejected records, with the first of each reason.

        Raises InputError where there are any and ``on_bad_row`` is error, or they are more than ``max_bad_share`` of
        all; WrongFormat where no record is good.
        """
        bad, total = len(self.rejected), self.total
        if not bad:
            return []
        lines = listed((one.where, one.reason) for one in self.rejected)
        count = f"{bad} of {total} rows are bad"
        if on_bad_row == "quarantine" and bad < total and bad <= max_bad_share * total:
            return ["\n".join([f"{count} and were set aside:", *lines])]
        if bad == total:
            advice = f"no good row is left; columns that exist: {', '.join(self.columns) or 'none'}"
            raise WrongFormat("\n".join([f"{count}:", *lines, advice]))
        raise InputError("\n".join([f"{count}:", *lines, self._advice()]))

    def _advice(self) -> str:
        """How to go on where some records are bad, and more than is allowed."""
        return "correct them, or go on without them: on_bad_row=quarantine"
