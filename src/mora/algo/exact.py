"""Exact gradient ascent: the utility of all responses, enumerated and differentiated.  No sampling, no estimate.

It asks what the parameters of a policy can reach at all: the class limit that a sampled algorithm's regret is held
against.  Only for a world whose responses can be enumerated, such as ``dataset=oracle``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Count, NonNegative
from mora.functional.expectation import exact_kl, exact_utility, expected_rewards
from mora.runtime.actor import save_policy, standardized_scorer, trainable
from mora.runtime.context import Context
from mora.runtime.enumeration import Enumeration
from mora.runtime.learner import Learner, Optimizer


@dataclass(kw_only=True)
class Exact:
    """``algo=exact``; the fields are the keys of ``conf/algo/exact.yaml``."""

    context: Context
    kl_coef: NonNegative
    reference_prompts: Count
    reference_samples: Count
    steps: Count
    preferences: Count
    max_responses: Count
    optimizer: Optimizer

    def __post_init__(self) -> None:
        bounds.check(self, "algo")

    def fit(self) -> dict[str, float]:
        """Train, write ``policy/`` and return the summary."""
        context, runtime = self.context, self.context.runtime
        assert context.preference is not None and context.risk is not None
        model, tokenizer = context.starting_policy()
        encoder = context.encoder(tokenizer)
        scorer = standardized_scorer(
            context, model, encoder, prompts=self.reference_prompts, samples=self.reference_samples
        )
        policy = trainable(context, model, critic_width=None)
        everything = Enumeration(context.corpus.prompts["train"], encoder, runtime.device, limit=self.max_responses)
        rewards = everything.rewards(scorer, context.risk).to(runtime.device)
        with torch.no_grad():
            with policy.off():
                ref_logps = everything.logps(policy, None)
        if runtime.main:  # every process computes the same: it counts once
            context.usage.scored(scorer, len(everything.prompts) * len(everything.texts))
            context.usage.read(len(everything.ids))
        learner = Learner(context, policy, policy.adapter.groups(), self.optimizer, steps=self.steps)
        for step in learner.steps():
            numbers = runtime.share(torch.arange(self.preferences))
            drawn = context.preference(numbers, numbers, numbers, len(scorer.objectives), seed=context.seed, step=step)
            losses = [
                partial(self.loss, learner.module, everything, ref_logps, rewards, preference)
                for preference in drawn.to(runtime.device)
            ]
            metrics, sums = learner.update(losses)
            learner.log(metrics | {"utility": -metrics["loss"], "kl": float(sums["kl"]) / self.preferences})
        save_policy(context, policy, tokenizer, scorer)
        learner.close()
        return {}

    def loss(
        self,
        module: nn.Module,
        everything: Enumeration,
        ref_logps: Tensor,
        rewards: Tensor,
        preference: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``-U / preferences`` at one preference (M,), U the exact utility; and the exact KL in nats."""
        scalarize = self.context.scalarize
        assert scalarize is not None
        self.context.usage.trained(everything.mask)
        logps = everything.logps(module, preference)
        kl = exact_kl(logps, ref_logps)
        if scalarize.expects:  # a function of expectations
            utility = scalarize.utility(expected_rewards(logps, rewards), preference) - self.kl_coef * kl
        else:
            gains = scalarize(rewards.flatten(0, 1), preference.expand(rewards.shape[:2].numel(), -1))
            utility = exact_utility(logps, ref_logps, gains.view_as(logps), kl_coef=self.kl_coef)
        return -utility / self.preferences, {"kl": kl}
