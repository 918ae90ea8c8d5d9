"""One row where several rows label the same pair for different objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mora.types import Row


def merged(rows: Iterable[Row], objectives: tuple[str, ...]) -> list[Row]:
    """Rows of the same prompt and responses made one, with what each says of its objectives; the others None.

    A second word on an objective, equal or contrary, stays a row of its own.  Rows that are no pairs are left as they
    are.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    alone: list[Row] = []
    for row in rows:
        if len(row.responses) != 2:
            alone.append(row)
            continue
        copies = found.setdefault((row.prompt, *row.responses), [])
        free = next((number for number, other in enumerate(copies) if not _says(other) & _says(row)), None)
        if free is None:
            copies.append(replace(row, labels={**dict.fromkeys(objectives), **_given(row.labels)}))
        else:
            copies[free] = _with(copies[free], row)
    return [row for copies in found.values() for row in copies] + alone


def _says(row: Row) -> set[str]:
    return {*_given(row.labels), *row.ratings, *row.strengths}


def _given(labels: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value for name, value in labels.items() if value is not None}


def _with(one: Row, other: Row) -> Row:
    return replace(
        one,
        labels={**one.labels, **_given(other.labels)},
        ratings={**one.ratings, **other.ratings},
        strengths={**one.strengths, **other.strengths},
    )
