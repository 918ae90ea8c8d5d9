"""What the answers of a rollout are worth: beliefs, risk, and the unit of the reward."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mora.errors import InputError
from mora.functional.centering import centered
from mora.reward.scorer import Scorer
from mora.reward.tracking import Tracking
from mora.runtime.context import Context
from mora.types import RewardBelief, Sampled, content_id

Truncated = Literal["score", "penalty", "mask"]


class Rewards:
    """From answers to rewards (B, M): score, center by prompt, risk, track, clip, normalize, penalize; most by choice.

    The penalty of answers that were cut off comes last, so it is that many units of whatever unit rewards have.  Where
    such answers are masked, ``tracking`` and ``normalize`` take their statistics over the others.
    Every process hands in as many rows, whose order over processes is that of the rollout.  Raises InputError for
    settings that would shift an objective whose zero means something.
    """

    def __init__(
        self,
        context: Context,
        scorer: Scorer,
        *,
        center_by_prompt: bool,
        tracking: Literal["none", "running", "ema"],
        tracking_decay: float,
        score_clip: float | None,
        normalize_rewards: bool,
        truncated: Truncated,
        missing_eos_penalty: float | None,
    ) -> None:
        assert scorer.standardization is not None
        shifts = [shift and not zero for shift, zero in zip(scorer.standardization.shifts, scorer.zero, strict=True)]
        if not all(shifts) and (center_by_prompt or normalize_rewards):
            kept = [name for name, shift in zip(scorer.objectives, shifts, strict=True) if not shift]
            raise InputError(
                f"a reward of 0 means something for {', '.join(kept)}, and algo.rollout.center_by_prompt and "
                "algo.rollout.normalize_rewards subtract means; set both to false"
            )
        self.context, self.scorer = context, scorer
        self.center_by_prompt, self.score_clip, self.normalize = center_by_prompt, score_clip, normalize_rewards
        self.masked, self.missing_eos_penalty = truncated == "mask", missing_eos_penalty
        self.tracking = None if tracking == "none" else Tracking(tracking, decay=tracking_decay, shifts=shifts)

    def __call__(self, prompts: list[str], texts: list[str], sampled: Sampled) -> Tensor:
        """Rewards (B, M) of this process' answers; once per rollout, since tracking takes them in."""
        runtime = self.context.runtime
        assert self.context.risk is not None
        self.context.usage.scored(self.scorer, len(texts))
        belief = self.scorer.score(prompts, texts, sampled)
        if self.center_by_prompt:
            belief = self._centered(belief, prompts)
        rewards = self.context.risk(belief).to(runtime.device)
        ended = torch.tensor(sampled.ended, device=rewards.device)
        if self.tracking is not None:
            known = self._counted(rewards, ended)
            if len(known):
                self.tracking.update(known)
            rewards = self.tracking(rewards)
        if self.score_clip is not None:
            rewards = rewards.clamp(-self.score_clip, self.score_clip)
        if self.normalize:
            known = self._counted(rewards, ended)
            if len(known):
                rewards = (rewards - known.mean(0)) / known.std(0, correction=0).clamp_min(1e-6)
        if self.missing_eos_penalty is not None:
            rewards = torch.where(ended[:, None], rewards, rewards - self.missing_eos_penalty)
        return rewards

    def _counted(self, rewards: Tensor, ended: Tensor) -> Tensor:
        """The rewards of all processes that statistics are taken over."""
        everything = self.context.runtime.gather(rewards)
        return everything[self.context.runtime.gather(ended.long()) > 0] if self.masked else everything

    def _centered(self, belief: RewardBelief, prompts: list[str]) -> RewardBelief:
        """The belief less the means over all answers to the same prompt, of which other processes may hold some."""
        runtime = self.context.runtime
        everything = replace(belief, atoms=runtime.gather(belief.atoms), weights=runtime.gather(belief.weights))
        groups = runtime.gather(torch.tensor([content_id(prompt) for prompt in prompts]))
        whole = centered(everything, groups)
        own = slice(runtime.rank * len(prompts), (runtime.rank + 1) * len(prompts))
        return replace(whole, atoms=whole.atoms[own], weights=whole.weights[own])
