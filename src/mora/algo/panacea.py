"""Panacea on PPO: one policy for the whole preference simplex.

Each row is sampled, scored, valued and updated at its own preference, which is stored with the rollout.  Rewards of the
objectives keep their own streams through the critic; advantages are scalarized by the preference, then clipped once.
Panacea: Zhong et al. 2024 (arXiv 2402.02030); PPO: Schulman et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora import bounds
from mora.bounds import Betas, Count, NonNegative, Part, Positive
from mora.dataset.encode import Encoder
from mora.dataset.order import batch
from mora.functional.policy import clipped_surrogate_loss, clipped_value_loss
from mora.model.policy import Policy
from mora.reward.panel import Panel
from mora.runtime.actor import conditioned_policy, save_policy, standardized_panel
from mora.runtime.engine import Engine
from mora.runtime.experience import Experience, Roller, RolloutSettings
from mora.runtime.parts import Parts
from mora.runtime.ptx import Pretraining
from mora.runtime.schedule import Schedule


@dataclass(kw_only=True)
class Panacea:
    """``algo=panacea``; the fields are the keys of ``conf/algo/panacea.yaml``."""

    parts: Parts
    adapter: dict[str, Any]
    rollout: RolloutSettings
    kl_coef: NonNegative
    reference_prompts: Count
    reference_samples: Count
    advantage: Callable[..., tuple[Tensor, Tensor]]
    steps: Count
    epochs: Count
    minibatches: Count
    clip: Positive
    value_clip: Positive
    value_coef: NonNegative
    ptx_coef: NonNegative
    ptx_batch_size: Count
    critic_width: Count
    critic_lr: NonNegative
    lr: NonNegative
    singular_lr: NonNegative
    weight_decay: NonNegative
    betas: Betas
    eps: NonNegative
    schedule: Schedule
    warmup: Part
    max_grad_norm: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "algo")

    def fit(self) -> dict[str, float]:
        """Train, write ``policy/`` and return the summary."""
        parts, runtime = self.parts, self.parts.runtime
        model, tokenizer = parts.starting_model(frozen=True)
        encoder = parts.encoder(tokenizer)
        panel = self._panel(model, encoder)
        policy = self._policy(model)
        engine = self._engine(policy)
        roller = self._roller(panel, encoder)
        ptx = Pretraining(parts, encoder, coef=self.ptx_coef, batch_size=self.ptx_batch_size)
        rows = parts.corpus.prompts["train"]
        loop = parts.loop(engine, self.steps, roller.stateful)
        for step in loop.steps():
            chosen = batch(step, len(rows), self.rollout.prompts, parts.seed)
            experience = roller.roll_out(policy, [rows[i] for i in chosen], step)
            metrics = roller.metrics(experience)
            for epoch in range(self.epochs):
                for number, mine in enumerate(
                    experience.minibatches(self.minibatches, seed=parts.seed, step=step, epoch=epoch)
                ):
                    tally = torch.zeros(4, device=runtime.device)
                    closures = ptx.closures(
                        engine.module, step * self.epochs * self.minibatches + epoch * self.minibatches + number
                    )
                    closures += [
                        partial(self.loss, engine.module, experience.take(index), tally)
                        for index in parts.micro_batches(mine)
                    ]
                    metrics |= engine.descend(closures) | self._update_metrics(runtime.sum(tally), experience)
            loop.log(metrics | parts.spent.take(runtime))
        save_policy(parts, policy, tokenizer, panel)
        engine.close()
        return {}

    def loss(self, module: nn.Module, rows: Experience, tally: Tensor) -> Tensor:
        """Clipped surrogate plus clipped value loss of some rows of a rollout, each row at its own preference.

        Adds the surrogate, the value loss, the clipped tokens and the summed log-ratio to ``tally`` (4,).
        """
        self.parts.spent.trained(rows.mask)
        output = module(rows.ids, rows.mask, rows.preference, response=rows.response.shape[1])
        surrogate, clipped = clipped_surrogate_loss(
            output.logps, rows.old_logps, rows.advantages, rows.trained, clip=self.clip, normalizer=rows.normalizer
        )
        value_loss = clipped_value_loss(
            output.values, rows.values, rows.returns, rows.trained, clip=self.value_clip, normalizer=rows.normalizer
        )
        with torch.no_grad():
            drift = torch.where(rows.trained, rows.old_logps - output.logps, 0.0).sum()
            tally += torch.stack([surrogate, value_loss, clipped.float(), drift])
        return surrogate + self.value_coef * value_loss

    def _panel(self, model: PreTrainedModel, encoder: Encoder) -> Panel:
        prompts, samples = self.reference_prompts, self.reference_samples
        panel = standardized_panel(self.parts, model, encoder, prompts=prompts, samples=samples)
        if not self.rollout.shift_rewards:
            assert panel.standardization is not None
            panel.standardization = panel.standardization.scale_only()
        return panel

    def _policy(self, model: PreTrainedModel) -> Policy:
        return conditioned_policy(self.parts, model, self.adapter, critic_width=self.critic_width)

    def _roller(self, panel: Panel, encoder: Encoder) -> Roller:
        return Roller(
            self.parts,
            self.rollout,
            panel,
            encoder,
            kl_coef=self.kl_coef,
            advantage=self.advantage,
            minibatches=self.minibatches,
        )

    def _engine(self, policy: Policy) -> Engine:
        assert policy.critic is not None
        groups = [
            {"params": policy.adapter.factors(), "lr": self.lr, "weight_decay": self.weight_decay},
            {"params": policy.adapter.singular_values(), "lr": self.singular_lr, "weight_decay": 0.0},
            {"params": list(policy.critic.parameters()), "lr": self.critic_lr, "weight_decay": 0.0},
        ]
        return Engine(
            self.parts.runtime,
            policy,
            groups,
            betas=self.betas,
            eps=self.eps,
            schedule=self.schedule,
            warmup=self.warmup,
            steps=self.steps * self.epochs * self.minibatches,
            max_grad_norm=self.max_grad_norm,
        )

    def _update_metrics(self, tally: Tensor, experience: Experience) -> dict[str, float]:
        surrogate, value, clipped, drift = tally.tolist()
        tokens = max(experience.global_tokens, 1.0) / self.minibatches
        return {
            "loss/policy": surrogate,
            "loss/value": value,
            "policy/clipped": clipped / tokens,
            "policy/approx_kl": drift / tokens,
        }
