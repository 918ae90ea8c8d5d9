"""The Gaussian discriminant reward: a linear head that is solved from features of pairs, not descended to.

Features of better and worse answers are taken for Gaussian with one covariance; the log-density ratio of the two is
then linear in the features.  The trunk stays as it is, one pass over the pairs is all there is to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mora import bounds
from mora.bounds import Inside
from mora.errors import InputError
from mora.functional.covariance import SUMS, Moments, check_rows, pooled
from mora.functional.discriminant import difference_weights, pooled_weights
from mora.reward.point import Point

Form = Literal["difference", "pooled"]


@dataclass(kw_only=True)
class Discriminant(Point):
    """``reward=gda``; the fields are the keys of ``conf/reward/gda.yaml``."""

    name: ClassVar[str] = "discriminant"

    form: Form
    calibration_share: Inside  # of the training prompts, kept out of the covariance for the temperature

    def __post_init__(self) -> None:
        bounds.check(self, "reward")


class Statistics:
    """What a pass over pairs leaves of their features (B, H), per objective: sums from which the head is solved.

    The difference form keeps the moments of f_better - f_worse; prompts cancel in it.  The pooled form keeps those of
    better and of worse answers.  Sums of parts, from other batches or processes, are the sums of the whole.
    """

    def __init__(self, objectives: Sequence[str], hidden: int, form: Form) -> None:
        self.objectives, self.hidden, self.form = tuple(objectives), hidden, form
        self._begin()

    def _begin(self) -> None:
        self.parts = [self._empty() for _ in range(len(self.objectives) * self._classes)]
        self.feature_sum = torch.zeros(self.hidden, dtype=torch.float64)
        self.feature_count = torch.zeros((), dtype=torch.float64)

    @property
    def _classes(self) -> int:
        return 1 if self.form == "difference" else 2

    def _empty(self) -> Moments:
        return Moments.empty(self.hidden, torch.zeros(self.hidden, dtype=torch.float64))

    def add(self, features_0: Tensor, features_1: Tensor, labels: Tensor, labelled: Tensor) -> None:
        """Take in pairs with features (B, H) and labels (B, M): the probability that answer 1 is better.

        Ties, and pairs that an objective does not label, are left out of that objective.
        """
        first, second = features_0.double().cpu(), features_1.double().cpu()
        labels, labelled = labels.cpu(), labelled.cpu()
        self.feature_sum += (first + second).sum(0)
        self.feature_count += 2 * len(first)
        for number in range(len(self.objectives)):
            decided = labelled[:, number] & (labels[:, number] != 0.5)
            ahead = (labels[decided, number] > 0.5)[:, None]
            better = torch.where(ahead, second[decided], first[decided])
            worse = torch.where(ahead, first[decided], second[decided])
            rows = (better - worse,) if self.form == "difference" else (better, worse)
            for place, part in enumerate(rows):
                self.parts[number * self._classes + place].add(part)

    def tensors(self) -> list[Tensor]:
        """All sums, for an all-reduce; what parts share is not among them."""
        return [self.feature_sum, self.feature_count, *(part.tensors()[name] for part in self.parts for name in SUMS)]

    def include(self, tensors: Sequence[Tensor]) -> None:
        """Add the sums of another part, as ``tensors`` gave them."""
        first, second, *sums = (tensor.double().cpu() for tensor in tensors)
        self.feature_sum += first
        self.feature_count += second
        for number, part in enumerate(self.parts):
            own = dict(zip(SUMS, sums[number * len(SUMS) : (number + 1) * len(SUMS)], strict=True))
            self.parts[number] = part + Moments.of({**own, "shift": part.shift})

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {"tensors": self.tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin anew with sums that were kept."""
        self._begin()
        self.include(state["tensors"])

    def solve(self) -> tuple[Tensor, Tensor, dict[str, dict[str, Any]]]:
        """Weights (M, H) and biases (M,) of the head in fp64, and per objective what they rest on.

        The difference form has no intercept; it is centered on the mean of all features seen.
        Raises InputError for an objective with too few rows for its covariance.
        """
        weights, biases, facts = [], [], {}
        for number, name in enumerate(self.objectives):
            parts = self.parts[number * self._classes : (number + 1) * self._classes]
            count = int(sum(float(part.count) for part in parts))
            warning = _checked(name, count, self.hidden)
            if self.form == "difference":
                weight, found = difference_weights(parts[0])
                bias = -(weight @ self.feature_sum) / self.feature_count
            else:
                weight, bias = pooled_weights(*parts)
                found = {"shrinkage": pooled(*parts)[1]}
            weights.append(weight)
            biases.append(bias)
            facts[name] = {**found, "rows": int(float(parts[0].count)), "warning": warning}
        return torch.stack(weights), torch.stack(biases), facts


def _checked(name: str, count: int, hidden: int) -> str | None:
    try:
        return check_rows(count, hidden)
    except InputError as error:
        raise InputError(f"objective {name}: {error}") from None
