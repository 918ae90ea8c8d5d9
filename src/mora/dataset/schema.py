"""From a record of a source to a canonical row; a record that is not as it should be is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from mora.dataset.corpus import Rejected
from mora.dataset.read import Record
from mora.errors import InputError
from mora.types import Row

OnBadRow = Literal["error", "quarantine"]
Fields = Mapping[str, Any]
SHOWN = 10  # bad rows that one message lists
LARGEST = 3.4e38  # number of a rating: beyond it lies infinity in single precision


class BadRow(ValueError):
    """A record that cannot become a row; the message is the reason."""


def text(fields: Fields, column: str) -> str:
    """The text in a column.  Raises BadRow where it is missing, no text, empty, or cannot be written as UTF-8."""
    if column not in fields:
        raise BadRow(f"field {column!r} is missing")
    value = fields[column]
    if not isinstance(value, str):
        raise BadRow(f"{column!r} must be a text, not {_shown(value)}")
    if not value.strip():
        raise BadRow(f"{column!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{column!r} holds half of a surrogate pair (a broken \\u escape)") from None
    return value


def label(fields: Fields, column: str) -> float | None:
    """The id of the better answer, as the probability that answer 1 is better; None where there is none."""
    value = fields.get(column)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (0, 1):
        raise BadRow(f"{column!r} must be 0, 1 or null, not {_shown(value)}")
    return float(value)


def ratings(fields: Fields, column: str) -> tuple[float, ...]:
    """Absolute ratings of an answer, higher is better: a number, a list of them (an annotator each), or null."""
    value = fields.get(column)
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not _is_number(one):
            raise BadRow(f"{column!r} must be a number, a list of numbers or null, not {_shown(value)}")
    return tuple(float(one) for one in values)


def strength(fields: Fields, column: str) -> float | None:
    """By how much the better answer is better, at least 0; None where nothing is said."""
    value = fields.get(column)
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise BadRow(f"{column!r} must be a number of at least 0 or null, not {_shown(value)}")
    return float(value)


def _is_number(value: Any) -> bool:
    """Whether a value is a number that single precision holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def pair(fields: Fields, where: str, columns: Mapping[str, str]) -> Row:
    """A pair from ``prompt, response_0, response_1`` and a column of ids per objective (``columns[objective]``).

    Where they exist, ``<objective>_rating_0`` and ``_rating_1`` are ratings and ``<objective>_strength`` is a strength.
    """
    prompt, responses = text(fields, "prompt"), (text(fields, "response_0"), text(fields, "response_1"))
    labels = {objective: label(fields, column) for objective, column in columns.items()}
    if responses[0] == responses[1] and any(value is not None for value in labels.values()):
        raise BadRow("the two responses are identical, yet one of them is said to be the better one")
    rated = {o: tuple(ratings(fields, f"{o}_rating_{side}") for side in (0, 1)) for o in columns}
    strengths = {o: strength(fields, f"{o}_strength") for o in columns}
    return Row(
        prompt=prompt,
        responses=responses,
        labels=labels,
        ratings={o: both for o, both in rated.items() if any(both)},
        strengths={o: value for o, value in strengths.items() if value is not None},
        where=where,
    )


def supervised(fields: Fields, where: str) -> Row:
    """A supervised row from ``prompt, response``."""
    return Row(prompt=text(fields, "prompt"), responses=(text(fields, "response"),), where=where)


def _shown(value: Any) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(value).__name__})"


class Sieve:
    """Turns records into rows and keeps what could not become one, over all files of a source.

    ``on_bad_row``: ``error`` raises one InputError about all of them in ``close``; ``quarantine`` goes on without them.
    """

    def __init__(self, on_bad_row: OnBadRow) -> None:
        if on_bad_row not in ("error", "quarantine"):
            raise InputError(f"dataset.on_bad_row={on_bad_row}: must be error or quarantine")
        self.on_bad_row = on_bad_row
        self.rejected: list[Rejected] = []
        self.columns: dict[str, None] = {}  # the columns seen, in order
        self.records = 0

    def rows(self, records: Iterable[Record], parse: Callable[[Fields, str], Row]) -> list[Row]:
        """The rows of ``records``; what cannot be parsed is set aside."""
        rows = []
        for record in records:
            self.records += 1
            try:
                if record.fields is None:
                    raise BadRow(record.problem)
                self.columns |= dict.fromkeys(record.fields)
                rows.append(parse(record.fields, record.where))
            except BadRow as error:
                self.rejected.append(Rejected(where=record.where, reason=str(error), raw=record.raw))
        return rows

    def close(self) -> list[str]:
        """What to tell the user about rows set aside.  Raises InputError about them where ``on_bad_row`` is error."""
        if not self.rejected:
            return []
        lines = [f"  {bad.where}: {bad.reason}" for bad in self.rejected[:SHOWN]]
        more = len(self.rejected) - len(lines)
        if more:
            lines.append(f"  ... and {more} more")
        count = f"{len(self.rejected)} of {self.records} rows are bad"
        if self.on_bad_row == "quarantine" and len(self.rejected) < self.records:
            return ["\n".join([f"{count} and were set aside:", *lines])]
        advice = "correct them, or go on without them: dataset.on_bad_row=quarantine"
        if len(self.rejected) == self.records:
            advice = f"no good row is left; columns that exist: {', '.join(self.columns) or 'none'}"
        raise InputError("\n".join([f"{count}:", *lines, advice]))


def require_labels(rows: Iterable[Row], columns: Mapping[str, str], seen: Iterable[str], source: str) -> None:
    """Raises InputError for an objective that no training row has a label or rating of, with the columns that exist."""
    rows = list(rows)
    labelled = {name for row in rows for name, value in row.labels.items() if value is not None}
    labelled |= {name for row in rows for name, both in row.ratings.items() if any(both)}
    seen = list(seen)
    problems = []
    for objective, column in columns.items():
        if objective not in labelled:
            found = "is null in every training row" if column in seen else "does not exist"
            problems.append(f"objective {objective!r} has no label: column {column!r} {found}")
    if problems:
        exist = ", ".join(seen) or "none"
        advice = f"columns that exist: {exist}; name the objectives to train on: objectives.names=[...]"
        raise InputError("\n".join([f"{source}:", *(f"  {problem}" for problem in problems), advice]))
