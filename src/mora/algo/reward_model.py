"""Reward modeling from pairs: one trunk, a head per objective, trained on all objectives together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.order import batch
from mora.dataset.split import in_calibration
from mora.errors import InputError
from mora.functional.risk import mean
from mora.functional.temperature import at_a_bound, fit_temperature
from mora.model.load import load_backbone
from mora.model.score_model import ScoreModel
from mora.reward.discriminant import Discriminant, Statistics
from mora.reward.hub import Hub
from mora.reward.panel import ModelPanel
from mora.runtime.actor import standardize
from mora.runtime.console import say
from mora.runtime.engine import Engine
from mora.runtime.measuring import measure
from mora.runtime.parts import Parts, total_steps
from mora.runtime.schedule import Schedule
from mora.types import Preference, Row


@dataclass(kw_only=True)
class RewardModel:
    """``algo=reward_model``; the fields are the keys of ``conf/algo/reward_model.yaml``."""

    uses: ClassVar[tuple[str, ...]] = ("model", "dataset", "objectives", "reward")
    needs: ClassVar[tuple[str, ...]] = ("policy",)

    parts: Parts
    trunk: Literal["policy", "base"]
    steps: int | None
    epochs: float | None
    batch_size: int
    lr: float
    head_lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    schedule: Schedule
    warmup: int
    max_grad_norm: float
    reference_prompts: int
    reference_samples: int

    def fit(self) -> dict[str, Any]:
        """Train, standardize on samples of the reference policy, write ``reward/`` and return the summary."""
        parts = self.parts
        if isinstance(parts.reward, Hub):
            return measure(parts, parts.reward, prompts=self.reference_prompts, samples=self.reference_samples)
        policy, tokenizer = parts.starting_model(frozen=False)
        encoder = parts.encoder(tokenizer)
        model = self._score_model(encoder)
        rows = encoder.admit(parts.corpus.pairs["train"])
        labelled = [row for row in rows if any(label is not None for label in row.labels.values())]
        if not labelled:
            raise InputError(
                f"dataset {parts.corpus.name}: no pair has a label on {', '.join(parts.corpus.objectives)}"
            )
        standardized = partial(self._standardized, model, policy, encoder)
        facts: dict[str, Any] = {}
        if isinstance(parts.reward, Discriminant):
            panel, facts = self._solve(parts.reward, model, encoder, labelled, standardized)
        else:
            panel = self._descend(model, encoder, labelled, standardized)
        if parts.runtime.main:
            panel.save(parts.folder.path / "reward", **facts)
        parts.runtime.barrier()
        return facts

    def _descend(
        self, model: ScoreModel, encoder: Encoder, rows: list[Row], standardized: Callable[[], ModelPanel]
    ) -> ModelPanel:
        """Train trunk and head by the loss of the kind."""
        parts, runtime = self.parts, self.parts.runtime
        total = total_steps(steps=self.steps, epochs=self.epochs, rows=len(rows), batch_size=self.batch_size)
        trunk = {"params": list(model.backbone.parameters()), "lr": self.lr, "weight_decay": self.weight_decay}
        engine = self._engine(model.train(), [trunk], total)
        loop = parts.loop(engine, total)
        panel = None
        for step in loop.steps():
            chosen = batch(step, len(rows), self.batch_size, parts.seed)
            counts = self._counts([rows[i] for i in chosen])
            tally = torch.zeros(2, len(parts.corpus.objectives), device=runtime.device)
            closures = [
                partial(self.loss, engine.module, self._collated(rows, index, encoder), counts, tally)
                for index in parts.micro_batches(runtime.share(chosen))
            ]
            metrics = engine.descend(closures) | self._metrics(runtime.sum(tally), counts)
            if step == total - 1:  # within the last step, whose row counts the samples
                panel = standardized()
            loop.log(metrics | parts.spent.take(runtime))
        engine.close()
        return standardized() if panel is None else panel  # none: continued after the last step

    def _solve(
        self,
        kind: Discriminant,
        model: ScoreModel,
        encoder: Encoder,
        rows: list[Row],
        standardized: Callable[[], ModelPanel],
    ) -> tuple[ModelPanel, dict[str, Any]]:
        """Solve the head from one pass over the pairs; the trunk stays as it is."""
        parts, runtime = self.parts, self.parts.runtime
        model.eval().backbone.requires_grad_(False)
        held = [row for row in rows if in_calibration(row.prompt, kind.calibration_share)]
        kept = [row for row in rows if not in_calibration(row.prompt, kind.calibration_share)]
        self._check_calibration(held)
        total = max(ceil(len(kept) / self.batch_size), 1)
        statistics = Statistics(parts.corpus.objectives, model.head.linear.in_features, kind.form)
        engine = self._engine(model, [], total)
        loop = parts.loop(engine, total, {"statistics": statistics})
        solved = None
        for step in loop.steps():
            chosen = batch(step, len(kept), self.batch_size, parts.seed)[: len(kept) - step * self.batch_size]
            mine = Statistics(statistics.objectives, statistics.hidden, kind.form)
            for index in parts.micro_batches(runtime.share(chosen)):
                pairs = self._collated(kept, index, encoder)
                parts.spent.read(len(pairs.ids))
                first, second = self._features(model, pairs)
                mine.add(first, second, pairs.labels, pairs.labelled)
            statistics.include([runtime.sum(tensor.to(runtime.device)) for tensor in mine.tensors()])
            if step == total - 1:  # within the last step, whose row counts what calibration and samples cost
                solved = self._head(statistics, model, encoder, held), standardized()
            loop.log({"pairs": float(len(chosen))} | parts.spent.take(runtime))
        engine.close()
        facts, panel = solved or (self._head(statistics, model, encoder, held), standardized())
        return panel, {"discriminant": facts}

    def _head(
        self, statistics: Statistics, model: ScoreModel, encoder: Encoder, held: list[Row]
    ) -> dict[str, dict[str, Any]]:
        """Fill the head with what the statistics give, at a temperature of pairs ``held`` back; facts per objective."""
        weights, biases, facts = statistics.solve()
        model.head.fill(weights, biases)
        temperatures, limits = self._temperatures(model, encoder, held)
        model.head.fill(weights / temperatures[:, None], biases / temperatures)
        for name, temperature, limit in zip(statistics.objectives, temperatures.tolist(), limits, strict=True):
            facts[name]["temperature"] = temperature
            facts[name]["warning"] = "; ".join(filter(None, (facts[name]["warning"], limit))) or None
            if facts[name]["warning"]:
                say(f"{self.parts.folder.id}: objective {name}: {facts[name]['warning']}")
        return facts

    def _check_calibration(self, rows: Sequence[Row]) -> None:
        for name in self.parts.corpus.objectives:
            if all(row.labels.get(name) is None for row in rows):
                raise InputError(f"objective {name}: no pair was kept for calibration; raise reward.calibration_share")

    @torch.no_grad()
    def _features(self, model: ScoreModel, pairs: Preference) -> tuple[Tensor, Tensor]:
        """Features (B, H) of first and of second answers."""
        with self.parts.runtime.autocast():
            features = model.features(pairs.ids, pairs.mask)
        half = len(features) // 2
        return features[:half], features[half:]

    def _temperatures(self, model: ScoreModel, encoder: Encoder, rows: list[Row]) -> tuple[Tensor, list[str | None]]:
        """The temperature (M,) of each objective on pairs that the head was not solved from, and warnings about it."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for index in self.parts.micro_batches(range(len(rows))):
            pairs = self._collated(rows, index, encoder)
            if self.parts.runtime.main:  # every process reads the same pairs: they count once
                self.parts.spent.read(len(pairs.ids))
            with torch.no_grad():
                first, second = (model.head(features).squeeze(-1) for features in self._features(model, pairs))
            found.append(((second - first).double().cpu(), pairs.labels.double().cpu(), pairs.labelled.cpu()))
        temperatures, limits = [], []
        for number in range(len(self.parts.corpus.objectives)):
            known = [(m[k[:, number], number], q[k[:, number], number]) for m, q, k in found]
            margins, labels = (torch.cat(parts) for parts in zip(*known, strict=True))
            temperatures.append(fit_temperature(margins, labels))
            limits.append(at_a_bound(margins, temperatures[-1]))
        return torch.tensor(temperatures, dtype=torch.float64), limits

    def _engine(self, model: ScoreModel, groups: list[dict[str, Any]], total: int) -> Engine:
        return Engine(
            self.parts.runtime,
            model,
            [*groups, {"params": list(model.head.parameters()), "lr": self.head_lr, "weight_decay": 0.0}],
            betas=self.betas,
            eps=self.eps,
            schedule=self.schedule,
            warmup=self.warmup,
            steps=total,
            max_grad_norm=self.max_grad_norm,
        )

    def loss(self, module: nn.Module, pairs: Preference, counts: Tensor, tally: Tensor) -> Tensor:
        """Sum over objectives of the mean loss of their labelled pairs; ``counts`` (M,) are those of the global batch.

        Adds each objective's summed loss and right predictions to ``tally`` (2, M).
        """
        reward = self.parts.reward
        assert reward is not None
        self.parts.spent.trained(pairs.mask)
        raw = module(pairs.ids, pairs.mask)
        half = pairs.labels.shape[0]
        losses = reward.loss(raw[:half], raw[half:], pairs.labels, pairs.labelled)
        with torch.no_grad():
            means = mean(reward.belief(raw))
            margin = (means[half:] - means[:half]) * (2 * pairs.labels - 1)
            right = ((margin > 0).float() + 0.5 * (margin == 0).float()) * pairs.labelled
            tally += torch.stack([losses.sum(0), right.sum(0)])
        return (losses.sum(0) / counts.clamp_min(1)).sum()

    def _score_model(self, encoder: Encoder) -> ScoreModel:
        parts, reward = self.parts, self.parts.reward
        assert reward is not None
        source = parts.policy if self.trunk == "policy" and parts.policy else parts.model.path
        # without a source the base is made once more: the policy's own weights stay the reference
        built = None if source else parts.model.build(encoder.tokenizer, seed=parts.seed)
        backbone: Any = load_backbone(source, replace(parts.model, quantization=None)) if source else built.base_model  # type: ignore[union-attr]
        return ScoreModel.new(
            backbone,
            encoder.tokenizer,
            reward,
            objectives=parts.corpus.objectives,
            seed=parts.seed,
        ).to(parts.runtime.device)

    def _standardized(self, model: ScoreModel, policy: PreTrainedModel, encoder: Encoder) -> ModelPanel:
        parts = self.parts
        assert parts.reward is not None
        panel = ModelPanel(model.eval(), encoder, parts.reward)
        prompts, samples = self.reference_prompts, self.reference_samples
        standardize(parts, panel, policy.eval(), encoder, prompts=prompts, samples=samples)
        return panel

    def _counts(self, rows: Sequence[Row]) -> Tensor:
        labels = [[row.labels.get(o) is not None for o in self.parts.corpus.objectives] for row in rows]
        return torch.tensor(labels, device=self.parts.runtime.device).sum(0).float()

    def _metrics(self, tally: Tensor, counts: Tensor) -> dict[str, float]:
        means = (tally / counts.clamp_min(1)).tolist()
        names = self.parts.corpus.objectives
        return {f"loss/{n}": v for n, v in zip(names, means[0], strict=True)} | {
            f"accuracy/{n}": v for n, v in zip(names, means[1], strict=True)
        }

    def _collated(self, rows: list[Row], index: list[int], encoder: Encoder) -> Preference:
        chosen = [rows[i] for i in index]
        return collate.preference(chosen, encoder, self.parts.corpus.objectives).to(self.parts.runtime.device)
