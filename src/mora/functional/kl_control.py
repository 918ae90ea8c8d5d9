"""The weight of the KL term, constant (``algo.kl_coef``) or steered to a target (``algo.kl_target``).

A preference at which rewards pull harder leaves the reference policy further at one weight.  With a target the weight
is a function of the preference w,

    beta(w) = kl_coef exp(sum_f a_f B_f(w)),

with Bernstein polynomials B_f, and a is moved by the KL that was seen, so that fronts at one KL come out of training.
The controller is that of Ziegler et al. 2019 (arXiv 1909.08593, eq. 2), a proportional one in log beta; a function of
the preference is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mora.errors import InputError
from mora.functional.bernstein import bernstein

LARGEST_ERROR = 1.0  # of a relative error of the KL: one rollout moves log beta by at most the rate


@dataclass(kw_only=True)
class KLControl:
    """``beta(w)``, in reward units per nat; ``target`` is in nats per answer, and None leaves beta at ``coef``."""

    coef: float | int
    target: float | int | None
    rate: float | int
    degree: int
    logs: Tensor | None = field(default=None, init=False)  # a (F,)

    def __post_init__(self) -> None:
        if self.target is not None and self.coef == 0:
            raise InputError("algo.kl_coef=0 cannot be steered to algo.kl_target; set a weight to start from")

    def __call__(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """beta of each row, in double precision."""
        if self.logs is None:
            return torch.full((len(preference),), self.coef, dtype=torch.float64, device=preference.device)
        return self.coef * (bernstein(preference, self.degree) @ self.logs.to(preference.device)).exp()

    def observe(
        self, preference: Float[Tensor, "B M"], kl: Float[Tensor, " B"], total: Callable[[Tensor], Tensor]
    ) -> None:
        """Move ``a_f += rate clip(KL_f / target - 1, -1, 1)``, KL_f the mean KL of a rollout weighted by B_f(w).

        ``total`` sums a tensor over processes.  A polynomial that is 0 in all rows keeps its coefficient.
        """
        if self.target is None:
            return
        basis = bernstein(preference, self.degree)
        weighted, weights = total(torch.stack([basis.T @ kl.double(), basis.sum(0)])).cpu()
        error = (weighted / weights.clamp_min(1e-12) / self.target - 1).clamp(-LARGEST_ERROR, LARGEST_ERROR)
        step = self.rate * torch.where(weights > 0, error, 0.0)
        self.logs = step if self.logs is None else self.logs + step

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: a, or None before the first rollout."""
        return {"logs": self.logs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.logs = state["logs"]
