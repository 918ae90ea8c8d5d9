"""True scores: what code knows exactly of every answer, on a synthetic task (``worlds``) or on any text (``rules``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class TrueScores(Protocol):
    """Objectives whose score of any answer is known; every score is maximized."""

    name: str
    objectives: tuple[str, ...]
    floor: tuple[float, ...]  # the worst score of each objective

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None) -> Floats:
        """True scores (B, M) of any strings.

        ``ended`` says which of them came to their end (None: all did).
        """
