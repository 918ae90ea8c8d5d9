"""From the records of a source to rows; a record that is not as declared is set aside with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from os.path import dirname
from typing import Any, Literal

from mora.dataset.answers import OBJECTIVE
from mora.dataset.bad_rows import listed
from mora.dataset.read import Record
from mora.dataset.schema import BadRow, Fields, Kind, Remark
from mora.errors import InputError
from mora.types import Row

OnBadRow = Literal["error", "quarantine"]
SHOWN = 10  # columns, or objectives, that one message lists
FAILURES = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # of a function outside mora on a bad record


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A record that was set aside: where it stands, the kind of reason, the reason, and what stood there."""

    where: str
    kind: Kind
    reason: str
    raw: Any


def quarantine_lines(rejected: Iterable[Rejected]) -> str:
    """The records that were set aside as JSON lines, in ASCII, since texts may be broken; foreign values as text."""
    return "".join(json.dumps(asdict(bad), default=str) + "\n" for bad in rejected)


class OtherForm(InputError):
    """Not one record of a source is as it declares, or says something of an objective: of another form, most likely."""


class Sieve:
    """Turns records into rows and keeps what could not become one, over all files of a source.

    ``on_bad_row``: ``error`` raises one InputError about all of them in ``close``; ``quarantine`` goes on without them
    as long as they are at most ``max_bad_share`` of the records.
    """

    def __init__(self, on_bad_row: OnBadRow, max_bad_share: float) -> None:
        if on_bad_row not in ("error", "quarantine"):
            raise InputError(f"dataset.on_bad_row={on_bad_row}: must be error or quarantine")
        if not 0 <= max_bad_share <= 1:
            raise InputError(f"dataset.max_bad_share={max_bad_share}: must lie between 0 and 1")
        self.on_bad_row, self.max_bad_share = on_bad_row, max_bad_share
        self.rejected: list[Rejected] = []
        self.columns: dict[str, None] = {}  # the columns seen, in order
        self.records = 0
        self.empty = 0  # good records that gave no row
        self.others: dict[str, None] = {}  # objectives that such records name, the first SHOWN
        self.bare = 0  # records that gave a prompt alone and have columns that were not read
        self.unread: dict[str, None] = {}  # these columns, in order
        self.remarks: Counter[str] = Counter()  # on what is left out of good records
        self.folders: Counter[str] = Counter()  # records by the folder, or dataset of the hub, that they are from

    def rows(
        self,
        records: Iterable[Record],
        read: Callable[[Fields], Iterable[Row | Remark]],
        *,
        foreign: bool = False,
        prompts: Collection[str] = (),
    ) -> Iterator[Row]:
        """The rows of ``records``, each with the place of its record; what cannot be read is set aside.

        ``foreign``: ``read`` is not of mora, so any error that a bad record may cause counts as such.  ``prompts``: the
        columns that a prompt is made of, where others of a record that gives no more are to be told.
        """
        for record in records:
            self.records += 1
            self.folders[dirname(record.where)] += 1
            try:
                if record.fields is None:
                    raise BadRow("broken_record", record.problem)
                self.columns |= dict.fromkeys(record.fields)
                found = self._read(read, record.fields, foreign=foreign)
            except BadRow as error:
                self.rejected.append(Rejected(where=record.where, kind=error.kind, reason=str(error), raw=record.raw))
                continue
            rows = [row for row in found if isinstance(row, Row)]
            self.remarks.update(remark for remark in found if isinstance(remark, Remark))
            if not rows:
                self._note_empty(record.fields)
            if prompts and rows and not any(row.responses for row in rows):
                self._note_unread(record.fields, prompts)
            for row in rows:
                yield replace(row, where=record.where)

    def _note_empty(self, fields: Fields) -> None:
        self.empty += 1
        about = fields.get(OBJECTIVE)
        if isinstance(about, str) and len(self.others) < SHOWN:
            self.others[about] = None

    def _note_unread(self, fields: Fields, prompts: Collection[str]) -> None:
        unread = [name for name, value in fields.items() if name not in prompts and value is not None]
        self.bare += bool(unread)
        self.unread |= dict.fromkeys(unread)

    def notes(self) -> list[str]:
        """What to tell the user about good records that gave less than they might hold."""
        found = [f"{count} of {self.records} records {remark}" for remark, count in self.remarks.items()]
        if self.empty:
            found.append(f"{self.empty} of {self.records} records give no row: {self._not_asked()}")
        if self.bare:
            columns = ", ".join(list(self.unread)[:SHOWN])
            found.append(f"{self.bare} of {self.records} records give a prompt alone; not read of them: {columns}")
        return found

    def _not_asked(self) -> str:
        named = f" ({OBJECTIVE}: {', '.join(self.others)})" if self.others else ""
        return f"nothing in them is asked for{named}"

    def require_row(self, source: str, objectives: Iterable[str]) -> None:
        """Raises InputError where all records are good and none gives a row."""
        if self.empty and self.empty == self.records:
            names = f"objectives.names=[{','.join(objectives)}]"
            raise InputError(
                f"{source}: none of the {self.records} records gives a row: {self._not_asked()}, with {names}; columns "
                f"that exist: {', '.join(self.columns)}"
            )

    def _read(
        self, read: Callable[[Fields], Iterable[Row | Remark]], fields: Fields, *, foreign: bool
    ) -> list[Row | Remark]:
        if not foreign:
            return list(read(fields))
        try:
            return list(read(fields))
        except BadRow:
            raise
        except FAILURES as error:
            raise BadRow("reader_failed", f"{type(error).__name__}: {error}") from error

    def summary(self) -> dict[str, Any]:
        """Records read, used and set aside, and how many for which kind of reason."""
        kinds = Counter(bad.kind for bad in self.rejected)
        return {
            "read": self.records,
            "used": self.records - len(self.rejected),
            "without_row": self.empty,
            "set_aside": len(self.rejected),
            "reasons": dict(sorted(kinds.items())),
        }

    def close(self) -> list[str]:
        """What to tell the user about records set aside.

        Raises InputError about them where ``on_bad_row`` is error, none is good, or they are too large a share.
        """
        if not self.rejected:
            return []
        lines = listed([(bad.where, bad.reason) for bad in self.rejected])
        bad, total = len(self.rejected), self.records
        count = f"{bad} of {total} rows are bad"
        if self.on_bad_row == "quarantine" and bad < total and bad <= self.max_bad_share * total:
            return ["\n".join([f"{count} and were set aside:", *lines])]
        message = "\n".join([f"{count}:", *lines, self._advice(bad, total)])
        raise OtherForm(message) if bad == total else InputError(message)

    def _advice(self, bad: int, total: int) -> str:
        if bad == total:
            return f"no good row is left; columns that exist: {', '.join(self.columns) or 'none'}"
        if mixed := self._of_some_folders():
            return mixed
        if self.on_bad_row == "error":
            return "correct them, or go on without them: dataset.on_bad_row=quarantine"
        return (
            f"that is {bad / total:.1%}, more than dataset.max_bad_share={self.max_bad_share:g} allows: correct them, "
            "or raise it if this is the right form"
        )

    def _of_some_folders(self) -> str:
        """Advice where all records of some folders are bad, and others have good ones: another form stands there."""
        bad = Counter(dirname(one.where) for one in self.rejected)
        wrong = [folder for folder, count in bad.items() if count == self.folders[folder]]
        right = [folder for folder in self.folders if folder not in wrong]
        if not wrong or not right:
            return ""
        return (
            f"no row of {', '.join(wrong)} has the form that is read, those of {', '.join(right)} have it: the path "
            "holds several configurations; name one of them as dataset.path"
        )


def require_labels(
    labelled: set[str], objectives: Iterable[str], columns: Mapping[str, str], seen: Iterable[str], source: str
) -> None:
    """Raises OtherForm for an objective that no training row has a label or rating of, with the columns that exist."""
    seen = list(seen)
    problems = []
    for objective in objectives:
        if objective in labelled:
            continue
        column = columns.get(objective)
        found = "" if column is None else f": column {column!r} does not exist"
        if column in seen:
            found = f": column {column!r} is null in every training row"
        problems.append(f"  objective {objective!r} has no label{found}")
    if problems:
        exist = f"columns that exist: {', '.join(seen)}; " if seen else ""
        advice = f"{exist}name the objectives to train on: objectives.names=[...]"
        raise OtherForm("\n".join([f"{source}:", *problems, advice]))
