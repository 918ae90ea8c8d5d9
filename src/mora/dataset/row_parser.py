"""From the records of a source to rows, and what to tell about records that gave less than they might hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from os.path import dirname
from typing import Any

from mora.dataset.answers import OBJECTIVE
from mora.dataset.read import Record
from mora.dataset.record_parser import OnBadRow, RecordParser, WrongFormat
from mora.dataset.schema import BadRow, Fields, Remark
from mora.errors import InputError
from mora.types import Row

SHOWN = 10  # columns, or objectives, that one message lists
FAILURES = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # of a function outside mora on a bad record


class RowParser(RecordParser):
    """Turns records into rows, over all files of a source.

    ``on_bad_row``: ``error`` raises one InputError about all bad records in ``close``; ``quarantine`` goes on without
    them as long as they are at most ``max_bad_share`` of the records.
    """

    def __init__(self, on_bad_row: OnBadRow, max_bad_share: float) -> None:
        if on_bad_row not in ("error", "quarantine"):
            raise InputError(f"dataset.on_bad_row={on_bad_row}: must be error or quarantine")
        if not 0 <= max_bad_share <= 1:
            raise InputError(f"dataset.max_bad_share={max_bad_share}: must lie between 0 and 1")
        super().__init__()
        self.on_bad_row, self.max_bad_share = on_bad_row, max_bad_share
        self.empty = 0  # good records that gave no row
        self.others: dict[str, None] = {}  # objectives that such records name, the first SHOWN
        self.bare = 0  # records that gave a prompt alone and have columns that were not read
        self.unread: dict[str, None] = {}  # these columns, in order
        self.folders: Counter[str] = Counter()  # records by the folder, or dataset of the hub, that they are from

    def rows(
        self,
        records: Iterable[Record],
        read: Callable[[Fields], Iterable[Row | Remark]],
        *,
        custom: bool = False,
        prompts: Collection[str] = (),
    ) -> Iterator[Row]:
        """The rows of ``records``, each with the place of its record; what cannot be read is rejected.

        ``custom``: ``read`` is not of mora, so any error that a bad record may cause counts as such.  ``prompts``: the
        columns that a prompt is made of, where others of a record that gives no more are to be told.
        """
        for record, found in self.parse(self._by_folder(records), partial(_read, read, custom=custom)):
            rows = [row for row in found if isinstance(row, Row)]
            self.remarks.update(remark for remark in found if isinstance(remark, Remark))
            if not rows:
                self._note_empty(record.fields or {})
            if prompts and rows and not any(row.responses for row in rows):
                self._note_unread(record.fields or {}, prompts)
            for row in rows:
                yield replace(row, where=record.where)

    def _by_folder(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self.folders[dirname(record.where)] += 1
            yield record

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
        found = [f"{count} of {self.total} records {remark}" for remark, count in self.remarks.items()]
        if self.empty:
            found.append(f"{self.empty} of {self.total} records give no row: {self._not_asked()}")
        if self.bare:
            columns = ", ".join(list(self.unread)[:SHOWN])
            found.append(f"{self.bare} of {self.total} records give a prompt alone; not read of them: {columns}")
        return found

    def _not_asked(self) -> str:
        named = f" ({OBJECTIVE}: {', '.join(self.others)})" if self.others else ""
        return f"nothing in them is asked for{named}"

    def require_row(self, source: str, objectives: Iterable[str]) -> None:
        """Raises InputError where all records are good and none gives a row."""
        if self.empty and self.empty == self.total:
            names = f"objectives.names=[{','.join(objectives)}]"
            raise InputError(
                f"{source}: none of the {self.total} records gives a row: {self._not_asked()}, with {names}; columns "
                f"that exist: {', '.join(self.columns)}"
            )

    def summary(self) -> dict[str, Any]:
        """Records read, used and set aside, and how many for which kind of reason."""
        kinds = Counter(bad.kind for bad in self.rejected)
        return {
            "read": self.total,
            "used": self.total - len(self.rejected),
            "without_row": self.empty,
            "set_aside": len(self.rejected),
            "reasons": dict(sorted(kinds.items())),
        }

    def close(self) -> list[str]:
        """What to tell the user about rejected records; raises as ``check`` does, with the options of the source."""
        return self.check(self.on_bad_row, self.max_bad_share)

    def _advice(self) -> str:
        if mixed := self._of_some_folders():
            return mixed
        if self.on_bad_row == "error":
            return "correct them, or go on without them: dataset.on_bad_row=quarantine"
        return (
            f"that is {len(self.rejected) / self.total:.1%}, more than dataset.max_bad_share={self.max_bad_share:g} "
            "allows: correct them, or raise it if this is the right format"
        )

    def _of_some_folders(self) -> str:
        """Advice where all records of some folders are bad, and others have good ones: another format stands there."""
        bad = Counter(dirname(one.where) for one in self.rejected)
        wrong = [folder for folder, count in bad.items() if count == self.folders[folder]]
        right = [folder for folder in self.folders if folder not in wrong]
        if not wrong or not right:
            return ""
        return (
            f"no row of {', '.join(wrong)} has the format that is read, those of {', '.join(right)} have it: the path "
            "holds several configurations; name one of them as dataset.path"
        )


def _read(read: Callable[[Fields], Iterable[Row | Remark]], fields: Fields, *, custom: bool) -> list[Row | Remark]:
    """All that ``read`` gives of a record.  Raises BadRow for what a ``custom`` function raises on a bad one."""
    try:
        return list(read(fields))
    except BadRow:
        raise
    except FAILURES as error:
        if not custom:
            raise
        raise BadRow("reader_failed", f"{type(error).__name__}: {error}") from error


def require_labels(
    labelled: set[str], objectives: Iterable[str], columns: Mapping[str, str], seen: Iterable[str], source: str
) -> None:
    """Raises WrongFormat for an objective that no training row labels or rates, with the columns that exist."""
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
        raise WrongFormat("\n".join([f"{source}:", *problems, advice]))
