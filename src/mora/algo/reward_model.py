"""Reward modeling from pairs: heads for all objectives on one trunk, on adapters of it, or on models of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Count, Natural, NonNegative, Positive
from mora.dataset import collate
from mora.functional.conflict import cosines
from mora.functional.masking import divergent_span, last_true
from mora.functional.risk import mean
from mora.model.backbones import Layout, Sharing
from mora.model.lora import LoRASettings
from mora.model.score_model import ScoreModel
from mora.reward import HeadKind, TrainedKind
from mora.reward.discriminant import Discriminant
from mora.reward.hub import Hub
from mora.reward.scorer import ModelScorer
from mora.runtime.closed_form import Solver
from mora.runtime.context import Context, check_length, total_steps
from mora.runtime.conversion import compared_heads
from mora.runtime.learner import Learner, Optimizer
from mora.runtime.measuring import measure
from mora.runtime.padding import by_length
from mora.runtime.pair_reader import PairReader
from mora.runtime.quality_log import Watched
from mora.runtime.reward_start import Trunk, layout_of, new_score_model, standardize_trained, trunk_encoder
from mora.runtime.teaching import rows_that_teach
from mora.types import PairBatch, Row

GRADIENTS_AT_ONCE = 2**30  # numbers of gradients of all objectives that are held to compare them, 4 GiB
SEQUENCES_AT_ONCE = 8  # that are alike in length and padded to one, where batches are grouped by length


@dataclass(kw_only=True)
class RewardModel:
    """``algo=reward_model``; the fields are the keys of ``conf/algo/reward_model.yaml``."""

    context: Context
    trunk: Trunk
    sharing: Sharing
    freeze_trunk: bool
    lora: LoRASettings
    token_wise: bool
    steps: Count | None
    epochs: Positive | None
    batch_size: Count
    length_window: Count
    lr: NonNegative
    lora_lr: NonNegative
    head_lr: NonNegative
    optimizer: Optimizer
    cosine_every: Natural
    quality_every: Natural
    quality_pairs: Count
    reference_prompts: Natural
    reference_samples: Count

    def __post_init__(self) -> None:
        check_length(self.steps, self.epochs)
        bounds.check(self, "algo")

    def fit(self) -> dict[str, Any]:
        """Train, standardize on samples of the reference policy, write ``reward/`` and return the summary."""
        context = self.context
        if isinstance(context.reward, Hub):
            return measure(context, context.reward, prompts=self.reference_prompts, samples=self.reference_samples)
        tokenizer = context.starting_tokenizer()
        if self.reference_prompts:
            context.starting_weights(tokenizer, frozen=True)  # tried, let go: it draws the reference answers in the end
        encoder = trunk_encoder(context, tokenizer)
        frozen = self.freeze_trunk or isinstance(context.reward, Discriminant)
        model = new_score_model(context, encoder, trunk=self.trunk, layout=self._layout, frozen=frozen)
        scorer = ModelScorer(model, encoder, self._kind)
        rows = rows_that_teach(context, encoder, token_wise=self.token_wise)
        reader = PairReader.of(context, rows, scorer, frozen=frozen)
        units = {"prompts": self.reference_prompts, "samples": self.reference_samples}
        standardized = partial(standardize_trained, context, scorer, tokenizer, **units)
        facts: dict[str, Any] = {}
        if isinstance(context.reward, TrainedKind):
            self._train(scorer, reader, standardized)
        else:
            assert isinstance(context.reward, Discriminant)
            solver = Solver(context, context.reward, model, reader)
            facts["discriminant"] = solver.fit(partial(self._learner, model, []), self.batch_size, standardized)
            if context.trunk_folder is not None:
                facts["conversion"] = compared_heads(context, context.trunk_folder, scorer)
        if context.runtime.main:
            scorer.save(context.folder.path / "reward", frozen_trunk=frozen, **facts)
        context.runtime.barrier()
        return facts

    def _train(self, scorer: ModelScorer, reader: PairReader, standardized: Callable[[], None]) -> None:
        """Train backbones and head by the loss of the kind."""
        context, model, rows = self.context, scorer.model, reader.rows
        total = total_steps(steps=self.steps, epochs=self.epochs, rows=len(rows), batch_size=self.batch_size)
        lr = self.lora_lr if model.layout.adapted else self.lr
        trained = [] if self.freeze_trunk else [{"params": model.backbones.trained(), "lr": lr}]
        learner = self._learner(model.train(), trained, total)
        batches = context.batches(rows, reader.encoder, self.batch_size, self.length_window)
        watched = Watched(context, scorer, every=self.quality_every, pairs=self.quality_pairs, done=learner.done)
        continued = learner.done == total  # after the last step
        for step in learner.steps():
            chosen = batches(step)
            counts = self._counts([rows[i] for i in chosen])
            pairs = reader.micro_batches(context.runtime.share(chosen))
            metrics: dict[str, Any] = self._cosines(model, step, pairs, counts)
            updated, sums = learner.update([partial(self.loss, learner.module, made(), counts) for made in pairs])
            metrics |= updated | self._means(sums, counts)
            watched.measure(step + 1)
            if step == total - 1:  # within the last step, whose row counts the samples
                standardized()
            learner.log(metrics)
        learner.close()
        if continued:
            standardized()

    def _learner(
        self, model: ScoreModel, groups: list[dict[str, Any]], total: int, stateful: Mapping[str, Any] | None = None
    ) -> Learner:
        groups = [*groups, {"params": list(model.head.parameters()), "lr": self.head_lr, "weight_decay": 0.0}]
        return Learner(self.context, model, groups, self.optimizer, steps=total, stateful=stateful)

    def loss(self, module: nn.Module, pairs: PairBatch, counts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over objectives of the mean loss of the pairs that teach them; ``counts`` (M,) are of the global batch.

        Beside it each objective's summed loss and right predictions (M,).
        """
        losses, raw = self._losses(module, pairs)
        half, said = len(raw) // 2, pairs.judgments
        with torch.no_grad():
            means = mean(self._kind.belief(raw))
            margin = (means[half:] - means[:half]) * (2 * said.labels - 1)
            right = ((margin > 0).float() + 0.5 * (margin == 0).float()) * said.labelled
        sums = {"loss": losses.sum(0), "accuracy": right.sum(0)}
        return (sums["loss"] / counts[0].clamp_min(1)).sum(), sums

    def _losses(self, module: nn.Module, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """Losses (B, M) of pairs, and raw outputs (2B, M, W) at the ends of their answers."""
        reward, half = self.context.reward, len(pairs.ids) // 2
        assert isinstance(reward, TrainedKind)
        if pairs.features is None:
            trunks, adapters = self._layout.counts(len(self.context.corpus.objectives), reward.shape.members)
            self.context.usage.trained(pairs.mask, passes=trunks * adapters)
        if not self.token_wise:
            at_once = SEQUENCES_AT_ONCE if self.length_window > 1 else 2 * half
            raw = by_length(module, pairs.ids, pairs.mask, at_once, features=pairs.features)
            return reward.loss(raw[:half], raw[half:], pairs.judgments), raw
        every = module(pairs.ids, pairs.mask, every_token=True)
        span = divergent_span(pairs.ids[:half], pairs.ids[half:], pairs.mask[:half], pairs.mask[half:])
        rows, places = span.nonzero(as_tuple=True)
        token_losses = reward.loss(every[rows, places], every[half + rows, places], pairs.judgments.take(rows))
        sums = token_losses.new_zeros(half, token_losses.shape[1]).index_add(0, rows, token_losses)
        last = every[torch.arange(2 * half, device=every.device), last_true(pairs.mask)]
        return sums / span.sum(1, keepdim=True), last

    def _cosines(
        self, model: ScoreModel, step: int, batches: Sequence[Callable[[], PairBatch]], counts: Tensor
    ) -> dict[str, dict[str, float]]:
        """Cosine between the gradients of every two objectives on the trunk that they share, now and then."""
        names = self.context.corpus.objectives
        apart = len(names) < 2 or self.sharing != "trunk" or self.freeze_trunk
        if not self.cosine_every or step % self.cosine_every or apart:
            return {}

        def means(pairs: Callable[[], PairBatch]) -> list[Tensor]:
            losses, _ = self._losses(model, pairs())
            return list((losses.sum(0) / counts[0].clamp_min(1)).unbind())

        losses, trained = [partial(means, pairs) for pairs in batches], model.backbones.trained()
        found = cosines(losses, trained, self.context.runtime.sum, count=len(names), at_once=GRADIENTS_AT_ONCE)
        pairs = combinations(enumerate(names), 2)
        return {"gradient_cosine": {f"{a}.{b}": found[i][j] for (i, a), (j, b) in pairs}}

    @property
    def _kind(self) -> HeadKind:
        assert isinstance(self.context.reward, HeadKind)
        return self.context.reward

    @property
    def _layout(self) -> Layout:
        return layout_of(self._kind, self.sharing, self.lora)

    def _counts(self, rows: Sequence[Row]) -> Tensor:
        """Pairs that teach each objective, and those with a label on it: (2, M)."""
        said = collate.judgments(rows, self.context.corpus.objectives)
        counts = torch.stack([self._kind.covered(said).sum(0), said.labelled.sum(0)])
        return counts.to(self.context.runtime.device).float()

    def _means(self, sums: Mapping[str, Tensor], counts: Tensor) -> dict[str, float]:
        names, over = self.context.corpus.objectives, dict(zip(("loss", "accuracy"), counts.clamp_min(1), strict=True))
        means = {key: (sums[key] / count).tolist() for key, count in over.items()}
        return {f"{key}/{name}": one[m] for key, one in means.items() for m, name in enumerate(names)}
