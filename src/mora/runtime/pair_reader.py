"""Training pairs as batches: their tokens, their judgments and, where the trunk stays as it is, its features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.store import take
from mora.reward.scorer import ModelScorer
from mora.runtime.context import Context
from mora.runtime.feature_files import FeatureFiles
from mora.types import PairBatch, Row


@dataclass(frozen=True, kw_only=True)
class PairReader:
    """Batches of ``rows`` as ``encoder`` reads them.

    ``features`` (2, N, H), of their first and second sides, where the trunk stays as it is.
    """

    context: Context
    encoder: Encoder
    rows: Sequence[Row]
    features: Tensor | None = None

    @classmethod
    def of(cls, context: Context, rows: Sequence[Row], scorer: ModelScorer, *, frozen: bool) -> PairReader:
        """Batches as ``scorer`` reads them; with a ``frozen`` trunk by its features: found in files, or computed once.

        Then the scorer too reads pairs by features that are kept.
        """
        encoder = scorer.encoder
        if not frozen:
            return cls(context=context, encoder=encoder, rows=rows)
        context.runtime.at("the features of the frozen trunk", long=True)
        sides = [
            [np.concatenate([encoder.prompt_of(row), encoder.response_of(row, side)]) for row in rows]
            for side in (0, 1)
        ]
        files = FeatureFiles(context.folder.features, scorer.model, encoder.pad, context.runtime)
        features = files.of([*sides[0], *sides[1]], "training answers").unflatten(0, (2, len(rows)))
        context.usage.read(files.read)
        scorer.features = files.of
        return cls(context=context, encoder=encoder, rows=rows, features=features)

    def take(self, index: NDArray[np.integer[Any]]) -> PairReader:
        """The reader of some of its rows."""
        features = None if self.features is None else self.features[:, torch.from_numpy(index)]
        return replace(self, rows=take(self.rows, index), features=features)

    def micro_batches(self, chosen: Sequence[int] | NDArray[np.integer[Any]]) -> list[Callable[[], PairBatch]]:
        """The micro-batches of rows ``chosen`` for this process, each made when it is called."""
        lengths = self.encoder.lengths(take(self.rows, chosen))
        return [partial(self.batch, index) for index in self.context.micro_batches(chosen, lengths)]

    def batch(self, index: Sequence[int]) -> PairBatch:
        """The pairs at ``index`` on the run's device."""
        rows, objectives = [self.rows[i] for i in index], self.context.corpus.objectives
        pairs = collate.pairs(rows, self.encoder, objectives)
        if self.features is not None:
            pairs = replace(pairs, features=self.features[:, list(index)].flatten(0, 1))
        return pairs.to(self.context.runtime.device)
