"""What all worlds share: the best response to a preference, and pairs judged by annotators who know the gold scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.dataset.worlds import annotators
from mora.errors import InputError
from mora.types import Row

Floats = NDArray[np.float64]


class Judged(ABC):
    """Best responses, labels of pairs, and what the best possible predictor of these labels knows."""

    objectives: tuple[str, ...]
    slope: float  # utility units per unit of gold score

    @abstractmethod
    def seen(self, prompts: Sequence[str], responses: Sequence[str]) -> tuple[Floats, Floats]:
        """Gold scores (B, M), and by how much annotators differ (B, M), in utility units."""

    @abstractmethod
    def front(self) -> Floats:
        """Every non-dominated score vector of a response (P, M), ascending in the first objective."""

    def best(self, preferences: ArrayLike) -> Floats:
        """Scores (P, M) of the response that maximizes <preference, gold>; of equals, the one with the largest sum."""
        front: Floats = self.front()
        gains = (np.asarray(preferences, dtype=np.float64) @ front.T).round(9)  # (P, points of the front)
        chosen: Floats = front[np.argmax(gains + 1e-10 * front.sum(1), axis=1)]
        return chosen

    def bayes_probabilities(self, rows: Sequence[Row]) -> Floats:
        """True probability (B, M) that an annotator calls ``responses[1]`` better.

        Raises InputError on a row that is no pair.
        """
        golds, spreads = self._sides(rows)
        return annotators.probability(self.slope * (golds[1] - golds[0]), np.hypot(*spreads))

    def bayes_probability(self, row: Row) -> Floats:
        """``bayes_probabilities`` of one row (M,)."""
        (probability,) = self.bayes_probabilities([row])
        return np.asarray(probability)

    def bayes_accuracy(self, rows: Sequence[Row]) -> Floats:
        """Mean over pairs of max(p, 1 - p) (M,): no predictor of the labels does better on average."""
        probability = self.bayes_probabilities(rows)
        surest: Floats = np.maximum(probability, 1 - probability).mean(0)
        return surest

    def label(self, rows: Sequence[Row], noise: Floats) -> list[Row]:
        """The pairs with labels and ratings drawn from annotators; ``noise`` (3, B, M) uniform on (0, 1).

        A rating is what the annotator of the pair felt for an answer, in units of the gold score; where annotators do
        not care for it (slope 0), there is none.
        """
        golds, spreads = self._sides(rows)
        labels, felt = annotators.judge(self.slope * golds, spreads, noise)
        names = self.objectives
        rated = names if self.slope else ()
        ratings = (felt / (self.slope or 1.0)).tolist()
        return [
            replace(
                row,
                labels=dict(zip(names, labels[i].tolist(), strict=True)),
                ratings={name: ((ratings[0][i][m],), (ratings[1][i][m],)) for m, name in enumerate(rated)},
            )
            for i, row in enumerate(rows)
        ]

    def _sides(self, rows: Sequence[Row]) -> tuple[Floats, Floats]:
        """Gold scores and spreads (2, B, M) of both answers of each pair."""
        for row in rows:
            if len(row.responses) != 2:
                raise InputError(f"{row.where}: a pair has two responses, this row has {len(row.responses)}")
        prompts = [row.prompt for row in rows]
        sides = [self.seen(prompts, [row.responses[side] for row in rows]) for side in (0, 1)]
        return np.stack([gold for gold, _ in sides]), np.stack([spread for _, spread in sides])
