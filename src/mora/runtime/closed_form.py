"""Reward heads that are solved: one pass over the features of pairs, no gradient, the trunk stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.dataset.order import batch
from mora.dataset.split import in_calibration
from mora.errors import InputError
from mora.functional.temperature import at_a_bound, fit_temperature
from mora.model.score_model import ScoreModel
from mora.reward.discriminant import Discriminant, Statistics
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.learner import Learner
from mora.runtime.pair_reader import PairReader
from mora.types import PairBatch


class Solver:
    """Solves the heads of ``model`` on pairs; a share of the prompts is held back for the temperature."""

    def __init__(self, context: Context, kind: Discriminant, model: ScoreModel, pairs: PairReader) -> None:
        self.context, self.kind, self.model = context, kind, model
        rows = pairs.rows
        held = np.fromiter((in_calibration(row.prompt, kind.calibration_share) for row in rows), bool, len(rows))
        self.held, self.kept = pairs.take(np.flatnonzero(held)), pairs.take(np.flatnonzero(~held))
        for name in context.corpus.objectives:
            if all(row.labels.get(name) is None for row in self.held.rows):
                raise InputError(f"objective {name}: no pair was kept for calibration; raise reward.calibration_share")

    def fit(
        self, learner: Callable[..., Learner], batch_size: int, standardize: Callable[[], None]
    ) -> dict[str, dict[str, Any]]:
        """Fill the head; facts per objective.

        ``learner`` makes that of so many steps, which keeps the state of the pass; ``standardize`` is called within
        the last step, whose row counts what calibration and samples cost.
        """
        context, kept = self.context, self.kept.rows
        total = max(ceil(len(kept) / batch_size), 1)
        statistics = Statistics(context.corpus.objectives, self.model.backbones.hidden, self.kind.form)
        passing = learner(total, {"statistics": statistics})
        facts = None
        for step in passing.steps():
            chosen = batch(step, len(kept), batch_size, context.seed)[: len(kept) - step * batch_size]
            statistics.include(self._summed(statistics, chosen))
            if step == total - 1:
                facts = self._solve(statistics)
                standardize()
            passing.log({"pairs": float(len(chosen))})
        passing.close()
        if facts is None:  # continued after the last step
            facts = self._solve(statistics)
            standardize()
        return facts

    def _summed(self, statistics: Statistics, chosen: NDArray[np.int64]) -> list[Tensor]:
        """The sums of a batch, over all processes."""
        context = self.context
        own = Statistics(statistics.objectives, statistics.hidden, statistics.form)
        mine = context.runtime.share(chosen)
        for made in self.kept.micro_batches(mine):
            pairs = made()
            own.add(*_sides(pairs), pairs.judgments.labels, pairs.judgments.labelled)
        return [context.runtime.sum(tensor.to(context.runtime.device)) for tensor in own.tensors()]

    def _solve(self, statistics: Statistics) -> dict[str, dict[str, Any]]:
        """Fill the head with what the statistics give, at a temperature of the pairs held back."""
        weights, biases, facts = statistics.solve()
        self.model.head.fill(weights, biases)
        temperatures, limits = self._temperatures()
        self.model.head.fill(weights / temperatures[:, None], biases / temperatures)
        for name, temperature, limit in zip(statistics.objectives, temperatures.tolist(), limits, strict=True):
            facts[name]["temperature"] = temperature
            facts[name]["warning"] = "; ".join(filter(None, (facts[name]["warning"], limit))) or None
            if facts[name]["warning"]:
                say(f"{self.context.folder.id}: objective {name}: {facts[name]['warning']}")
        return facts

    def _temperatures(self) -> tuple[Tensor, list[str | None]]:
        """The temperature (M,) of each objective on pairs that the head was not solved from, and warnings about it."""
        context, found = self.context, []
        for made in self.held.micro_batches(np.arange(len(self.held.rows))):
            pairs = made()
            with torch.no_grad():
                first, second = (self.model.head([features]).squeeze(-1) for features in _sides(pairs))
            said = pairs.judgments
            found.append(((second - first).double().cpu(), said.labels.double().cpu(), said.labelled.cpu()))
        temperatures, limits = [], []
        for number in range(len(context.corpus.objectives)):
            known = [(m[k[:, number], number], q[k[:, number], number]) for m, q, k in found]
            margins, labels = (torch.cat(columns) for columns in zip(*known, strict=True))
            temperatures.append(fit_temperature(margins, labels))
            limits.append(at_a_bound(margins, temperatures[-1]))
        return torch.tensor(temperatures, dtype=torch.float64), limits


def _sides(pairs: PairBatch) -> tuple[Tensor, Tensor]:
    """Features (B, H) of first and of second answers."""
    assert pairs.features is not None
    half = len(pairs.features) // 2
    return pairs.features[:half], pairs.features[half:]
