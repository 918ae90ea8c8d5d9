"""What a Lagrangian learns of its floors while it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(kw_only=True)
class Floors:
    """By column of rewards (M,): floors in units of training, -inf where there is none, and their multipliers.

    F is the number of polynomials in the preference that the log of a multiplier is a sum of: ``log lambda_j(w) = sum_f
    a_jf B_f(w)``; 1 where there is one preference.
    """

    objectives: tuple[str, ...]
    floored: Tensor
    floors: Tensor
    logs: Tensor  # (M, F): a_jf
    one: bool  # whether there is one preference, and F is 1
    taken: Tensor  # (2, M): off the mean of the last batch, per deviation and in any case
    moments: Tensor = field(default_factory=lambda: torch.empty(0))  # (2, M, F): means of rewards and of their squares
    missed: Tensor | None = None  # (M, F)
    seen: int = 0
