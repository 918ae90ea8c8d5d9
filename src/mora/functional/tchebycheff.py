"""Tchebycheff of expectations by learned weights: ``scalarize=tchebycheff_learned``.

    max over policies of  min_i w_i (E r_i - z_i) - beta KL   =   max over policies, min over mu in the simplex, of
    sum_i mu_i w_i (E r_i - z_i) - beta KL

(the minimum of numbers is that of their convex combinations, and the order does not matter: von Neumann 1928).  Given
mu the gain is linear in the rewards, so that each row has a preference of its own and a critic one output per
objective.  mu(w) is piecewise linear in the preference: a point of the simplex at each point of a lattice, in which the
problem is linear, learned by projected gradient descent.  Where one objective is worst off at every policy near the
best, its mu is 1; where the best policy keeps several level, at the kink of the minimum, mu lies between, and no batch
has to tell which is worst off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mora import bounds
from mora.bounds import Count, NonNegative, Number
from mora.functional.bernstein import exponents
from mora.functional.lattice import hats, projected
from mora.functional.scalarize import Learned, Sharing, least_expected, weighted_gaps


@dataclass(kw_only=True)
class TchebycheffLearned(Learned):
    """``gain = sum_i (mu_i + rho) w_i r_i``, divided by the sum of its weights; the fields are keys of
    ``conf/scalarize/tchebycheff_learned.yaml``.

    ``mu_i(w) = sum_f a_if h_f(w)`` with the hats of a lattice of so many ``steps`` from one objective to another.  The
    divisor changes the size of a step and not its direction: the price of a nat is
    divided with the gain.  The utility is that of :class:`~mora.functional.scalarize.TchebycheffExpected`.
    """

    premise = "scalarize=tchebycheff_learned compares mean rewards with an ideal"
    ideal: Number | list[Number]
    augment: NonNegative
    lr: NonNegative
    steps: Count
    _learned: _Weights | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        bounds.check(self, "scalarize")

    def bind(self, objectives: Sequence[str], units: Callable[[Tensor], Tensor], *, one: bool) -> None:
        """Say what the columns of rewards are, and whether all rows will have ``one`` preference."""
        size = 1 if one else len(exponents(len(objectives), self.steps))
        shares = torch.full((len(objectives), size), 1 / len(objectives), dtype=torch.float64)
        self._learned = _Weights(objectives=tuple(objectives), shares=shares, one=one)

    @property
    def expects(self) -> Sharing:
        """The utility is one of expectations over all prompts."""
        return "preference"

    def utility(self, expected: Float[Tensor, "X M"], preference: Float[Tensor, " M"]) -> Float[Tensor, ""]:
        """``min_i w_i (E r_i - z_i) + rho sum_i w_i (E r_i - z_i)``, from the known expectations of each prompt."""
        return least_expected(expected.mean(0, keepdim=True), preference, self.ideal, self.augment)[0]

    @property
    def learned(self) -> _Weights:
        """mu at the points of the lattice.  Raises RuntimeError before :meth:`bind`."""
        if self._learned is None:
            raise RuntimeError("a Tchebycheff gain was asked before it was told what the columns of rewards are")
        return self._learned

    def worst(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """mu of each row, in double precision."""
        return self._basis(preference) @ self.learned.shares.to(preference.device).T

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
        """A stream per objective; the weights of a row sum to 1."""
        weights = self._weights(preference)
        return rewards, (weights / weights.sum(-1, keepdim=True)).to(rewards)

    def kl_weights(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """What the price of a nat is multiplied by beside the gain of each row."""
        return 1 / self._weights(preference).sum(-1)

    def observe(
        self, rewards: Float[Tensor, "B M"], preference: Float[Tensor, "B M"], total: Callable[[Tensor], Tensor]
    ) -> None:
        """A step of projected gradient descent on mu from the rewards of a fresh batch; ``total`` sums over processes.

        ``a_f = P(a_f - lr mean_f (w_i (r_i - z_i)))``, the mean weighted by the hat h_f(w), P the projection onto the
        simplex: mu rises where an objective lies further below its ideal, and once at 0 or 1 winds up no further.
        Raises ValueError where a mean reward of the batch lies above the ideal.
        """
        basis = self._basis(preference)
        z = torch.as_tensor(self.ideal, dtype=torch.float64, device=rewards.device).expand(rewards.shape[-1])
        gaps = preference.double() * (rewards.double() - z)
        sums = total(torch.cat([gaps.T @ basis, rewards.double().T @ basis, basis.sum(0)[None]])).cpu()
        half = gaps.shape[1]
        slopes, scores, count = sums[:half], sums[half:-1], sums[-1]
        means = scores.sum(1, keepdim=True).T / count.sum()
        weighted_gaps(means, torch.ones_like(means), self.ideal)  # refuses means that are above it
        self.learned.shares = projected(self.learned.shares - self.lr * slopes / count.clamp_min(1e-12))

    def metrics(self) -> dict[str, float]:
        """mu of each objective where all have the same weight."""
        even = torch.full((1, len(self.learned.objectives)), 1 / len(self.learned.objectives))
        return {
            f"worst_off/{name}": float(share)
            for name, share in zip(self.learned.objectives, self.worst(even)[0], strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: mu at the points of the lattice."""
        return {"shares": self.learned.shares.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.learned.shares = state["shares"]

    def _weights(self, preference: Tensor) -> Tensor:
        return (self.worst(preference) + self.augment) * preference.double()

    def _basis(self, preference: Tensor) -> Tensor:
        """Hats (B, F), or 1 where there is one preference."""
        return torch.ones_like(preference[:, :1]).double() if self.learned.one else hats(preference, self.steps)


@dataclass(kw_only=True)
class _Weights:
    """mu at each point of the lattice: M objectives, F points."""

    objectives: tuple[str, ...]
    shares: Tensor  # (M, F): a_if
    one: bool  # whether there is one preference, and F is 1
