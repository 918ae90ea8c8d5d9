"""The weight of the KL term, constant or steered to a target: ``algo.kl_coef``, ``algo.kl_target``, ``algo.kl_rate``.

A preference at which rewards pull harder leaves the reference policy further at one weight.  With a target the weight
is a function of the preference w,

    beta(w) = kl_coef exp(<a, w>),

and a is moved by the KL that was seen, so that fronts at one KL come out of training.  The controller is that of
Ziegler et al. 2019 (arXiv 1909.08593, eq. 2), a proportional one in log beta; one such number for each objective is
ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mora.errors import InputError

LARGEST_ERROR = 1.0  # of a relative error of the KL: one rollout moves log beta by at most the rate


@dataclass(kw_only=True)
class KLControl:
    """``beta(w)``, in reward units per nat; ``target`` is in nats per answer, and None leaves beta at ``coef``."""

    coef: float | int
    target: float | int | None
    rate: float | int
    logs: Tensor | None = field(default=None, init=False)  # a (M,)

    def __post_init__(self) -> None:
        if self.target is not None and self.coef == 0:
            raise InputError("algo.kl_coef=0 cannot be steered to algo.kl_target; set a weight to start from")

    def __call__(self, preference: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """beta of each row, in double precision."""
        logs = torch.zeros(preference.shape[-1], dtype=torch.float64) if self.logs is None else self.logs
        return self.coef * (preference.double() @ logs.to(preference.device)).exp()

    def observe(
        self, preference: Float[Tensor, "B M"], kl: Float[Tensor, " B"], total: Callable[[Tensor], Tensor]
    ) -> None:
        """Move ``a_i += rate clip(KL_i / target - 1, -1, 1)``, KL_i the mean KL of a rollout weighted by w_i.

        ``total`` sums a tensor over processes.  An objective that no row weighs keeps its a.
        """
        if self.target is None:
            return
        weighted, weights = total(torch.stack([preference.T @ kl.to(preference), preference.sum(0)]).double())
        error = (weighted / weights.clamp_min(1e-12) / self.target - 1).clamp(-LARGEST_ERROR, LARGEST_ERROR)
        step = self.rate * torch.where(weights > 0, error, 0.0).cpu()
        self.logs = step if self.logs is None else self.logs + step

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: a, or None before the first rollout."""
        return {"logs": self.logs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.logs = state["logs"]
