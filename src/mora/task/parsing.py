"""Pairs with labels and answers with ratings, from the columns of a file and back to columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mora.dataset import schema
from mora.dataset.cells import Cell, typed
from mora.dataset.pairs import hash_ordered, make_pair
from mora.dataset.read import Record
from mora.dataset.schema import ID, LABEL, STRENGTH, BadRow, hard, probability, ratings, strength, text
from mora.task.row_counts import RowCounts
from mora.types import Row

T = TypeVar("T")
Fields = Mapping[str, Any]
Numbers = tuple[float, ...]
TEXTS = ("prompt", "response", "response_0", "response_1")
NO_OBJECTIVE = ("id", "index", "annotator", "annotator_id")  # columns of numbers that rate nothing


@dataclass(frozen=True, kw_only=True)
class Pair(Row):
    """A row of two answers, with the ``other`` columns of its record."""

    other: Mapping[str, Any] = field(default_factory=dict)

    def swapped(self) -> Pair:
        """The same pair with the answers in the other order."""
        return replace(
            self,
            responses=self.responses[::-1],
            labels={name: None if value is None else 1.0 - value for name, value in self.labels.items()},
            ratings={name: both[::-1] for name, both in self.ratings.items()},
        )

    def fields(self, soft: bool) -> dict[str, Any]:
        """The pair as columns; ``soft`` writes ``<objective>_label`` too, beside the id of the likelier answer."""
        row: dict[str, Any] = {"prompt": self.prompt, "response_0": self.responses[0], "response_1": self.responses[1]}
        for name, value in self.labels.items():
            row[f"{name}{ID}"] = hard(value)
            if soft:
                row[f"{name}{LABEL}"] = value
            if name in self.ratings:
                row |= {f"{name}_rating_{side}": rating_cell(self.ratings[name][side]) for side in (0, 1)}
            if name in self.strengths:
                row[f"{name}{STRENGTH}"] = self.strengths[name]
        return add_columns(row, self.other)


@dataclass(kw_only=True)
class Answer:
    """An answer with its ratings, one or several per objective, none where it is not rated."""

    prompt: str
    response: str
    ratings: dict[str, Numbers]
    other: dict[str, Any] = field(default_factory=dict)


def add_columns(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the other columns of the record that it was made of, less those that are null there and not in it."""
    return {**row, **{name: value for name, value in other.items() if value is not None or name not in row}}


def rating_cell(values: Sequence[float]) -> Any:
    """Ratings as a column has them: null, one number, or a list."""
    return None if not values else values[0] if len(values) == 1 else list(values)


def rating_values(fields: Fields, column: str) -> Numbers:
    """The ratings in a column, integers as integers.  Raises BadRow for anything but numbers."""
    ratings(fields, column)
    value = typed(fields.get(column))
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


def pair_columns(objective: str) -> tuple[str, ...]:
    """Columns of a pair that say something of an objective: one of them must exist."""
    return (f"{objective}{ID}", f"{objective}{LABEL}", f"{objective}_rating_0")


def pair_objectives(fields: Fields) -> list[str]:
    """The objectives of a row of pairs: those with an id, with a number as label, or with ratings."""
    ends = (ID, LABEL, "_rating_0")
    found = [name.removesuffix(end) for name in fields for end in ends if name.endswith(end)]
    return [name for name in dict.fromkeys(found) if name and _judges(name, fields)]


def _judges(name: str, fields: Fields) -> bool:
    """Whether a row says something of ``name``; a text in a column ``<name>_label`` alone is another matter."""
    return (
        f"{name}{ID}" in fields or f"{name}_rating_0" in fields or not isinstance(typed(fields[f"{name}{LABEL}"]), str)
    )


def answer_objectives(fields: Fields) -> list[str]:
    """The objectives of a row of answers: all columns of numbers or lists of numbers, except ids."""
    return [name for name, value in fields.items() if name not in (*TEXTS, *NO_OBJECTIVE) and _rates(name, value)]


