"""Constraints by a Lagrangian whose multipliers are learned: ``scalarize=lagrangian``.

    max over policies of  E <w, r> - beta KL   subject to   E r_j >= d_j   for each objective j with a floor

is the saddle point of ``E <w, r> + sum_j lambda_j (E r_j - d_j) - beta KL``, lowest in lambda >= 0 (Boyd and
Vandenberghe 2004, ch. 5).  PPO-Lagrangian: Ray et al. 2019; for language models Dai et al. 2024 (Safe-RLHF, eq. 14 and
15), whose cost is ``-r_j`` and whose limit is ``-d_j``.  A steered policy has such a problem at every preference w over
the objectives without a floor, and a multiplier that depends on it: ``log lambda_j(w)`` is a polynomial in w.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mora import bounds
from mora.bounds import Count, Natural, NonNegative, Number, Positive
from mora.errors import InputError
from mora.functional.bernstein import bernstein, corners, exponents
from mora.functional.confidence import Confidence, pessimistic
from mora.functional.floors import Floors
from mora.functional.preference import among
from mora.functional.scalarize import Learned
from mora.functional.tilting import constrained_optimum

SMALLEST = 1e-3  # of a multiplier that is interpolated; a floor that does not bind has 0


@dataclass(kw_only=True)
class Lagrangian(Learned):
    """``gain = (<w, r> + sum_j lambda_j r_j) / (1 + sum_j lambda_j)``; the fields are keys of
    ``conf/scalarize/lagrangian.yaml``.

    w is the preference among the objectives that have no floor, scaled to sum 1; its other weights do not count.  Of
    one preference each floor has one multiplier; of many, ``log lambda_j(w) = sum_f a_jf B_f(w)`` with the Bernstein
    polynomials of ``degree``: 1 for log-linear ones, which a front that bends wants more of in its middle.  The
    divisor changes the size of a step and not its direction; ``constant_kl`` leaves the KL term out of it, as
    Safe-RLHF does, so that a nat costs ``beta (1 + sum_j lambda_j)``.  ``floors`` are in the reward's own units.
    ``rectified`` asks them of every answer: ``min(r_j - d_j, 0)`` stands in the place of ``r_j``, so that no answer
    makes up for another (RePO, arXiv 2410.19933), and multipliers rise while any answer misses its floor.
    ``confidence`` asks them of a lower bound on the mean (HC-RLHF), with the moments of each fresh batch.
    """

    premise = "scalarize=lagrangian puts floors under the reward"

    floors: Mapping[str, Number]
    initial: Positive
    largest: Positive
    lr: NonNegative
    delay: Natural
    constant_kl: bool
    degree: Count
    rectified: bool
    from_reference: bool
    confidence: Confidence | None
    _bound: Floors | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        bounds.check(self, "scalarize")
        if self.initial > self.largest:
            raise InputError(f"scalarize.initial={self.initial:g} is above scalarize.largest={self.largest:g}")
        odd = [key for key in ("rectified", "constant_kl", "confidence") if getattr(self, key)]
        if self.from_reference and odd:
            raise InputError(
                "scalarize.from_reference=true solves for the optimum under floors of means at one price of the KL, "
                f"and scalarize.{odd[0]} asks for another; set one of them to false (confidence: to null)"
            )
        if self.rectified and self.confidence is not None:
            raise InputError(
                "scalarize.rectified=true asks floors of every answer, and scalarize.confidence of a bound on their "
                "mean; set rectified to false, or confidence to null"
            )

    def check(self, objectives: Sequence[str], preferences: Sequence[Sequence[float]] = ()) -> None:
        """Raises InputError unless each floor is one of an objective, one is left without, and weighs something."""
        unknown = [name for name in self.floors if name not in objectives]
        if unknown or not self.floors or len(self.floors) == len(objectives):
            raise InputError(
                f"scalarize.floors={{{', '.join(map(str, self.floors))}}}: name some of {', '.join(objectives)}, each "
                "with the least expected reward that is asked of it, and leave one without"
            )
        for name in self.floors if self.confidence is not None else ():
            self.confidence.terms(name)  # type: ignore[union-attr]
        for preference in preferences:
            if not any(w > 0 for name, w in zip(objectives, preference, strict=True) if name not in self.floors):
                shown = ",".join(f"{weight:g}" for weight in preference)
                raise InputError(
                    f"preference [{shown}]: gives no weight to an objective without a floor, so there is nothing to "
                    f"maximize; floors are under {', '.join(self.floors)}"
                )

    def bind(self, objectives: Sequence[str], units: Callable[[Tensor], Tensor], *, one: bool) -> None:
        """Say what the columns of rewards are, and whether all rows will have ``one`` preference.

        ``units`` puts rewards (M,) into the units of training.
        """
        self.check(objectives)
        asked = torch.tensor([self.floors.get(name, math.nan) for name in objectives])
        floored = torch.tensor([name in self.floors for name in objectives])
        size = len(exponents(len(objectives) - int(floored.sum()), self.degree))
        taken = torch.tensor([self._taken(name) for name in objectives], dtype=torch.float64).T  # (2, M)
        asked = asked.nan_to_num().double()
        self._bound = Floors(
            objectives=tuple(objectives),
            floored=floored,
            floors=torch.where(floored, units(asked).double(), -math.inf),
            taken=torch.stack([taken[0], units(asked + taken[1]).double() - units(asked).double()]),
            logs=torch.full((len(objectives), 1 if one else size), math.log(self.initial), dtype=torch.float64),
            one=one,
        )

    def _taken(self, name: str) -> tuple[float, float]:
        """What is taken off the mean reward of an objective: per deviation, and in its own units."""
        return (0.0, 0.0) if self.confidence is None or name not in self.floors else self.confidence.terms(name)

    @property
    def bound(self) -> Floors:
        """Floors and multipliers by column.  Raises RuntimeError before :meth:`bind`."""
        if self._bound is None:
            raise RuntimeError("a Lagrangian was asked before it was told what the columns of rewards are")
        return self._bound

    def steered(self, objectives: Sequence[str]) -> list[int]:
        """Those without a floor, by place: preferences are drawn among them."""
        return [place for place, name in enumerate(objectives) if name not in self.floors]

    def free(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """The weights w, as :func:`among` gives them; raises InputError where there are none."""
        return among(preference, self.bound.floored.nonzero().flatten().tolist())

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
        multipliers = self.multipliers(preference).to(preference)
        if self.rectified:
            floored = self.bound.floored.to(rewards.device)
            rewards = torch.where(floored, -self._missed(rewards).to(rewards), rewards)
        if self.confidence is not None:
            rewards = self._pessimistic(rewards, preference).to(rewards)
        return rewards, (self.free(preference) + multipliers) / (1 + multipliers.sum(-1, keepdim=True))

    def multipliers(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """lambda of each row, in double precision; 0 without a floor."""
        logs = self._basis(preference) @ self.bound.logs.to(preference.device).T
        return torch.where(self.bound.floored.to(preference.device), logs.exp(), 0.0)

    def _missed(self, rewards: Tensor) -> Tensor:
        """What each answer is below its floors (B, M), in double precision; 0 without a floor."""
        bound = self.bound
        missed = bound.floors.to(rewards.device) - rewards.double()
        missed = torch.where(bound.floored.to(rewards.device), missed, 0.0)
        return missed.clamp_min(0.0) if self.rectified else missed

    def _pessimistic(self, rewards: Tensor, preference: Tensor) -> Tensor:
        """Rewards (B, M) whose means are the bounds, in double precision; as they are without a floor."""
        basis, (first, second) = self._basis(preference), self.bound.moments.to(rewards.device)
        mean = basis @ first.T
        deviation = (basis @ second.T - mean**2).clamp_min(0.0).sqrt()
        return pessimistic(rewards.double(), mean, deviation, *self.bound.taken.to(rewards.device))

    def _basis(self, preference: Tensor) -> Tensor:
        """What the logs of multipliers are sums over (B, F): polynomials, or 1 where there is one preference."""
        free = self.free(preference)
        if self.bound.one:
            return torch.ones_like(free[:, :1]).double()
        return bernstein(free[:, ~self.bound.floored.to(free.device)], self.degree)

    def solve(
        self, rewards: Float[Tensor, "X S M"], preference: Float[Tensor, " M"] | None, *, kl_coef: float | int
    ) -> float:
        """Start from the multipliers of the optimum over S answers of the reference policy to each of X prompts.

        They minimize the convex dual of the problem (``tilting.constrained_optimum``) with as much probability for
        each answer (dual first: MoCAN, arXiv 2405.19544).  ``preference`` is the only one, or None: then the logs of
        multipliers are interpolated between the points of a grid with as many points as there are polynomials.
        Returns the least effective number of answers to a prompt, ``1 / sum p^2`` of the optimum, a mean over prompts:
        where it is small the best answers are missing, and multipliers come out too large.
        Raises InputError for floors that no weighting of these answers reaches.
        """
        bound, scores = self.bound, rewards.double().cpu().numpy()
        even = np.full(scores.shape[:2], -math.log(scores.shape[1]))
        places = self.steered(bound.objectives)
        if preference is None:
            nodes = torch.zeros(bound.logs.shape[1], len(bound.objectives), dtype=torch.float64)
            nodes[:, places] = torch.tensor(exponents(len(places), self.degree)).double() / self.degree
        else:
            nodes = preference.double()[None]
        try:
            solved = [
                constrained_optimum(even, scores, scores @ w.numpy(), floors=bound.floors.numpy(), kl_coef=kl_coef)
                for w in self.free(nodes)
            ]
        except ValueError as error:
            asked = ", ".join(f"{name} at least {floor:g}" for name, floor in self.floors.items())
            raise InputError(
                f"scalarize.floors: no weighting of {scores.shape[1]} answers of the reference policy to each of "
                f"{scores.shape[0]} prompts reaches {asked} ({error}, in units of training); lower the floor, draw "
                "more answers (algo.reference_samples), or set scalarize.from_reference=false"
            ) from error
        found = np.stack([one.multipliers for one in solved if one.multipliers is not None])
        logs = torch.from_numpy(np.log(found.clip(SMALLEST, self.largest)))  # (F, M)
        bound.logs = torch.linalg.solve(self._basis(nodes), logs).T.clamp_max(math.log(self.largest)).contiguous()
        return min(float((1 / (np.exp(one.logps) ** 2).sum(-1)).mean()) for one in solved)

    def kl_weights(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """What the price of a nat is multiplied by beside the gain of each row."""
        if self.constant_kl:
            return super().kl_weights(preference)
        return 1 / (1 + self.multipliers(preference).sum(-1))

    def observe(
        self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"], total: Callable[[Tensor], Tensor]
    ) -> None:
        """A step of gradient descent on a from the rewards of a fresh batch; ``total`` sums a tensor over processes.

        ``a_jf += lr mean_f (lambda_j (d_j - r_j))``, the mean weighted by B_f(w), at most ``log largest``; none in the
        first ``delay`` batches.  At one preference that is a step of ``lr lambda_j (d_j - mean r_j)`` of log lambda_j.
        """
        bound, basis = self.bound, self._basis(preference)
        if self.confidence is not None:
            powers = torch.cat([rewards.double().T, rewards.double().T ** 2, torch.ones_like(rewards[:, :1]).T]) @ basis
            sums = total(powers).cpu()
            bound.moments = (sums[:-1] / sums[-1].clamp_min(1e-12)).reshape(2, -1, basis.shape[1])
            rewards = self._pessimistic(rewards, preference)
        missed = self._missed(rewards)
        sums = torch.cat([missed.T @ basis, (self.multipliers(preference) * missed).T @ basis, basis.sum(0)[None]])
        sums = total(sums).cpu()
        means = sums[:-1] / sums[-1].clamp_min(1e-12)  # of a polynomial that is 0 in all rows: 0
        bound.missed, slopes = means[: len(bound.floors)], means[len(bound.floors) :]
        bound.seen += 1
        if bound.seen > self.delay:
            bound.logs = (bound.logs + self.lr * slopes).clamp_max(math.log(self.largest))

    def metrics(self) -> dict[str, float]:
        """Each multiplier, and by how much the last batch missed its floor, in units of training (below 0: kept).

        Of many preferences, both where one objective has all the weight: means weighted by its polynomial.
        """
        found = {}
        for name, j, suffix, i in self._places():
            found[f"multiplier/{name}{suffix}"] = float(self.bound.logs[j, i].exp())
            if self.bound.missed is not None:
                found[f"violation/{name}{suffix}"] = float(self.bound.missed[j, i])
        return found

    def _places(self) -> Iterator[tuple[str, int, str, int]]:
        """Each floor and its row, and each objective without one and the column of its corner."""
        names, free = self.bound.objectives, self.steered(self.bound.objectives)
        ends = [("", 0)]
        if not self.bound.one:
            columns = corners(len(free), self.degree)
            ends = [(f".{names[place]}", column) for place, column in zip(free, columns, strict=True)]
        for j, name in enumerate(names):
            if name in self.floors:
                yield from ((name, j, suffix, column) for suffix, column in ends)

    def notes(self) -> list[str]:
        """What to tell of multipliers that ended as large as they may be."""
        if self.rectified:
            return []  # as large as it may be is what a multiplier becomes while one answer is below its floor
        least = math.log(self.largest) - 1e-9
        highest = self.bound.logs.max(-1).values.tolist()
        ended = [
            name
            for name, log in zip(self.bound.objectives, highest, strict=True)
            if name in self.floors and log >= least
        ]
        return [
            f"the multiplier of {name} is as large as it may be (scalarize.largest={self.largest:g}): its floor of "
            f"{self.floors[name]:g} may be more than any policy reaches"
            for name in ended
        ]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the logs of the multipliers, the batches seen and what the last one missed."""
        return {"logs": self.bound.logs.clone(), "seen": self.bound.seen, "missed": self.bound.missed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.bound.logs, self.bound.seen, self.bound.missed = state["logs"], int(state["seen"]), state["missed"]
