"""Statistics of several methods on the same prompts: intervals of each, differences of two, and what may be said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.functional.bootstrap import Replicates, bootstrap, interval_of
from mora.functional.stats import Interval, holm, p_value, verdict

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]  # of mean cells (P, C)

NEW_SEEDS = "new prompts and newly trained seeds"
THESE_POLICIES = "new prompts, these trained policies"


class Study:
    """Resampled mean cells of methods, each (S, P, X, C); prompts are drawn for all at once.

    A method with two or more seeds is resampled over seeds too; a difference is when both are.
    """

    def __init__(self, methods: Sequence[Floats], *, level: float, resamples: int, seed: int) -> None:
        self.level = level
        self.seeds = [len(method) for method in methods]
        self._cells = methods
        fixed = bootstrap(methods, samples=resamples, seed=seed, new_seeds=False)
        self._fixed = dict(enumerate(fixed))
        several = [i for i, count in enumerate(self.seeds) if count > 1]
        drawn = (
            bootstrap([methods[i] for i in several], samples=resamples, seed=seed, new_seeds=True) if several else []
        )
        self._new = dict(zip(several, drawn, strict=True))
        self._values: dict[tuple[int, bool, str], Replicates] = {}

    def covers(self, *methods: int) -> str:
        """What an interval of these methods says something about."""
        return NEW_SEEDS if self._has_new(methods) else THESE_POLICIES

    def _has_new(self, methods: Sequence[int]) -> bool:
        return all(method in self._new for method in methods)

    def fronts(self, method: int) -> Replicates:
        """The mean cells of a method, with its resamples."""
        return self._new.get(method, self._fixed[method])

    def means(self, method: int) -> Floats:
        """Mean cells (P, C) over seeds and prompts."""
        return self._fixed[method].measured

    def by_seed(self, method: int) -> Floats:
        """Mean cells (S, P, C) of each seed, over prompts."""
        return np.asarray(self._cells[method].mean(2))

    def interval(self, method: int, name: str, statistic: Statistic) -> Interval:
        """Of a statistic of one method; ``name`` stands for the statistic wherever it is asked for again."""
        values = self._of(method, method in self._new, name, statistic)
        return interval_of([values], level=self.level, bias_corrected=True)

    def margins(self, method: int, mean: Callable[[Floats], Floats]) -> Floats:
        """Half widths of the intervals of several means at once: of each entry of ``mean`` of cells (..., P, C)."""
        fronts = self.fronts(method)
        shape = mean(fronts.measured).shape
        size = int(np.prod(shape))
        means = fronts.mapped(lambda cells: mean(cells).reshape(*cells.shape[:-2], size))
        found = [
            interval_of([means.mapped(itemgetter((..., i)))], level=self.level, bias_corrected=False)
            for i in range(size)
        ]
        return np.array([one.high - one.low for one in found]).reshape(shape) / 2

    def difference(self, a: int, b: int, name: str, statistic: Statistic) -> Interval:
        """Of the statistic of ``a`` less that of ``b``."""
        new = self._has_new((a, b))
        values = [self._of(method, new, name, statistic) for method in (a, b)]
        return interval_of(values, level=self.level, bias_corrected=True)

    def _of(self, method: int, new: bool, name: str, statistic: Statistic) -> Replicates:
        key = (method, new, name)
        if key not in self._values:
            self._values[key] = (self._new if new else self._fixed)[method].values(statistic)
        return self._values[key]


def entry(interval: Interval) -> dict[str, Any]:
    """An interval beside the value that was measured."""
    return {"value": interval.estimate, "interval": [interval.low, interval.high]}


def verdicts(differences: Mapping[Any, Interval]) -> dict[Any, dict[str, Any]]:
    """For each difference its interval, p-value, the same after Holm's correction over all of them, and the verdict."""
    raw = [p_value(interval, 0.0) for interval in differences.values()]
    found = {}
    for (key, interval), p, adjusted in zip(differences.items(), raw, holm(raw), strict=True):
        found[key] = {
            "difference": interval.estimate,
            "interval": [interval.low, interval.high],
            "p": p,
            "p_holm": float(adjusted),
            "verdict": verdict(interval, float(adjusted)),
        }
    return found
