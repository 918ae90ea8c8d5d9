"""What reward kinds share that learn from comparisons: which pairs teach them, and that their zero means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from mora.errors import InputError
from mora.types import Judgments, Row


class Compared:
    """A kind that is trained on labels of pairs, by one model."""

    trained: ClassVar[bool] = True

    @property
    def members(self) -> int:
        """One model; ensembles have more."""
        return 1

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """Whether a reward of 0 means something, per objective: pairs leave it open."""
        return (False,) * len(objectives)

    def covered(self, judgments: Judgments) -> Tensor:
        """The labelled pairs (B, M)."""
        return judgments.labelled

    def check_rows(self, rows: Sequence[Row], objectives: Sequence[str]) -> None:
        """Raises InputError for an objective that no row has a label on."""
        for name in objectives:
            if all(row.labels.get(name) is None for row in rows):
                raise InputError(
                    f"objective {name}: no training pair has a label on it; leave it out of objectives.names, or give "
                    "pairs that are labelled"
                )
