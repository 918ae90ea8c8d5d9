"""Policy gradient without a critic: ``algo=reinforce``, ``rloo``, ``grpo``, ``gdpo`` and kin.

Each row is sampled and updated at its own preference.  An answer has one return for all its tokens, its reward, less
the KL to the reference where that is not part of the loss.  What becomes an advantage of it is the estimator's:
nothing is subtracted (REINFORCE, Williams 1992), the mean of the other answers to the prompt (RLOO, Ahmadian et al.
2024, arXiv 2402.14740), or the mean and the deviation of all of them (GRPO, arXiv 2402.03300; of each reward before
they are weighed: GDPO, arXiv 2601.05242).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Count, Natural, NonNegative, Positive
from mora.errors import InputError
from mora.functional.advantages import Normalization, gd2po, gdpo, normalized, reinforce
from mora.functional.kl import Estimator, sequence_kl, token_kl_loss
from mora.functional.kl_control import KLControl
from mora.functional.policy import clipped_surrogate_loss
from mora.runtime.actor import save_policy, solve_multipliers, standardized_scorer, trainable
from mora.runtime.collector import RolloutCollector
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.runtime.learner import Learner, Optimizer
from mora.runtime.reward_gradients import reward_gradients
from mora.runtime.rollout import Rollout, RolloutSettings
from mora.runtime.rollout_metrics import observe_kl, update_metrics


@dataclass(kw_only=True)
class PolicyGradient:
    """The fields are keys of ``conf/algo/rloo.yaml`` and of those that derive from it."""

    context: Context
    rollout: RolloutSettings
    kl_coef: NonNegative
    kl_target: Positive | None
    kl_rate: NonNegative
    kl_degree: Count
    kl_loss: Estimator | None
    reference_prompts: Count
    reference_samples: Count
    estimator: Callable[[Tensor, Tensor, Tensor], Tensor]
    normalize_advantages: Normalization
    steps: Count
    epochs: Count
    minibatches: Count
    clip: Positive
    gradient_every: Natural
    optimizer: Optimizer

    def __post_init__(self) -> None:
        bounds.check(self, "algo")
        self.kl_control = KLControl(coef=self.kl_coef, target=self.kl_target, rate=self.kl_rate, degree=self.kl_degree)
        if self._is(reinforce):
            return
        if self.rollout.samples < 2:
            raise InputError(
                "algo.rollout.samples=1: an answer is compared with the others to its prompt; set it to 2 or more"
            )
        if self.rollout.truncated == "mask":
            raise InputError(
                "algo.rollout.truncated=mask leaves answers out, and an answer is compared with the others to its "
                "prompt, of which none may be left; use truncated=score or penalty"
            )

    def _is(self, estimator: Callable[..., Tensor]) -> bool:
        return getattr(self.estimator, "func", self.estimator) is estimator

    def fit(self) -> dict[str, float]:
        """Train, write ``policy/`` and return the summary.

        Raises InputError where the prompts of a step do not split evenly over the processes.
        """
        context, settings = self.context, self.rollout
        assert context.preference is not None
        if context.preference.unit in ("row", "sample") and not self._is(reinforce):
            say(
                f"{context.folder.id}: preference={context.preference.unit}: the answers that one is compared with "
                "were drawn at other preferences, and explain little of its return; preference=group learns more from "
                "as many answers (docs/known_answers.md)"
            )
        if self._is(gdpo) or self._is(gd2po):
            say(
                f"{context.folder.id}: every reward is divided by its deviation over the answers to a prompt, so a "
                "preference weighs standardized rewards and not rewards; the front is another than algo=rloo's"
            )
        context.runtime.share(range(settings.prompts))  # all answers to a prompt are on one process
        model, tokenizer = context.starting_policy()
        encoder = context.encoder(tokenizer)
        reference = {"prompts": self.reference_prompts, "samples": self.reference_samples}
        scorer = standardized_scorer(context, model, encoder, **reference, shift=settings.shift_rewards)
        collector = RolloutCollector(context, settings, scorer, encoder, minibatches=self.minibatches)
        solve_multipliers(context, scorer, model, encoder, **reference, kl_coef=self.kl_coef)
        policy = trainable(context, model, critic_width=None)
        learner = Learner(
            context,
            policy,
            policy.adapter.groups(),
            self.optimizer,
            steps=self.steps,
            updates=self.epochs * self.minibatches,
            stateful=collector.stateful | {"kl_control": self.kl_control},
        )
        for step in learner.steps():
            rollout = collector.collect(policy, collector.rows(step), step)
            observe_kl(context.runtime, self.kl_control, rollout)
            self.credit(rollout)
            metrics = collector.metrics(rollout)
            metrics |= reward_gradients(context, policy, rollout, scorer.objectives, step, every=self.gradient_every)
            for some in rollout.batches(self.epochs, self.minibatches, seed=context.seed, step=step):
                rows = [rollout.take(index) for index in context.micro_batches(some, rollout.lengths(some))]
                updated, sums = learner.update([partial(self.loss, learner.module, row) for row in rows])
                metrics |= updated | update_metrics(sums)
            learner.log(metrics)
        save_policy(context, policy, tokenizer, scorer)
        learner.close()
        return collector.conclude()

    def credit(self, rollout: Rollout) -> None:
        """Give every token of an answer the answer's advantage (B, T), normalized."""
        assert rollout.group is not None and self.context.scalarize is not None
        weights = self.context.scalarize.kl_weights(rollout.preference)
        rollout.kl_coef = self.kl_control(rollout.preference) * weights
        returns = rollout.streams
        if self.kl_loss is None:
            kl = sequence_kl(rollout.old_logps, rollout.ref_logps, rollout.response)
            returns = returns - (rollout.kl_coef.to(kl) * kl)[:, None]
        advantages = self.estimator(returns, rollout.weights, rollout.group)[:, None].expand_as(rollout.old_logps)
        counted = rollout.trained
        if self._is(gd2po):  # an answer that is left out has no advantage, and is no part of the statistics
            counted = counted & (advantages != 0)
        rollout.advantages = normalized(advantages, counted, self.normalize_advantages, self.context.runtime.sum)

    def loss(self, module: nn.Module, rows: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped surrogate of some rows of a rollout, whose gradient at ratio 1 is REINFORCE's.

        Beside it the loss, the clipped tokens, the summed log-ratio and the tokens.
        """
        assert rows.advantages is not None
        self.context.usage.trained(rows.mask)
        output = module(rows)
        surrogate, clipped = clipped_surrogate_loss(
            output.logps, rows.old_logps, rows.advantages, rows.trained, clip=self.clip, normalizer=rows.normalizer
        )
        loss = surrogate
        if self.kl_loss is not None:
            assert rows.kl_coef is not None
            loss = surrogate + token_kl_loss(
                output.logps,
                rows.ref_logps,
                rows.trained,
                estimator=self.kl_loss,
                kl_coef=rows.kl_coef,
                normalizer=rows.normalizer,
            )
        tokens = rows.trained.sum().float()
        drift = torch.where(rows.trained, rows.old_logps - output.logps.detach(), 0.0).sum()
        return loss, {
            "policy": surrogate,
            "clipped": clipped.float(),
            "drift": drift,
            "tokens": tokens,
        }
