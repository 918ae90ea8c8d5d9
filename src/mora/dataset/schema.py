"""The columns of a source as it declares them, and what is wrong with a record that is not so.

A *column* is a function ``(fields, name) -> value``: the value of one field of a record, checked.  A source declares
its columns by name (``RecordSchema``); a record that breaks the declaration is refused with a reason and its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mora.dataset.cells import typed
from mora.turns import MARK, Turn, joined
from mora.types import Row

Fields = Mapping[str, Any]
Column = Callable[[Fields, str], Any]
ID, LABEL, STRENGTH = "_response_id", "_label", "_strength"  # of columns of a pair, after what they are about
LARGEST = 3.4e38  # number of a rating: beyond it lies infinity in single precision

Kind = Literal[
    "broken_record",  # no JSON object, bytes that are no UTF-8, a row of a table with too many or too few fields
    "missing_field",
    "wrong_type",
    "empty_text",
    "broken_text",  # half of a surrogate pair, NUL, or the control character that separates turns
    "out_of_range",
    "identical_responses",
    "contradictory_labels",
    "broken_conversation",  # turns that do not alternate, answers to different prompts
    "reader_failed",  # a function outside mora raised another error
]


class BadRow(ValueError):
    """A record that cannot become a row; the message is the reason, ``kind`` the sort of reason."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Remark(str):
    """What is left out of a good record, to be said once with the number of such records: ``with ..``."""


def text(fields: Fields, column: str) -> str:
    """The text in a column.  Raises BadRow where it is missing, no text, empty, or cannot be written as UTF-8."""
    value = any_text(fields, column)
    if not value.strip():
        raise BadRow("empty_text", f"{column!r} is empty")
    return value


def any_text(fields: Fields, column: str) -> str:
    """The text in a column, which may be empty.  Raises BadRow where it is missing, no text, or broken."""
    if column not in fields:
        raise BadRow("missing_field", f"field {column!r} is missing")
    value = fields[column]
    if not isinstance(value, str):
        raise BadRow("wrong_type", f"{column!r} must be a text, not {_shown(value)}")
    if MARK in value:
        raise BadRow("broken_text", f"{column!r} holds the control character U+001E, which separates turns")
    if "\0" in value:
        raise BadRow("broken_text", f"{column!r} holds the character NUL (U+0000)")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow("broken_text", f"{column!r} holds half of a surrogate pair (a broken \\u escape)") from None
    return value


def label(fields: Fields, column: str) -> float | None:
    """The id of the better answer, as the probability that answer 1 is better; None where there is none."""
    value = typed(fields.get(column))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (0, 1):
        kind: Kind = "out_of_range" if _is_number(value) else "wrong_type"
        raise BadRow(kind, f"{column!r} must be 0, 1 or null, not {_shown(value)}")
    return float(value)


def hard(value: float | None) -> int | None:
    """The id of the likelier answer; None where neither is or nothing is known."""
    return None if value is None or value == 0.5 else int(value > 0.5)


def probability(fields: Fields, objective: str) -> float | None:
    """That the second answer is better: ``<objective>_label`` where it is given, else by ``<objective>_response_id``.

    Raises BadRow where the two contradict each other.
    """
    by_id, column = label(fields, f"{objective}{ID}"), f"{objective}{LABEL}"
    value = typed(fields.get(column))
    if value is None:
        return by_id
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadRow("out_of_range", f"{column!r} must be a number from 0 to 1 or null, not {_shown(value)}")
    if by_id is not None and hard(value) != by_id:
        said = f"{column!r} says {value}, and {objective + ID!r} says {fields[objective + ID]}"
        raise BadRow("contradictory_labels", said)
    return float(value)


def ratings(fields: Fields, column: str) -> tuple[float, ...]:
    """Absolute ratings of an answer, higher is better: a number, a list of them (an annotator each), or null."""
    value = typed(fields.get(column))
    values = value if isinstance(value, list) else [] if value is None else [value]
    for one in values:
        if not _is_number(one):
            raise BadRow("wrong_type", f"{column!r} must be a number, a list of numbers or null, not {_shown(value)}")
    return tuple(float(one) for one in values)


def strength(fields: Fields, column: str) -> float | None:
    """By how much the better answer is better, at least 0; None where nothing is said."""
    value = typed(fields.get(column))
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        kind: Kind = "out_of_range" if _is_number(value) else "wrong_type"
        raise BadRow(kind, f"{column!r} must be a number of at least 0 or null, not {_shown(value)}")
    return float(value)


def flag(fields: Fields, column: str) -> bool | None:
    """A mark that is true, false or null; None where there is none."""
    value = typed(fields.get(column))
    if value is None or isinstance(value, bool):
        return value
    raise BadRow("wrong_type", f"{column!r} must be true, false or null, not {_shown(value)}")


