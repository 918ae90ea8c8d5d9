"""Exact gradient ascent: the utility of all responses, enumerated and differentiated.  No sampling, no estimate.

It asks what the parameters of a policy can reach at all: the class limit that a sampled algorithm's regret is held
against.  Only for a world whose responses can be enumerated, such as ``dataset=oracle``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Betas, Count, NonNegative, Part
from mora.functional.expectation import exact_kl, exact_utility, expected_rewards
from mora.runtime.actor import conditioned_policy, save_policy, standardized_panel
from mora.runtime.engine import Engine
from mora.runtime.enumeration import Enumeration
from mora.runtime.parts import Parts
from mora.runtime.schedule import Schedule


@dataclass(kw_only=True)
class Exact:
    """``algo=exact``; the fields are the keys of ``conf/algo/exact.yaml``."""

    parts: Parts
    adapter: dict[str, Any]
    kl_coef: NonNegative
    reference_prompts: Count
    reference_samples: Count
    steps: Count
    preferences: Count
    max_responses: Count
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
        assert parts.preference is not None and parts.risk is not None
        model, tokenizer = parts.starting_model(frozen=True)
        encoder = parts.encoder(tokenizer)
        panel = standardized_panel(
            parts, model, encoder, prompts=self.reference_prompts, samples=self.reference_samples
        )
        policy = conditioned_policy(parts, model, self.adapter, critic_width=None)
        everything = Enumeration(parts.corpus.prompts["train"], encoder, runtime.device, limit=self.max_responses)
        rewards = everything.rewards(panel, parts.risk).to(runtime.device)
        with torch.no_grad():
            ref_logps = everything.logps(policy, None)
        if runtime.main:  # every process computes the same: it counts once
            parts.spent.scored(panel, len(everything.prompts) * len(everything.texts))
            parts.spent.read(len(everything.ids))
        engine = Engine(
            runtime,
            policy,
            [
                {"params": policy.adapter.factors(), "lr": self.lr, "weight_decay": self.weight_decay},
                {"params": policy.adapter.singular_values(), "lr": self.singular_lr, "weight_decay": 0.0},
            ],
            betas=self.betas,
            eps=self.eps,
            schedule=self.schedule,
            warmup=self.warmup,
            steps=self.steps,
            max_grad_norm=self.max_grad_norm,
        )
        loop = parts.loop(engine, self.steps)
        for step in loop.steps():
            numbers = runtime.share(torch.arange(self.preferences))
            drawn = parts.preference(numbers, numbers, numbers, len(panel.objectives), seed=parts.seed, step=step)
            tally = torch.zeros(1, device=runtime.device)
            losses = [
                partial(self.loss, engine.module, everything, ref_logps, rewards, preference, tally)
                for preference in drawn.to(runtime.device)
            ]
            metrics = engine.descend(losses)
            metrics |= {"utility": -metrics["loss"], "kl": float(runtime.sum(tally)) / self.preferences}
            loop.log(metrics | parts.spent.take(runtime))
        save_policy(parts, policy, tokenizer, panel)
        engine.close()
        return {}

    def loss(
        self,
        module: nn.Module,
        everything: Enumeration,
        ref_logps: Tensor,
        rewards: Tensor,
        preference: Tensor,
        tally: Tensor,
    ) -> Tensor:
        """``-U / preferences`` at one preference (M,), U the exact utility; adds the exact KL to ``tally`` (1,)."""
        scalarize = self.parts.scalarize
        assert scalarize is not None
        self.parts.spent.trained(everything.mask)
        logps = everything.logps(module, preference)
        kl = exact_kl(logps, ref_logps)
        tally += kl.detach()
        if scalarize.shares:  # a function of expectations
            utility = scalarize.utility(expected_rewards(logps, rewards), preference) - self.kl_coef * kl
        else:
            gains = scalarize(rewards.flatten(0, 1), preference.expand(rewards.shape[:2].numel(), -1))
            utility = exact_utility(logps, ref_logps, gains.view_as(logps), kl_coef=self.kl_coef)
        return -utility / self.preferences
