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
from mora.model.score_model import ScoreModel
from mora.runtime.context import Context
from mora.runtime.feature_files import FeatureFiles
from mora.types import PairBatch, Row


@dataclass(frozen=True, kw_only=True)
class PairReader:
    """Batches of ``rows`` as ``encoder`` reads them.

    Where the trunk stays as it is: ``features`` (2, N, H) of their first and second sides, and the ``files`` of others.
    """

    context: Context
    encoder: Encoder
    rows: Sequence[Row]
    features: Tensor | None = None
    files: FeatureFiles | None = None

    @classmethod
    def frozen(cls, context: Context, encoder: Encoder, rows: Sequence[Row], model: ScoreModel) -> PairReader:
        """The same with the features of the trunk of ``model``: found in files, or computed once."""
        context.runtime.at("the features of the frozen trunk", long=True)
        sides = [
            [np.concatenate([encoder.prompt_of(row), encoder.response_of(row, side)]) for row in rows] for side in (0, 1)
        ]
        files = FeatureFiles(context.feature_files, model, encoder.pad, context.runtime)
        features = files.of([*sides[0], *sides[1]], "training answers").unflatten(0, (2, len(rows)))
        context.usage.read(files.read)
        return cls(context=context, encoder=encoder, rows=rows, features=features, files=files)

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
