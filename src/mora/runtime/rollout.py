"""A rollout: answers of the current policy, read and scored, each at its own preference; and how one is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora import bounds
from mora.bounds import Count, Decay, NonNegative, Positive
from mora.errors import InputError
from mora.functional.centering import PAIRED
from mora.functional.scalarize import Learned, Scalarizer
from mora.runtime.rewards import Truncated
from mora.types import BeliefKind, Sequences


@dataclass(kw_only=True)
class RolloutSettings:
    """How a rollout is made; the fields are the keys of ``algo.rollout``."""

    prompts: Count
    samples: Count
    shift_rewards: bool
    center_by_prompt: bool
    tracking: Literal["none", "running", "ema"]
    tracking_decay: Decay
    score_noise: NonNegative
    score_clip: Positive | None
    normalize_rewards: bool
    truncated: Truncated
    missing_eos_penalty: Positive | None

    def __post_init__(self) -> None:
        bounds.check(self, "algo.rollout")
        self._check_truncated()
        if self.normalize_rewards and self.tracking != "none":
            raise InputError(
                f"algo.rollout.normalize_rewards=true and algo.rollout.tracking={self.tracking} are two units for one "
                "reward, that of the batch and that of the rollouts so far; set one of them to false or none"
            )
        if (self.normalize_rewards or self.center_by_prompt) and not self.shift_rewards:
            raise InputError(
                "algo.rollout.shift_rewards=false keeps the zero of a reward, and algo.rollout.normalize_rewards and "
                "algo.rollout.center_by_prompt subtract means; set both to false"
            )
        if self.center_by_prompt and self.samples < 2:
            raise InputError(
                "algo.rollout.center_by_prompt=true compares the answers to one prompt: set algo.rollout.samples to 2 "
                "or more"
            )

    def _check_truncated(self) -> None:
        how, penalty = self.truncated, self.missing_eos_penalty
        if how not in get_args(Truncated):
            raise InputError(f"algo.rollout.truncated={how}: must be one of {', '.join(get_args(Truncated))}")
        if how == "penalty" and (penalty is None or not 0 < penalty < math.inf):
            raise InputError(
                f"algo.rollout.truncated=penalty with algo.rollout.missing_eos_penalty={penalty}: set the penalty to a "
                "number above 0, in reward units"
            )
        if how != "penalty" and penalty is not None:
            raise InputError(
                f"algo.rollout.missing_eos_penalty={penalty} is of algo.rollout.truncated=penalty, and truncated={how} "
                "subtracts nothing; set one to null, or the other to penalty"
            )
        if how == "mask" and self.center_by_prompt:
            raise InputError(
                "algo.rollout.truncated=mask leaves answers out, and algo.rollout.center_by_prompt=true compares the "
                "answers to one prompt, of which one alone may be left; use truncated=score or penalty"
            )

    def check_scalarize(self, scalarize: Scalarizer) -> None:
        """Raises InputError where ``scalarize`` takes means over rows of which some may be masked, or rewards move."""
        usual: dict[str, object] = {"tracking": "none", "normalize_rewards": False, "center_by_prompt": False}
        usual |= {"truncated": "score", "score_clip": None}
        odd = {key: value for key, value in usual.items() if getattr(self, key) != value}
        if isinstance(scalarize, Learned) and odd:
            raise InputError(
                f"{scalarize.premise}, and algo.rollout.{', '.join(odd)} moves it; "
                f"set {', '.join(f'algo.rollout.{key}={_shown(value)}' for key, value in odd.items())}"
            )
        if scalarize.shares and self.truncated == "mask":
            raise InputError(
                "algo.rollout.truncated=mask leaves rows out, and scalarize=tchebycheff_expected or tchebycheff_prompt "
                "takes means over all rows that share a preference; use truncated=score or penalty"
            )

    def check(self, kind: BeliefKind, zero: Sequence[bool]) -> None:
        """Raises InputError where rewards of beliefs of this ``kind``, with these zeros, cannot be made so."""
        if any(zero) and (self.center_by_prompt or self.normalize_rewards):
            setting = "center_by_prompt" if self.center_by_prompt else "normalize_rewards"
            raise InputError(
                f"algo.rollout.{setting}=true moves the zero of a reward whose zero means something; set it to false"
            )
        if self.center_by_prompt and kind not in PAIRED:
            raise InputError(
                f"algo.rollout.center_by_prompt=true needs atoms that are paired across answers, and those of a {kind} "
                "belief are a fixed support; set it to false"
            )


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower()


@dataclass(kw_only=True)
class Rollout(Sequences):
    """One rank's rows of a rollout: left-padded prompts followed by right-padded responses, with all that is known.

    What an algorithm credits its tokens with, ``advantages`` and for a critic ``returns``, it adds itself, and at what
    price of the KL.
    """

    preference: Tensor  # (B, M): sampled once, before generation, and used by every later step
    trained: Tensor  # (B, T) True on response tokens of rows that train: all, or with truncated=mask those that ended
    old_logps: Tensor  # (B, T)
    ref_logps: Tensor  # (B, T)
    values: Tensor | None  # (B, T, C); None without a critic
    rewards: Tensor  # (B, M), in standard deviations of the reference policy, or what tracking puts in their place
    streams: Tensor  # (B, C): what is maximized, as scalarize gives it
    weights: Tensor  # (B, C): of each stream
    entropy: Tensor  # (B, T)
    offset: int  # place of the first row in the global batch
    global_rows: int
    normalizer: float  # of an update: rows of a minibatch, masked ones too, times the longest response allowed
    ended: Tensor  # (B,) False for an answer that was cut off
    prompts: list[str]
    texts: list[str]
    group: Tensor | None = None  # (B,): rows with the same one are answers to one prompt
    kl_coef: Tensor | None = None  # (B,): reward units per nat
    advantages: Tensor | None = None  # (B, T)
    returns: Tensor | None = None  # (B, T, C)

    @property
    def gains(self) -> Tensor:
        """Scalarized rewards (B,)."""
        return (self.streams * self.weights).sum(-1)

    def lengths(self, index: list[int]) -> NDArray[np.int64]:
        """Tokens of the prompts of some rows (n,): what rows of one pass are padded to."""
        prompts: NDArray[np.int64] = self.mask[index, : -self.length].sum(-1).cpu().numpy()
        return prompts

    def batches(self, epochs: int, count: int, *, seed: int, step: int) -> Iterator[list[int]]:
        """This rank's rows of each of ``count`` minibatches, anew in every epoch."""
        for epoch in range(epochs):
            yield from self.minibatches(count, seed=seed, step=step, epoch=epoch)

    def minibatches(self, count: int, *, seed: int, step: int, epoch: int) -> list[list[int]]:
        """This rank's rows of each minibatch.

        Among each ``count`` consecutive rows of the global batch every minibatch gets one, at random: minibatches are
        the same sets of rows on any number of processes.
        """
        generator = np.random.Generator(np.random.Philox(key=[seed & (2**63 - 1), (step << 16) + epoch]))
        blocks = np.tile(np.arange(count), (self.global_rows // count, 1))
        place = generator.permuted(blocks, axis=1).reshape(-1)[self.offset : self.offset + len(self.ids)]
        return [np.flatnonzero(place == number).tolist() for number in range(count)]

    def take(self, index: list[int]) -> Rollout:
        """Some rows."""
        rows = torch.tensor(index, device=self.ids.device)
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        chosen = {k: v[rows] for k, v in values.items() if isinstance(v, Tensor)}
        texts = {k: [v[i] for i in index] for k, v in values.items() if isinstance(v, list)}
        return Rollout(**(values | chosen | texts))
