"""One row where several rows label the same pair for different objectives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mora.dataset.store import row_ids, take
from mora.types import Row


def merged(rows: Sequence[Row]) -> Iterator[Row]:
    """Pairs of the same prompt and responses made one, with what each says, at the place of the first.

    A second word on an objective, equal or contrary, stays a row of its own.
    """
    if not len(rows):
        return
    ids = row_ids(rows)
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0])
    groups = {int(order[a]): order[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True) if b - a > 1}
    again = np.ones(len(ids), dtype=bool)
    again[order[starts]] = False
    for number, row in enumerate(rows):
        if number in groups:
            yield from _one(take(rows, groups[number]))
        elif not again[number]:
            yield row


def _one(rows: Iterable[Row]) -> list[Row]:
    copies: list[Row] = []
    for row in rows:
        free = next((number for number, other in enumerate(copies) if not _says(other) & _says(row)), None)
        if free is None:
            copies.append(row)
        else:
            copies[free] = _with(copies[free], row)
    return copies


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
