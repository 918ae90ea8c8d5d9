"""Worlds: small tasks made by code, in which the true score of every answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.dataset.true_scores import Floats, TrueScores
from mora.types import Row


class World(TrueScores, Protocol):
    """What a corpus made by code knows beyond its rows.

    What is no answer of the world scores the ``floor`` on all objectives, and so does one that was cut off, whatever it
    says so far.
    """

    slope: float  # utility units per unit of gold score

    def valid(
        self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None
    ) -> NDArray[np.bool_]:
        """Whether each response is in the language of the world, and ended (B,)."""

    def front(self) -> Floats:
        """Every non-dominated score vector of a response (P, M), ascending in the first objective; exact."""

    def best(self, preferences: ArrayLike) -> Floats:
        """Scores (P, M) of the response that maximizes <preference, gold>, for each row of ``preferences`` (P, M)."""

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """By how much annotators differ about each response (B, M): a standard deviation in utility units."""

    def bayes_probability(self, row: Row) -> Floats:
        """True probability (M,) that an annotator calls ``row.responses[1]`` the better one."""

    def bayes_probabilities(self, rows: Sequence[Row]) -> Floats:
        """The same of many rows (B, M)."""

    def bayes_accuracy(self, rows: Sequence[Row]) -> Floats:
        """Share of labels (M,) that the best possible predictor gets right on these pairs."""
