"""The preferences that an evaluation asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mora.errors import InputError
from mora.functional.pareto import default_grid
from mora.functional.preference import checked


def preference_grid(given: list[list[float]] | None, objectives: Sequence[str]) -> NDArray[np.float64]:
    """``evaluation.preferences``, or the default grid: (P, M).  Raises InputError for no preference or a double one."""
    if given is None:
        return default_grid(len(objectives))
    grid: NDArray[np.float64] = checked(given, objectives, "evaluation.preferences").double().numpy()
    if len(np.unique(grid, axis=0)) < len(grid):
        raise InputError("evaluation.preferences: one preference is named twice; name each once")
    return grid


def steering_grid(floored: Sequence[int], objectives: int) -> list[list[float]]:
    """The default grid over the objectives without a floor; the weights of the others are 0."""
    places = [place for place in range(objectives) if place not in floored]
    drawn = default_grid(len(places))
    grid = np.zeros((len(drawn), objectives))
    grid[:, places] = drawn
    return [list(map(float, one)) for one in grid]
