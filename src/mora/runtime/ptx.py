"""The PTX term: likelihood of supervised answers beside a policy-gradient loss (Ouyang et al. 2022, eq. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.order import batch
from mora.dataset.store import take
from mora.errors import InputError
from mora.runtime.context import Context
from mora.runtime.learner import Loss
from mora.types import Row


class Pretraining:
    """Losses ``-coef * mean log pi(answer token)`` at preferences drawn like those of the rollout."""

    def __init__(self, context: Context, encoder: Encoder, *, coef: float, batch_size: int) -> None:
        self.context, self.encoder, self.coef, self.batch_size = context, encoder, coef, batch_size
        self.rows = context.admitted(context.corpus.supervised["train"], encoder) if coef > 0 else []
        if coef > 0 and not self.rows:
            raise InputError("algo.ptx_coef is positive but the dataset has no supervised rows; set algo.ptx_coef=0")

    def losses(self, module: nn.Module, update: int) -> list[Loss]:
        """The micro-batches of one update, this rank's share; none when the coefficient is 0."""
        if self.coef == 0:
            return []
        chosen = batch(update, len(self.rows), self.batch_size, self.context.seed)
        tokens = sum(len(self.encoder.response_of(self.rows[i])) for i in chosen)
        mine = self.context.runtime.share(chosen)
        return [
            partial(self.loss, module, [self.rows[i] for i in index], tokens, update)
            for index in self.context.micro_batches(mine, self.encoder.lengths(take(self.rows, mine)))
        ]

    def loss(
        self, module: nn.Module, rows: Sequence[Row], tokens: float, update: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``-coef * sum log pi(answer token) / tokens``, and no sums; ``tokens`` counts the global batch."""
        device, encoder = self.context.runtime.device, self.encoder
        prompts = collate.prompts(rows, encoder).to(device)
        answers = [torch.tensor(encoder.response_of(row), dtype=torch.int64) for row in rows]
        tokens_ = pad_sequence(answers, batch_first=True, padding_value=encoder.pad).to(device)
        lengths = torch.tensor([len(a) for a in answers], device=device)
        response = torch.arange(tokens_.shape[1], device=device) < lengths[:, None]
        assert self.context.preference is not None
        keys = torch.tensor([row.id for row in rows], dtype=torch.int64)
        preference = self.context.preference(
            keys, keys, keys, len(self.context.corpus.objectives), seed=self.context.seed, step=update
        ).to(device)
        sequences = collate.sequences(prompts, tokens_, response, preference)
        self.context.usage.trained(sequences.mask)
        output = module(sequences, with_values=False)
        return -self.coef * torch.where(response, output.logps, 0.0).sum() / tokens, {}
