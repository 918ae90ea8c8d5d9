"""Supervised rows for a source that has only pairs: in each pair, the answer that most objectives prefer."""

from __future__ import annotations

from collections.abc import Iterable

from mora.types import Row


def preferred(row: Row) -> str | None:
    """The answer of a pair that more objectives prefer; None where they cancel or none has a say."""
    says = [value - 0.5 for value in row.labels.values() if value is not None]
    votes = sum((say > 0) - (say < 0) for say in says)
    return None if votes == 0 else row.responses[votes > 0]


def from_pairs(pairs: Iterable[Row]) -> tuple[list[Row], int, int]:
    """Supervised rows, each (prompt, answer) once; how many pairs gave none (a tie), and how many repeated one."""
    rows: dict[tuple[str, str], Row] = {}
    ties = repeats = 0
    for row in pairs:
        answer = preferred(row)
        if answer is None:
            ties += 1
        elif (row.prompt, answer) in rows:
            repeats += 1
        else:
            rows[row.prompt, answer] = Row(prompt=row.prompt, responses=(answer,), where=row.where)
    return list(rows.values()), ties, repeats
