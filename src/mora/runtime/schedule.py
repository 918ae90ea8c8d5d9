"""Learning-rate schedules as pure functions of the update number."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


def warmup_steps(share: float, steps: int) -> int:
    """The updates of a warm-up that takes a ``share`` of ``steps``; below 1 it always ends before they do."""
    return min(round(share * steps), steps - 1)


def factor(update: int, *, schedule: Schedule, warmup: int, steps: int) -> float:
    """The multiplier in [0, 1] of every learning rate at ``update`` (0 is the first).

    Warm-up: (update + 1) / warmup.  After it, with p = (update - warmup) / (steps - warmup) in [0, 1):
    linear 1 - p, cosine (1 + cos(pi p)) / 2, constant 1.  Beyond ``steps`` linear and cosine stay at 0.
    """
    if update < warmup:
        return (update + 1) / warmup
    progress = min((update - warmup) / max(steps - warmup, 1), 1.0)
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if schedule == "constant":
        return 1.0
    raise ValueError(f"schedule must be linear, cosine or constant, not {schedule!r}")