def mark(fields: Fields, column: str) -> bool | None:
    """Whether an answer is marked good: true or false, also as a word (CSV), 1 or 0, or null for neither."""
    value = typed(fields.get(column))
    value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    if value is None:
        return None
    if not isinstance(value, int | float) or value not in (0, 1):
        reason = f"{column!r} says whether the answer is good, and must be true, false, 1, 0 or null"
        raise BadRow("wrong_type", f"{reason}, not {_shown(value)}; give a column of something else another name")
    return bool(value)


def rating(low: float, high: float) -> Column:
    """A column of ratings from ``low`` to ``high``: a number, a list of them (an annotator each), or null."""

    def column_of(fields: Fields, column: str) -> tuple[float, ...]:
        values = ratings(fields, column)
        for value in values:
            if not low <= value <= high:
                raise BadRow("out_of_range", f"{column!r} must lie between {low:g} and {high:g}, not {value:g}")
        return values

    return column_of


def one_of(*known: Any) -> Column:
    """A column that holds one of the values ``known``; a missing field counts as null."""

    def column_of(fields: Fields, column: str) -> Any:
        value = fields.get(column)
        value = value if value in known else typed(value)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in known):
            shown = ", ".join(map(repr, known))
            raise BadRow("out_of_range", f"{column!r} must be one of {shown}, not {_shown(value)}")
        return value

    return column_of


def given(fields: Fields, *columns: str) -> bool:
    """Whether a record has one of these fields; null counts as absent."""
    return any(fields.get(column) is not None for column in columns)


def whole(low: int, high: int) -> Column:
    """A column of whole numbers from ``low`` to ``high``, never null."""

    def column_of(fields: Fields, column: str) -> int:
        if column not in fields:
            raise BadRow("missing_field", f"field {column!r} is missing")
        value = typed(fields[column])
        if not _is_number(value) or value != int(value):
            raise BadRow("wrong_type", f"{column!r} must be a whole number, not {_shown(value)}")
        if not low <= value <= high:
            raise BadRow("out_of_range", f"{column!r} must lie between {low} and {high}, not {value:g}")
        return int(value)

    return column_of


def present(column: Column) -> Column:
    """``column`` where the field must be there, even if it is null."""

    def column_of(fields: Fields, name: str) -> Any:
        if name not in fields:
            raise BadRow("missing_field", f"field {name!r} is missing")
        return column(fields, name)

    return column_of


def texts(fields: Fields, column: str) -> tuple[str, ...]:
    """A list of texts, none of them empty.  Raises BadRow where it is missing, no list, or holds something else."""
    values = items(fields, column)
    return tuple(text({f"{column}[{number}]": value}, f"{column}[{number}]") for number, value in enumerate(values))


def items(fields: Fields, column: str) -> list[Any]:
    """A list.  Raises BadRow where it is missing or no list."""
    if column not in fields:
        raise BadRow("missing_field", f"field {column!r} is missing")
    value = typed(fields[column])
    if not isinstance(value, list):
        raise BadRow("wrong_type", f"{column!r} must be a list, not {_shown(value)}")
    return value


def mapping(fields: Fields, column: str) -> Fields:
    """A mapping.  Raises BadRow where it is missing or none."""
    if column not in fields:
        raise BadRow("missing_field", f"field {column!r} is missing")
    value = typed(fields[column])
    if not isinstance(value, dict):
        raise BadRow("wrong_type", f"{column!r} must be an object, not {_shown(value)}")
    return value


def _is_number(value: Any) -> bool:
    """Whether a value is a number that single precision holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _shown(value: Any) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(value).__name__})"


@dataclass(frozen=True, kw_only=True)
class RecordSchema:
    """How the records of a source become rows: the columns that it declares, and the function that reads them.

    ``read(values, names, **options)`` yields rows from the checked values of the declared columns, and remarks;
    ``names`` gives for each objective what the source calls it, and the whole record stands under ``""`` for columns
    whose own names depend on that.  ``known`` is all that the source labels, None: whatever the user names; ``label``
    is the column with the label of a name, and ``prompts`` the columns that a prompt is made of, for messages.
    """

    columns: Mapping[str, Column]
    read: Callable[..., Iterable[Row | Remark]]
    known: tuple[str, ...] | None
    label: str
    prompts: tuple[str, ...]

    def __call__(self, fields: Fields, names: Mapping[str, str], **options: Any) -> Iterable[Row | Remark]:
        """The rows of one record.  Raises BadRow with the reason where the record is not as declared."""
        values = {name: column(fields, name) for name, column in self.columns.items()}
        return self.read(values | {"": fields}, names, **options)


def record_schema(
    *prompts: str, known: Sequence[str] | None = None, label: str = "{}", **columns: Column
) -> Callable[[Callable[..., Any]], RecordSchema]:
    """Declares the columns of the function below it, and makes it a ``RecordSchema``."""
    names = None if known is None else tuple(known)
    return lambda read: RecordSchema(columns=columns, read=read, known=names, label=label, prompts=prompts)


def conversation(turns: Sequence[Turn]) -> str:
    """The prompt of these turns.  Raises BadRow where they are none."""
    try:
        return joined(turns)
    except ValueError as error:
        raise BadRow("broken_conversation", str(error)) from None
