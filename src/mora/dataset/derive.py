"""Supervised rows for a source that has only pairs: in each pair, the answer that most objectives prefer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mora.dataset.store import take
from mora.types import Row, content_id


def preferred(row: Row) -> str | None:
    """The answer of a pair that more objectives prefer; None where they cancel or none has a say."""
    says = [value - 0.5 for value in row.labels.values() if value is not None]
    votes = sum((say > 0) - (say < 0) for say in says)
    return None if votes == 0 else row.responses[votes > 0]


def from_pairs(pairs: Sequence[Row]) -> tuple[Iterator[Row], int, int]:
    """Supervised rows, each (prompt, answer) once; how many pairs gave none (a tie), and how many repeated one."""
    answers = np.fromiter(map(_answer_id, pairs), np.int64, len(pairs))
    decided = np.flatnonzero(answers >= 0)
    first = decided[np.sort(np.unique(answers[decided], return_index=True)[1])]
    return map(_supervised, take(pairs, first)), len(pairs) - len(decided), len(decided) - len(first)


def _answer_id(row: Row) -> int:
    answer = preferred(row)
    return -1 if answer is None else content_id(row.prompt, answer)


def _supervised(row: Row) -> Row:
    answer = preferred(row)
    assert answer is not None
    return Row(prompt=row.prompt, responses=(answer,), where=row.where)
