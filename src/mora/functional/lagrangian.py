"""Constraints by a Lagrangian whose multipliers are learned: ``scalarize=lagrangian``.

    max over policies of  E <w, r> - beta KL   subject to   E r_j >= d_j   for each objective j with a floor

is the saddle point of ``E <w, r> + sum_j lambda_j (E r_j - d_j) - beta KL``, lowest in lambda >= 0 (Boyd and
Vandenberghe 2004, ch. 5).  PPO-Lagrangian: Ray et al. 2019; for language models Dai et al. 2024 (Safe-RLHF, eq. 14 and
15), whose cost is ``-r_j`` and whose limit is ``-d_j``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mora import bounds
from mora.bounds import Natural, NonNegative, Number, Positive
from mora.errors import InputError
from mora.functional.scalarize import Scalarizer


@dataclass(kw_only=True)
class Lagrangian(Scalarizer):
    """``gain = (<w, r> + sum_j lambda_j r_j) / (1 + sum_j lambda_j)``; the fields are keys of
    ``conf/scalarize/lagrangian.yaml``.

    w is the preference among the objectives that have no floor, scaled to sum 1; its other weights do not count.  The
    divisor changes the size of a step and not its direction; ``constant_kl`` leaves the KL term out of it, as
    Safe-RLHF does, so that a nat costs ``beta (1 + sum_j lambda_j)``.  ``floors`` are in the reward's own units.
    """

    floors: Mapping[str, Number]
    initial: Positive
    largest: Positive
    lr: NonNegative
    delay: Natural
    constant_kl: bool
    _bound: _Floors | None = field(default=None, init=False, repr=False)

    observes = True

    def __post_init__(self) -> None:
        bounds.check(self, "scalarize")
        if self.initial > self.largest:
            raise InputError(f"scalarize.initial={self.initial:g} is above scalarize.largest={self.largest:g}")

    def check(self, objectives: Sequence[str], preferences: Sequence[Sequence[float]] = ()) -> None:
        """Raises InputError unless each floor is one of an objective, one is left without, and weighs something."""
        unknown = [name for name in self.floors if name not in objectives]
        if unknown or not self.floors or len(self.floors) == len(objectives):
            raise InputError(
                f"scalarize.floors={{{', '.join(map(str, self.floors))}}}: name some of {', '.join(objectives)}, each "
                "with the least expected reward that is asked of it, and leave one without"
            )
        for preference in preferences:
            if not any(w > 0 for name, w in zip(objectives, preference, strict=True) if name not in self.floors):
                shown = ",".join(f"{weight:g}" for weight in preference)
                raise InputError(
                    f"preference [{shown}]: gives no weight to an objective without a floor, so there is nothing to "
                    f"maximize; floors are under {', '.join(self.floors)}"
                )

    def bind(self, objectives: Sequence[str], units: Callable[[Tensor], Tensor]) -> None:
        """Say what the columns of rewards are; ``units`` puts rewards (M,) into the units of training."""
        self.check(objectives)
        asked = torch.tensor([self.floors.get(name, math.nan) for name in objectives])
        floored = torch.tensor([name in self.floors for name in objectives])
        start = torch.full((len(objectives),), math.log(self.initial), dtype=torch.float64)
        self._bound = _Floors(
            objectives=tuple(objectives),
            floored=floored,
            floors=torch.where(floored, units(asked.nan_to_num()), -math.inf),
            logs=start.masked_fill(~floored, -math.inf),
        )

    @property
    def bound(self) -> _Floors:
        """Floors and multipliers by column.  Raises RuntimeError before :meth:`bind`."""
        if self._bound is None:
            raise RuntimeError("a Lagrangian was asked before it was told what the columns of rewards are")
        return self._bound

    def free(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """The weights w: those of the objectives without a floor, scaled to sum 1.

        Raises ValueError where none of them weighs anything.
        """
        kept = torch.where(self.bound.floored.to(preference.device), 0.0, preference)
        total = kept.sum(-1, keepdim=True)
        if not bool((total > 0).all()):
            raise ValueError("a preference has no weight on an objective without a floor")
        return kept / total

    def __call__(self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Gain per row, in reward units."""
        streams, weights = self.streams(rewards, preference)
        return (streams * weights).sum(-1)

    def count(self, objectives: int) -> int:
        """Streams of so many objectives."""
        return objectives

    def streams(
        self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """A stream per objective, weighted by the preference or its multiplier; the weights of a row sum to 1."""
        multipliers = self.bound.multipliers.to(preference)
        return rewards, (self.free(preference) + multipliers) / (1 + multipliers.sum())

    @property
    def kl_weight(self) -> float:
        """What the price of a nat is multiplied by beside such a gain."""
        return 1.0 if self.constant_kl else 1 / (1 + float(self.bound.multipliers.sum()))

    def observe(self, means: Float[Tensor, " M"]) -> None:
        """A step of gradient descent on log lambda from the mean rewards (M,) of a fresh global batch.

        ``log lambda_j += lr lambda_j (d_j - mean r_j)``, at most ``log largest``; none in the first ``delay`` batches.
        """
        bound = self.bound
        bound.means = means.detach().double().cpu()
        bound.seen += 1
        if bound.seen > self.delay:
            missed = torch.where(bound.floored, bound.floors.double() - bound.means, 0.0)
            bound.logs = (bound.logs + self.lr * bound.multipliers * missed).clamp_max(math.log(self.largest))

    def metrics(self) -> dict[str, float]:
        """Each multiplier, and by how much the last batch missed its floor, in units of training (below 0: kept)."""
        bound, found = self.bound, {}
        for index in bound.floored.nonzero().flatten().tolist():
            name = bound.objectives[index]
            found[f"multiplier/{name}"] = float(bound.multipliers[index])
            if bound.means is not None:
                found[f"violation/{name}"] = float(bound.floors[index] - bound.means[index])
        return found

    def notes(self) -> list[str]:
        """What to tell of multipliers that ended as large as they may be."""
        found = self.bound.multipliers.nan_to_num() >= self.largest * (1 - 1e-9)
        return [
            f"the multiplier of {name} is as large as it may be (scalarize.largest={self.largest:g}): its floor of "
            f"{self.floors[name]:g} may be more than any policy reaches"
            for name, at in zip(self.bound.objectives, found.tolist(), strict=True)
            if at
        ]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the logs of the multipliers, the batches seen and the means of the last one."""
        return {"logs": self.bound.logs.clone(), "seen": self.bound.seen, "means": self.bound.means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.bound.logs, self.bound.seen, self.bound.means = state["logs"].double(), int(state["seen"]), state["means"]


@dataclass(kw_only=True)
class _Floors:
    """By column of rewards (M,): floors in units of training, -inf where there is none, and logs of multipliers."""

    objectives: tuple[str, ...]
    floored: Tensor
    floors: Tensor
    logs: Tensor
    means: Tensor | None = None
    seen: int = 0

    @property
    def multipliers(self) -> Tensor:
        """lambda (M,), 0 without a floor."""
        return self.logs.exp()