def _rates(name: str, value: Any) -> bool:
    value = typed(value)
    values = value if isinstance(value, list) else [value]
    numeric = bool(values) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return numeric and not name.endswith("_id")


def _texts_of_cells(values: Sequence[Any]) -> bool:
    """Whether a column of cells without types holds texts, of which some happen to be numbers (``1984``)."""
    given = [value for value in values if isinstance(value, str)]
    numbers = sum(isinstance(value, Cell) for value in given)
    return 0 < numbers < len(given) / 2


def parse_with_objectives(
    records: Iterable[Record],
    counts: RowCounts,
    parse: Callable[[Fields, Sequence[str]], T],
    objectives: Sequence[str] | None,
) -> Iterator[T]:
    """What ``parse(fields, names)`` makes of each record; ``names`` are the ``objectives``.

    None: all that any record of the file labels or rates and that this one says something of, so that a column is read
    alike in every row, as training reads it: a text among its numbers makes a bad row.  All records are held then.
    """
    if objectives is not None:
        return counts.parsed(records, lambda fields: parse(fields, objectives))
    held = list(records)
    rows = [one.fields for one in held if one.fields is not None]
    found = dict.fromkeys(name for fields in rows for name in _objectives(fields))
    found = {name: None for name in found if not _texts_of_cells([fields.get(name) for fields in rows])}

    def read(fields: Fields) -> T:
        names = [name for name in found if _says(name, fields)]
        try:
            return parse(fields, names)
        except BadRow as error:
            if set(names) <= set(_objectives(fields)):
                raise
            advice = "other rows have numbers there (task.objectives=[...] names the columns that are read)"
            raise BadRow(error.kind, f"{error}; {advice}") from None

    return counts.parsed(held, read)


def is_pair(fields: Fields) -> bool:
    """Whether a row is a pair of answers, and no single one; null counts as absent."""
    return schema.given(fields, "response_0", "response_1")


def _says(objective: str, fields: Fields) -> bool:
    """Whether a row has columns of an objective: a pair also where they are null, an answer where it is rated."""
    if is_pair(fields):
        return any(column in fields for column in pair_columns(objective))
    return fields.get(objective) not in (None, [])


def _objectives(fields: Fields) -> list[str]:
    return pair_objectives(fields) if is_pair(fields) else answer_objectives(fields)


def parse_pair(fields: Fields, names: Sequence[str]) -> Pair:
    """A pair of a record with what it says of the objectives ``names``.

    Raises BadRow for a missing or empty text, a column of the wrong kind, and two equal answers that are told apart.
    """
    row = make_pair(
        text(fields, "prompt"),
        (text(fields, "response_0"), text(fields, "response_1")),
        labels={name: probability(fields, name) for name in names},
        ratings={
            name: (rating_values(fields, f"{name}_rating_0"), rating_values(fields, f"{name}_rating_1"))
            for name in names
        },
        strengths={name: strength(fields, f"{name}{STRENGTH}") for name in names},
    )
    ends = (ID, LABEL, STRENGTH, "_rating_0", "_rating_1")
    taken = {"prompt", "response_0", "response_1", *(f"{name}{end}" for name in names for end in ends)}
    return Pair(**vars(row), other={name: value for name, value in fields.items() if name not in taken})


def parse_answer(fields: Fields, names: Sequence[str]) -> Answer:
    """An answer of a record with its ratings on the objectives ``names``.

    Raises BadRow for a missing or empty text and for ratings that are no numbers.
    """
    return Answer(
        prompt=text(fields, "prompt"),
        response=text(fields, "response"),
        ratings={name: rating_values(fields, name) for name in names},
        other={name: value for name, value in fields.items() if name not in ("prompt", "response", *names)},
    )


def in_hash_order(pair: Pair) -> Pair:
    """The pair in an order that a hash of its texts decides: place says nothing of which answer is better."""
    return pair if pair.responses == hash_ordered(pair.prompt, pair.responses[0], pair.responses[1]) else pair.swapped()
