"""Supervised fine-tuning: maximize the likelihood of answers, prompts masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Count, Natural, NonNegative, Positive
from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.store import take
from mora.files import new_folder
from mora.model.generate import state_ends
from mora.model.policy import token_logps
from mora.runtime.context import Context, total_steps
from mora.runtime.learner import Learner, Optimizer
from mora.types import Row, Sequences


@dataclass(kw_only=True)
class SFT:
    """``algo=sft``; the fields are the keys of ``conf/algo/sft.yaml``."""

    context: Context
    steps: Count | None
    epochs: Positive | None
    batch_size: Count
    length_window: Count
    lr: NonNegative
    optimizer: Optimizer
    test_rows: Natural

    def __post_init__(self) -> None:
        bounds.check(self, "algo")

    def fit(self) -> dict[str, float]:
        """Train, write ``model/`` and return the summary."""
        context, runtime = self.context, self.context.runtime
        model, tokenizer = context.starting_model(frozen=False)
        encoder = context.encoder(tokenizer)
        if context.model.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        rows = context.admitted(context.corpus.supervised["train"], encoder)
        batches = context.batches(rows, encoder, self.batch_size, self.length_window)
        total = total_steps(steps=self.steps, epochs=self.epochs, rows=len(rows), batch_size=self.batch_size)
        groups = [{"params": list(model.parameters()), "lr": self.lr}]
        learner = Learner(context, model.train(), groups, self.optimizer, steps=total)
        for step in learner.steps():
            chosen = batches(step)
            tokens = sum(len(encoder.response_of(rows[i])) for i in chosen)
            mine = [self._collated(rows, index, encoder) for index in self._micro(rows, runtime.share(chosen), encoder)]
            for some in mine:
                context.usage.trained(some.mask)
            metrics, _ = learner.update([partial(self._update, learner.module, some, tokens) for some in mine])
            learner.log(metrics | {"tokens": tokens})
        context.model.finish(model)
        test_loss = self.test_loss(learner.module, context.corpus.supervised["test"][: self.test_rows], encoder)
        if runtime.main:
            state_ends(model, encoder.ends)
            with new_folder(context.folder.path / "model", sealed=True) as folder:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
        runtime.barrier()
        learner.close()
        return {"test/loss": test_loss}

    def loss(self, module: nn.Module, rows: Sequences, tokens: float) -> Tensor:
        """``-sum log pi(answer token) / tokens``, nats per token; ``tokens`` counts the global batch."""
        output = module(
            input_ids=rows.ids,
            attention_mask=rows.mask.long(),
            position_ids=(rows.mask.cumsum(-1) - 1).clamp_min(0),
            use_cache=False,
        )
        logps = token_logps(output.logits[:, :-1], rows.ids[:, 1:])
        return -torch.where(rows.response[:, 1:], logps, 0.0).sum() / tokens

    def _update(self, module: nn.Module, rows: Sequences, tokens: float) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(module, rows, tokens), {}

    @torch.no_grad()
    def test_loss(self, module: nn.Module, rows: Sequence[Row], encoder: Encoder) -> float:
        """Nats per answer token on rows that were never trained on; NaN when there are none."""
        if not rows:
            return float("nan")
        rows = list(rows)
        tokens = sum(len(encoder.response_of(row)) for row in rows)
        chunks = self._micro(rows, range(len(rows)), encoder)
        return sum(float(self.loss(module, self._collated(rows, index, encoder), tokens)) for index in chunks)

    def _micro(self, rows: Sequence[Row], chosen: Sequence[int] | np.ndarray, encoder: Encoder) -> list[list[int]]:
        return self.context.micro_batches(chosen, encoder.lengths(take(rows, chosen)))

    def _collated(self, rows: Sequence[Row], index: list[int], encoder: Encoder) -> Sequences:
        return collate.supervised([rows[i] for i in index], encoder).to(self.context.runtime.device)
