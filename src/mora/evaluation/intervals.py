"""How sure the indicators of one front are: intervals over prompts, for this trained policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.errors import InputError
from mora.evaluation.indicators import SMOOTH
from mora.functional.bootstrap import LEAST_PROMPTS, bootstrap, interval_of

Floats = NDArray[np.float64]
COVERED = "bootstrap over prompts, bias-corrected, Student's t; this trained policy, new prompts, no other seed"


def check_resamples(resamples: int) -> None:
    """Raises InputError for so few that an interval means nothing."""
    if resamples != 0 and resamples < 100:
        raise InputError(f"evaluation.resamples={resamples}: use 0 for no intervals, else at least 100")


def per_prompt(scores: Sequence[Floats], samples: int) -> Floats:
    """Mean scores (P, X, M) of each prompt, from those of its answers (B, M), which stand together, per preference."""
    return np.stack([one.reshape(-1, samples, one.shape[-1]).mean(1) for one in scores])


def with_intervals(
    indicators: Mapping[str, Any],
    scores: Floats,
    grid: Floats,
    reference_point: ArrayLike,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The indicators, those that are smooth functions of mean scores with an ``interval`` [low, high].

    ``scores`` are (P, X, M).  Without resamples, or with fewer than 8 prompts, there are no intervals.
    """
    table = {name: dict(entry) for name, entry in indicators.items()}
    if resamples == 0 or scores.shape[1] < LEAST_PROMPTS:
        return table
    (fronts,) = bootstrap([scores[None]], samples=resamples, seed=seed, new_seeds=False)
    for name, (indicator, _) in SMOOTH.items():
        values = fronts.values(lambda front, of=indicator: of(front, grid, reference_point))  # type: ignore[misc]
        found = interval_of([values], level=level, bias_corrected=True)
        table[name] |= {"interval": [found.low, found.high], "level": level, "covers": COVERED}
    return table
