"""Rows in mora's neutral forms: pairs with labels, and answers with ratings; from columns and back to columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mora.dataset import schema
from mora.dataset.cells import Cell, typed
from mora.dataset.pairs import hash_ordered
from mora.dataset.read import Record
from mora.dataset.schema import ID, LABEL, STRENGTH, BadRow, hard, probability, ratings, strength, text
from mora.task.row_counts import RowCounts

T = TypeVar("T")
Fields = Mapping[str, Any]
Numbers = tuple[float, ...]
TEXTS = ("prompt", "response", "response_0", "response_1")
NO_OBJECTIVE = ("id", "index", "annotator", "annotator_id")  # columns of numbers that rate nothing


@dataclass(kw_only=True)
class Pair:
    """Two answers to a prompt.  ``labels`` are probabilities that the second one is better, None where unknown.

    ``ratings`` are those of both answers, ``strengths`` at least 0: as in ``mora.types.Row``, but with the ``other``
    columns of the record.
    """

    prompt: str
    responses: tuple[str, str]
    labels: dict[str, float | None]
    ratings: dict[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    strengths: dict[str, float] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def swapped(self) -> Pair:
        """The same pair with the answers in the other order."""
        return Pair(
            prompt=self.prompt,
            responses=(self.responses[1], self.responses[0]),
            labels={name: None if value is None else 1.0 - value for name, value in self.labels.items()},
            ratings={name: (both[1], both[0]) for name, both in self.ratings.items()},
            strengths=self.strengths,
            other=self.other,
        )

    def fields(self, soft: bool) -> dict[str, Any]:
        """The pair as columns; ``soft`` writes ``<objective>_label`` too, beside the id of the likelier answer."""
        row: dict[str, Any] = {"prompt": self.prompt, "response_0": self.responses[0], "response_1": self.responses[1]}
        for name, value in self.labels.items():
            row[f"{name}{ID}"] = hard(value)
            if soft:
                row[f"{name}{LABEL}"] = value
            if name in self.ratings:
                row |= {f"{name}_rating_{side}": plain(self.ratings[name][side]) for side in (0, 1)}
            if name in self.strengths:
                row[f"{name}{STRENGTH}"] = self.strengths[name]
        return beside(row, self.other)


@dataclass(kw_only=True)
class Answer:
    """An answer with its ratings, one or several per objective, none where it is not rated."""

    prompt: str
    response: str
    ratings: dict[str, Numbers]
    other: dict[str, Any] = field(default_factory=dict)


def beside(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the other columns of the record that it was made of, less those that are null there and not in it."""
    return {**row, **{name: value for name, value in other.items() if value is not None or name not in row}}


def plain(values: Sequence[float]) -> Any:
    """Ratings as a column has them: null, one number, or a list."""
    return None if not values else values[0] if len(values) == 1 else list(values)


def numbers(fields: Fields, column: str) -> Numbers:
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


def judged(
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


def pair(fields: Fields, names: Sequence[str]) -> Pair:
    """A pair of a record with what it says of the objectives ``names``.

    Raises BadRow for a missing or empty text, a column of the wrong kind, and two equal answers that are told apart.
    """
    prompt, responses = text(fields, "prompt"), (text(fields, "response_0"), text(fields, "response_1"))
    labels = {name: probability(fields, name) for name in names}
    if responses[0] == responses[1] and any(value not in (None, 0.5) for value in labels.values()):
        reason = "the two responses are identical, yet one of them is said to be the better one"
        raise BadRow("identical_responses", reason)
    rated = {name: (numbers(fields, f"{name}_rating_0"), numbers(fields, f"{name}_rating_1")) for name in names}
    strengths = {name: strength(fields, f"{name}{STRENGTH}") for name in names}
    ends = (ID, LABEL, STRENGTH, "_rating_0", "_rating_1")
    taken = {"prompt", "response_0", "response_1", *(f"{name}{end}" for name in names for end in ends)}
    return Pair(
        prompt=prompt,
        responses=responses,
        labels=labels,
        ratings={name: both for name, both in rated.items() if any(both)},
        strengths={name: value for name, value in strengths.items() if value is not None},
        other={name: value for name, value in fields.items() if name not in taken},
    )


def answer(fields: Fields, names: Sequence[str]) -> Answer:
    """An answer of a record with its ratings on the objectives ``names``.

    Raises BadRow for a missing or empty text and for ratings that are no numbers.
    """
    return Answer(
        prompt=text(fields, "prompt"),
        response=text(fields, "response"),
        ratings={name: numbers(fields, name) for name in names},
        other={name: value for name, value in fields.items() if name not in ("prompt", "response", *names)},
    )


def placed(pair: Pair) -> Pair:
    """The pair in an order that a hash of its texts decides: place says nothing of which answer is better."""
    return pair if pair.responses == hash_ordered(pair.prompt, *pair.responses) else pair.swapped()
