"""Proximal policy optimization with a critic; on a steered policy it is Panacea (``algo=panacea``).

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

from mora import bounds
from mora.bounds import Count, Natural, NonNegative, Positive
from mora.functional.advantages import Normalization, normalized, token_rewards
from mora.functional.kl_control import KLControl
from mora.functional.policy import clipped_surrogate_loss, clipped_value_loss
from mora.model.policy import Policy
from mora.runtime.actor import save_policy, solve_multipliers, standardized_scorer, trainable
from mora.runtime.collector import RolloutCollector
from mora.runtime.context import Context
from mora.runtime.learner import Learner, Optimizer
from mora.runtime.ptx import Pretraining
from mora.runtime.reward_gradients import reward_gradients
from mora.runtime.rollout import Rollout, RolloutSettings
from mora.runtime.rollout_metrics import explained_variance, observe_kl, update_metrics


@dataclass(kw_only=True)
class PPO:
    """The fields are keys of ``conf/algo/ppo.yaml``."""

    context: Context
    rollout: RolloutSettings
    kl_coef: NonNegative
    kl_target: Positive | None
    kl_rate: NonNegative
    kl_degree: Count
    reference_prompts: Count
    reference_samples: Count
    advantage: Callable[..., tuple[Tensor, Tensor]]
    normalize_advantages: Normalization
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
    gradient_every: Natural
    optimizer: Optimizer

    def __post_init__(self) -> None:
        bounds.check(self, "algo")
        self.kl_control = KLControl(coef=self.kl_coef, target=self.kl_target, rate=self.kl_rate, degree=self.kl_degree)

    def fit(self) -> dict[str, float]:
        """Train, write ``policy/`` and return the summary."""
        context, settings = self.context, self.rollout
        model, tokenizer = context.starting_policy()
        encoder = context.encoder(tokenizer)
        reference = {"prompts": self.reference_prompts, "samples": self.reference_samples}
        scorer = standardized_scorer(context, model, encoder, **reference, shift=settings.shift_rewards)
        collector = RolloutCollector(context, settings, scorer, encoder, minibatches=self.minibatches)
        solve_multipliers(context, scorer, model, encoder, **reference, kl_coef=self.kl_coef)
        policy = trainable(context, model, critic_width=self.critic_width)
        ptx = Pretraining(context, encoder, coef=self.ptx_coef, batch_size=self.ptx_batch_size)
        per_step = self.epochs * self.minibatches
        learner = Learner(
            context,
            policy,
            self.groups(policy),
            self.optimizer,
            steps=self.steps,
            updates=per_step,
            stateful=collector.stateful | {"kl_control": self.kl_control},
        )
        for step in learner.steps():
            rollout = collector.collect(policy, collector.rows(step), step)
            observe_kl(context.runtime, self.kl_control, rollout)
            self.credit(rollout)
            metrics = collector.metrics(rollout) | self._critic_metrics(rollout)
            metrics |= reward_gradients(context, policy, rollout, scorer.objectives, step, every=self.gradient_every)
            for number, some in enumerate(rollout.batches(self.epochs, self.minibatches, seed=context.seed, step=step)):
                losses = ptx.losses(learner.module, step * per_step + number)
                for index in context.micro_batches(some, rollout.lengths(some)):
                    losses.append(partial(self.loss, learner.module, rollout.take(index)))
                updated, sums = learner.update(losses)
                metrics |= updated | update_metrics(sums)
            learner.log(metrics)
        save_policy(context, policy, tokenizer, scorer)
        learner.close()
        return collector.conclude()

    def credit(self, rollout: Rollout) -> None:
        """Give a rollout its advantages (B, T), scalarized and normalized, and the critic's returns (B, T, C)."""
        assert self.context.scalarize is not None
        weights = self.context.scalarize.kl_weights(rollout.preference)
        rollout.kl_coef = self.kl_control(rollout.preference) * weights
        rewards = token_rewards(
            rollout.streams, rollout.old_logps, rollout.ref_logps, rollout.response, kl_coef=rollout.kl_coef
        )
        advantages, rollout.returns = self.advantage(rewards, rollout.values, rollout.response)
        scalarized = (advantages * rollout.weights[:, None, :]).sum(-1)
        rollout.advantages = normalized(
            scalarized, rollout.trained, self.normalize_advantages, self.context.runtime.sum
        )

    def loss(self, module: nn.Module, rows: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped surrogate plus clipped value loss of some rows of a rollout, each row at its own preference.

        Beside it the two losses, the clipped tokens, the summed log-ratio and the tokens.
        """
        assert rows.advantages is not None
        self.context.usage.trained(rows.mask)
        output = module(rows)
        surrogate, clipped = clipped_surrogate_loss(
            output.logps, rows.old_logps, rows.advantages, rows.trained, clip=self.clip, normalizer=rows.normalizer
        )
        assert rows.values is not None and rows.returns is not None
        value_loss = clipped_value_loss(
            output.values, rows.values, rows.returns, rows.trained, clip=self.value_clip, normalizer=rows.normalizer
        )
        tokens = rows.trained.sum().float()
        drift = torch.where(rows.trained, rows.old_logps - output.logps.detach(), 0.0).sum()
        sums = {
            "policy": surrogate,
            "value": value_loss,
            "clipped": clipped.float(),
            "drift": drift,
            "tokens": tokens,
        }
        return surrogate + self.value_coef * value_loss, sums

    def groups(self, policy: Policy) -> list[dict[str, Any]]:
        """Parameter groups: the adapter's factors decay, its singular values and the critic never."""
        assert policy.critic is not None
        return [
            *policy.adapter.groups(),
            {"params": list(policy.critic.parameters()), "lr": self.critic_lr, "weight_decay": 0.0},
        ]

    def _critic_metrics(self, rollout: Rollout) -> dict[str, float]:
        assert rollout.values is not None and rollout.returns is not None
        explained = explained_variance(self.context.runtime, rollout.values, rollout.returns, rollout.trained)
        return {"value/explained_variance": explained}
