"""What policies are worth, exactly, and the best of them: utilities and optima over all responses.  No sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mora.errors import InputError
from mora.functional import tilting
from mora.functional.lagrangian import Lagrangian
from mora.functional.scalarize import Sharing

Floats = NDArray[np.float64]
OF_EXPECTATIONS: dict[Sharing, tuple[Callable[..., tilting.Solution], Callable[..., float]]] = {
    "preference": (tilting.tchebycheff_expected_optimum, tilting.tchebycheff_expected_utility),
    "prompt": (tilting.tchebycheff_prompt_optimum, tilting.tchebycheff_prompt_utility),
}  # optimum and utility, by what the scalarizer takes means over


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Everything that decides what a policy is worth: X prompts, Y responses, M objectives."""

    ref_logps: Floats  # (X, Y)
    rewards: Floats  # (X, Y, M), in standard deviations of the reference policy
    scalarize: Any
    kl_coef: float

    def optimum(self, preference: Floats) -> tilting.Solution:
        """The best policy at a preference (M,)."""
        if isinstance(self.scalarize, Lagrangian):
            gains, floors = self._free_gains(preference), self.scalarize.bound.floors.numpy()
            try:
                return tilting.constrained_optimum(
                    self.ref_logps, self.rewards, gains, floors=floors, kl_coef=self.kl_coef
                )
            except ValueError as error:
                asked = ", ".join(f"{name} at least {floor:g}" for name, floor in self.scalarize.floors.items())
                raise InputError(
                    f"scalarize.floors: no policy reaches {asked} on these prompts ({error}, in units of training), so "
                    "there is no optimum to compare with; measure the run with evaluation=front"
                ) from error
        if self.scalarize.expects:
            solve, _ = OF_EXPECTATIONS[self.scalarize.expects]
            return solve(self.ref_logps, self.rewards, preference, kl_coef=self.kl_coef, **self._tchebycheff())
        return tilting.response_optimum(self.ref_logps, self._gains(preference), self.rewards, kl_coef=self.kl_coef)

    def utility(self, logps: Floats, preference: Floats, best: tilting.Solution) -> float:
        """The exact utility of a policy (X, Y) at a preference (M,), in reward units; ``best`` is the optimum there.

        Under constraints it is the Lagrangian at the optimum's multipliers mu, ``E <w, r> + sum_j mu_j (E r_j - d_j) -
        beta KL``, which no policy makes larger than the optimum does, whether it keeps the floors or not.
        """
        if isinstance(self.scalarize, Lagrangian):
            assert best.multipliers is not None
            bound = self.scalarize.bound.floored.numpy()
            slack = tilting.expected(logps, self.rewards)[bound] - self.scalarize.bound.floors.numpy()[bound]
            free = tilting.response_utility(logps, self.ref_logps, self._free_gains(preference), kl_coef=self.kl_coef)
            return free + float(best.multipliers[bound] @ slack)
        if self.scalarize.expects:
            _, value = OF_EXPECTATIONS[self.scalarize.expects]
            return value(logps, self.ref_logps, self.rewards, preference, kl_coef=self.kl_coef, **self._tchebycheff())
        return tilting.response_utility(logps, self.ref_logps, self._gains(preference), kl_coef=self.kl_coef)

    def _free_gains(self, preference: Floats) -> Floats:
        """The weighted reward (X, Y) of the objectives that no floor is under."""
        weights = self.scalarize.free(torch.from_numpy(preference)[None])[0]
        return np.asarray(self.rewards @ weights.numpy())

    def _gains(self, preference: Floats) -> Floats:
        """The gain of every response (X, Y), by the function that training uses."""
        rows = torch.from_numpy(self.rewards).flatten(0, 1)
        weights = torch.from_numpy(preference).expand(len(rows), -1)
        return np.asarray(self.scalarize(rows, weights).view(self.rewards.shape[:2]).numpy())

    def _tchebycheff(self) -> dict[str, Any]:
        ideal = np.broadcast_to(np.asarray(self.scalarize.ideal, dtype=np.float64), self.rewards.shape[-1:])
        return {"ideal": ideal, "augment": self.scalarize.augment}
