"""What reward kinds share that learn from pairs: labels teach them, and one model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from mora.errors import InputError
from mora.model.backbones import Sharing
from mora.reward import HeadKind, Origin
from mora.types import Judgments, Row


def check_rated(rows: Sequence[Row], objectives: Sequence[str], advice: str) -> None:
    """Raises InputError for an objective that no answer of the rows has a rating on."""
    for name in objectives:
        if not any(any(row.ratings.get(name, ())) for row in rows):
            raise InputError(
                f"objective {name}: no answer of a training pair has a rating on it (columns {name}_rating_0 and "
                f"{name}_rating_1); {advice}"
            )


class Compared(HeadKind):
    """A kind that one model is trained on pairs for; their labels teach it."""

    origin: ClassVar[Origin] = "trained"

    @property
    def reads_ratings(self) -> bool:
        """Labels are all that it reads."""
        return False

    @property
    def needs_teacher(self) -> bool:
        """What it learns is in the data."""
        return False

    @property
    def member_sharing(self) -> Sharing:
        """There is one model; ensembles have more."""
        return "trunk"

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
