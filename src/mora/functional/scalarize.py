"""From rewards (B, M) and preferences (B, M) to one gain per row (B,), and to the streams that credit is given in.

A linear gain keeps a stream per objective, weighted by the preference, so that a critic with one output per objective
is its baseline, ``<preference, V>``; any other gain is one stream.  A row's gain is ``sum_c weights_c streams_c``.
``shares`` says over which rows a gain takes means: those of a preference, those of a prompt at a preference, or none
(None).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mora.bounds import NonNegative, Number
from mora.errors import InputError

Sharing = Literal["preference", "prompt"]


class Scalarizer:
    """What algorithms ask of every scalarizer, where it is nothing special."""

    shares: ClassVar[Sharing | None] = None

    @property
    def expects(self) -> Sharing | None:
        """What its utility is a function of: expectations over all prompts or of each; None: a mean over answers."""
        return self.shares

    def kl_weights(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """What the price of a nat is multiplied by beside the gain of each row."""
        return torch.ones(len(preference), dtype=torch.float64, device=preference.device)

    def steered(self, objectives: Sequence[str]) -> list[int]:
        """The objectives that preferences are drawn among, by place: all."""
        return list(range(len(objectives)))


class Learned(Scalarizer, ABC):
    """A scalarizer that learns from the rewards of each rollout, before they are scalarized.

    ``premise``: why rewards may not move meanwhile, for a message.
    """

    premise: ClassVar[str]

    @abstractmethod
    def bind(self, objectives: Sequence[str], units: Callable[[Tensor], Tensor], *, one: bool) -> None:
        """Say what the columns of rewards are, and whether all rows will have ``one`` preference.

        ``units`` puts rewards (M,) into the units of training.
        """

    @abstractmethod
    def observe(self, rewards: Tensor, preference: Tensor, total: Callable[[Tensor], Tensor]) -> None:
        """Learn from the rewards and preferences (B, M) of a fresh batch; ``total`` sums a tensor over processes."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """What was learned, for the log."""

    def notes(self) -> list[str]:
        """What to tell of it when training ends."""
        return []

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""


class _OneStream(Scalarizer):
    """A gain that is no weighted sum of the rewards."""

    def count(self, objectives: int) -> int:
        """Streams of so many objectives."""
        return 1

    def streams(self, *rows: Tensor) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
        """The gain of ``rows``, which are the arguments of a call, and its weight, 1."""
        gains: Tensor = self(*rows)  # type: ignore[operator]
        return gains[:, None], torch.ones_like(gains)[:, None]


@dataclass(kw_only=True)
class Linear(Scalarizer):
    """``gain = sum_i w_i r_i`` (linear scalarization; Panacea eq. 6)."""

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row, in reward units."""
        return (rewards * preference).sum(-1)

    def count(self, objectives: int) -> int:
        """Streams of so many objectives."""
        return objectives

    def streams(
        self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """A stream per objective, weighted by the preference."""
        return rewards, preference


def weighted_gaps(rewards: Tensor, preference: Tensor, ideal: float | list[float]) -> Tensor:
    """Weighted distance to the ideal, ``w_i (r_i - z_i)``; raises where a reward lies above the ideal."""
    z = torch.as_tensor(ideal, dtype=rewards.dtype, device=rewards.device).expand(rewards.shape[-1])
    above = (rewards > z).any(0)
    if bool(above.any()):
        worst = rewards.amax(0)
        index = int(above.float().argmax())
        raise ValueError(
            f"Tchebycheff scalarization needs an ideal above every reward: objective {index} reached "
            f"{float(worst[index]):.4g} and scalarize.ideal is {float(z[index]):.4g}; above the ideal "
            "the minimum would favor small weights. Set scalarize.ideal higher."
        )
    return preference * (rewards - z)


def least_expected(
    expected: Float[Tensor, "X M"], preference: Float[Tensor, " M"], ideal: float | list[float], augment: float
) -> Float[Tensor, " X"]:
    """``min_i w_i (E r_i - z_i) + rho sum_i w_i (E r_i - z_i)`` of each row of expectations."""
    gaps = weighted_gaps(expected, preference.expand_as(expected), ideal)
    return gaps.amin(-1) + augment * gaps.sum(-1)


@dataclass(kw_only=True)
class Tchebycheff(_OneStream):
    """``gain = min_i w_i (r_i - z_i) + rho sum_i w_i (r_i - z_i)`` of each response (``tchebycheff_response``).

    ``temperature`` > 0 replaces the minimum by ``-mu logsumexp(-x / mu)``.  The expectation of this gain is another
    utility than Panacea's eq. 7, which takes the minimum of expectations: see :class:`TchebycheffExpected`.
    ``ideal`` is z, in reward units; one number or one per objective.
    """

    ideal: Number | list[Number]
    augment: NonNegative
    temperature: NonNegative

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row.  Raises ValueError when a reward exceeds the ideal."""
        gaps = weighted_gaps(rewards, preference, self.ideal)
        return _least(gaps, self.temperature) + self.augment * gaps.sum(-1)


@dataclass(kw_only=True)
class Minimum(_OneStream):
    """``gain = min_{i: w_i > 0} r_i + rho sum_i w_i r_i``: the objective that is worst off, whatever its weight.

    The outer step of hierarchical pessimism, after a risk within each objective.  Weights say which objectives count,
    each in full as soon as its weight is above 0: with ``augment`` rho = 0 all preferences over the same objectives ask
    for the same.  At equal weights and rho = 0 it is ``M t + z``, t the Tchebycheff gain with one ideal z for all
    objectives, so it needs no ideal; at other weights the two differ.  ``temperature`` mu > 0, in reward units, makes
    the minimum ``-mu logsumexp(-r / mu)`` over the same objectives.
    """

    augment: NonNegative
    temperature: NonNegative

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row, in reward units."""
        counted = rewards.masked_fill(preference <= 0, float("inf"))
        return _least(counted, self.temperature) + self.augment * (rewards * preference).sum(-1)


def _least(values: Tensor, temperature: float) -> Tensor:
    """``min_i x_i``, or ``-mu logsumexp(-x / mu)`` for a temperature mu > 0, which lies below it."""
    if temperature > 0:
        return -temperature * torch.logsumexp(-values / temperature, dim=-1)
    return values.amin(-1)


class _OfMeans(_OneStream):
    """What the two Tchebycheff utilities of expectations share: the gain of a row, given which rows are averaged."""

    shares: ClassVar[Sharing | None]
    ideal: Number | list[Number]
    augment: NonNegative

    def __call__(
        self,
        rewards: Float[Tensor, "B M"],
        preference: Float[Tensor, "B M"],
        prompts: Int[Tensor, " B"],
        weights: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Gain per row of a whole batch; ``prompts`` are identities, ``weights`` what a row counts (None: all alike).

        Raises ValueError when a row has nothing to be averaged with or a mean exceeds the ideal.
        """
        _, index = torch.unique(preference, dim=0, return_inverse=True)
        if self.shares == "prompt":
            _, place = torch.unique(prompts, return_inverse=True)
            index = index * len(prompts) + place
        _, index, count = torch.unique(index, return_inverse=True, return_counts=True)
        if bool((count < 2).any()):
            raise ValueError(
                "a Tchebycheff utility of expectations needs at least two rows to average: preference=sample or batch, "
                "and with scalarize=tchebycheff_prompt preference=group or batch"
            )
        share = torch.ones_like(rewards[:, :1]) if weights is None else weights[:, None].to(rewards)
        sums = rewards.new_zeros(len(count), rewards.shape[-1] + 1)
        sums.index_add_(0, index, torch.cat([rewards * share, share], -1))
        means = (sums[:, :-1] / sums[:, -1:])[index]
        least = weighted_gaps(means, preference, self.ideal).argmin(-1, keepdim=True)
        weighted = preference * rewards
        return weighted.gather(-1, least).squeeze(-1) + self.augment * weighted.sum(-1)


@dataclass(kw_only=True)
class TchebycheffExpected(_OfMeans):
    """Gradient of ``min_i w_i (E r_i - z_i)``, E over prompts and answers (Panacea eq. 7), estimated on a batch.

    The minimum is taken over the mean reward of all rows that share a preference, ``i* = argmin_i w_i (mean r_i -
    z_i)``; each row's gain is then ``w_{i*} r_{i*} + rho sum_i w_i r_i``, whose expectation has that gradient where i*
    is the objective that is worst off in expectation.  Rows of several prompts share a preference when
    ``preference.unit`` is ``sample`` or ``batch``.
    """

    shares: ClassVar[Sharing] = "preference"
    ideal: Number | list[Number]
    augment: NonNegative

    def utility(self, expected: Float[Tensor, "X M"], preference: Float[Tensor, " M"]) -> Float[Tensor, ""]:
        """``min_i w_i (E r_i - z_i) + rho sum_i w_i (E r_i - z_i)``, from the known expectations of each prompt."""
        return least_expected(expected.mean(0, keepdim=True), preference, self.ideal, self.augment)[0]


@dataclass(kw_only=True)
class TchebycheffPrompt(_OfMeans):
    """Gradient of ``E_x min_i w_i (E[r_i | x] - z_i)``: each prompt x has an objective of its own that is worst off.

    Never above :class:`TchebycheffExpected`, and the same where all prompts can reach the same.  The mean is that of
    the rows of a prompt that share a preference: ``preference.unit`` is ``group`` or ``batch``.
    """

    shares: ClassVar[Sharing] = "prompt"
    ideal: Number | list[Number]
    augment: NonNegative

    def utility(self, expected: Float[Tensor, "X M"], preference: Float[Tensor, " M"]) -> Float[Tensor, ""]:
        """Mean over prompts of ``min_i w_i (E[r_i | x] - z_i) + rho sum_i w_i (E[r_i | x] - z_i)``."""
        return least_expected(expected, preference, self.ideal, self.augment).mean()


def check_sharing(scalarize: Any, unit: str, *, prompts: int, samples: int) -> None:
    """Raises InputError where a rollout has no rows to take the means of ``scalarize`` over.

    ``unit`` is that of the preferences; a rollout has ``samples`` answers to each of ``prompts`` prompts.
    """
    if scalarize.shares == "preference" and (unit not in ("sample", "batch") or prompts < 2):
        raise InputError(
            "scalarize=tchebycheff_expected takes means over the answers to all prompts at a preference: set "
            f"preference=sample or preference=batch, not {unit}, and algo.rollout.prompts to 2 or more; for a minimum "
            "of each prompt by itself use scalarize=tchebycheff_prompt"
        )
    if scalarize.shares == "prompt" and (unit not in ("group", "batch") or samples < 2):
        raise InputError(
            "scalarize=tchebycheff_prompt takes means over the answers to a prompt at a preference: set "
            f"preference=group or preference=batch, not {unit}, and algo.rollout.samples to 2 or more"
        )


def check(scalarize: Any, *, objectives: int, atoms: int) -> list[str]:
    """Warnings where ``scalarize`` is the same as a plainer setting for so many objectives and atoms of a belief."""
    if not isinstance(scalarize, Minimum):
        return []
    if objectives == 1:
        return [
            "scalarize=minimum on one objective is its reward, the same as scalarize=linear up to scalarize.augment"
        ]
    if atoms == 1:
        return [
            "scalarize=minimum on a reward with one atom: the risk changes nothing, so the pessimism is across "
            "objectives alone"
        ]
    return []
