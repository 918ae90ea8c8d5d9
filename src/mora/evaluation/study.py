"""Statistics of several methods on the same prompts: intervals of each, differences of two, and what may be said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.evaluation.pairing import Origin, Pairing, pairing
from mora.evaluation.statistics import OfPoints
from mora.functional.bootstrap import Replicates, bootstrap, interval_of
from mora.functional.stats import Interval, holm, p_value, verdict

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]  # of mean cells (P, C)

NEW_SEEDS = "new prompts and newly trained seeds"
THESE_POLICIES = "new prompts, these trained policies"
FIXED, TOGETHER, APART = "seeds as they are", "seeds drawn for all at once", "seeds drawn for each by itself"


class Study:
    """Resampled mean cells of methods, each (S, P, X, C); prompts are drawn for all at once.

    A method with two or more seeds is resampled over seeds too; a difference is when both are.  ``origins`` (a list of
    S per method) say what each seed stands on: where the seeds of two methods are paired, they are drawn together.
    """

    def __init__(
        self,
        methods: Sequence[Floats],
        origins: Sequence[Sequence[Origin]],
        *,
        level: float,
        resamples: int,
        seed: int,
    ) -> None:
        self.level = level
        self.seeds = [len(method) for method in methods]
        self.prompts = methods[0].shape[2]
        self._cells = methods
        several = [i for i, count in enumerate(self.seeds) if count > 1]
        self._pairing = {(a, b): pairing(origins[a], origins[b]) for a, b in combinations(range(len(methods)), 2)}
        in_order = [
            method[np.argsort([origin.seed for origin in own], kind="stable")]
            for method, own in zip(methods, origins, strict=True)
        ]

        def drawn(streams: Sequence[int]) -> dict[int, Replicates]:
            chosen = [in_order[i] for i in several]
            found = bootstrap(chosen, samples=resamples, seed=seed, new_seeds=True, streams=streams) if several else []
            return dict(zip(several, found, strict=True))

        self._draws = {
            FIXED: dict(enumerate(bootstrap(methods, samples=resamples, seed=seed, new_seeds=False))),
            TOGETHER: drawn([0] * len(several)),
        }
        if not all(self._pairing[pair].paired for pair in combinations(several, 2)):
            self._draws[APART] = drawn(range(len(several)))
        self._values: dict[tuple[int, str, str], Replicates] = {}

    def covers(self, *methods: int) -> str:
        """What an interval of these methods says something about; of a difference, whether seeds were paired."""
        if not self._has_new(methods):
            return THESE_POLICIES
        return f"{NEW_SEEDS}, {self.pairing(*methods).said}" if len(methods) == 2 else NEW_SEEDS

    def pairing(self, a: int, b: int) -> Pairing:
        """Whether the seeds of two methods are paired, and why."""
        return self._pairing[min(a, b), max(a, b)]

    def _has_new(self, methods: Sequence[int]) -> bool:
        return all(method in self._draws[TOGETHER] for method in methods)

    def fronts(self, method: int) -> Replicates:
        """The mean cells of a method, with its resamples."""
        return self._draws[TOGETHER].get(method, self._draws[FIXED][method])

    def means(self, method: int) -> Floats:
        """Mean cells (P, C) over seeds and prompts."""
        return self._draws[FIXED][method].measured

    def by_seed(self, method: int) -> Floats:
        """Mean cells (S, P, C) of each seed, over prompts."""
        return np.asarray(self._cells[method].mean(2))

    def interval(self, method: int, name: str, statistic: Statistic) -> Interval:
        """Of a statistic of one method; ``name`` stands for the statistic wherever it is asked for again."""
        values = self._of(method, TOGETHER if self._has_new([method]) else FIXED, name, statistic)
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
        if not self._has_new((a, b)):
            values = [self._of(method, FIXED, name, statistic) for method in (a, b)]
        elif self.pairing(a, b).paired:
            ours, theirs = (self._of(method, TOGETHER, name, statistic) for method in (a, b))
            values = [ours.less(theirs)]
        else:
            values = [self._of(method, APART, name, statistic) for method in (a, b)]
        return interval_of(values, level=self.level, bias_corrected=True)

    def _of(self, method: int, draws: str, name: str, statistic: Statistic) -> Replicates:
        key = (method, draws, name)
        if key not in self._values:
            cells = self._draws[draws][method]
            if isinstance(statistic, OfPoints):  # many at once, as far as that goes
                self._values[key] = cells.mapped(statistic.points).values(statistic.of)
            else:
                self._values[key] = cells.values(statistic)
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
