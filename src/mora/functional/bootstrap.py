"""Intervals for any statistic of a front, from resampled prompts and training seeds.

``scores`` of one run is ``(S, P, X, M)``: S training seeds, P preferences, X prompts, M objectives, each entry the mean
over the samples of that prompt.  Its mean front (P, M) is the mean over seeds and prompts, and a statistic is a number
of that front; of a run with several seeds it is thus a number of their average front, not the average of their numbers.
Runs that are compared share their prompts (and random numbers).  Their seeds are independent, or paired: seed s of one
run and seed s of the other share what they stand on (data, starting policy), so that they are drawn together.

What is covered.  With ``new_seeds=False``: new prompts, these trained policies; whatever luck a seed had stays in.
With ``new_seeds=True``: new prompts and newly trained seeds, at least two per run; with two or three the quantile of
Student's t is large, and rightly so.

How.  Draws scaled to unbiased variances (Rao and Wu, 1988) give the bias and the standard error; Student's t at
Satterthwaite's degrees of freedom (1946) gives the width: center +- t * se, center = 2 * estimate - mean(draws).
Percentile intervals do not cover here: the best of noisy points is too good, resamples are better still, and the
interval moves up where it should move down.  ``benchmarks/interval_coverage.py`` measures both.

Limits.  At least 8 prompts; up to 16, and with scores skewed like an exponential, a nominal 95 % is 91 to 94 % for one
run.  Points that are all equal but for noise of their own make a corner that the bias correction reaches only half way.
A statistic that jumps (Kendall's tau, shares of violations) has no bias worth estimating: ``bias_corrected=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora.functional.stats import Interval

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]  # of a mean front (P, M)

LEAST_PROMPTS = 8


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Of one run: its mean front, resampled ones, and those with something left out; or a statistic of each of them.

    As fronts each array ends in (P, M); as values it does not.  The last two serve new seeds and are empty without.
    """

    measured: Floats  # ()
    resampled: Floats  # (D,)
    without_cell: Floats  # (S, X): seed s lacks prompt x
    without_seed: Floats  # (S,)
    prompts: int

    def values(self, statistic: Statistic) -> Replicates:
        """The statistic of every front.  Raises ``ValueError`` where it is not finite."""

        def each(fronts: Floats) -> Floats:
            flat = fronts.reshape(-1, *fronts.shape[-2:])
            return np.array([statistic(front) for front in flat], dtype=np.float64).reshape(fronts.shape[:-2])

        return self.mapped(each)

    def mapped(self, statistic: Callable[[Floats], Floats]) -> Replicates:
        """As ``values``, by a statistic that takes many fronts (..., P, M) at once and returns (...)."""
        arrays = [
            np.asarray(statistic(a)) for a in (self.measured, self.resampled, self.without_cell, self.without_seed)
        ]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("the statistic is not finite on a resampled front")
        return self._of(arrays)

    def less(self, other: Replicates) -> Replicates:
        """This statistic less that of a run whose seeds are paired with this one's: one study of their differences.

        Raises ``ValueError`` for runs of other sizes.
        """
        pairs = [
            (self.measured, other.measured),
            (self.resampled, other.resampled),
            (self.without_cell, other.without_cell),
            (self.without_seed, other.without_seed),
        ]
        if any(ours.shape != theirs.shape for ours, theirs in pairs):
            raise ValueError("only runs with the same number of seeds, prompts and draws can be paired")
        return self._of([np.asarray(ours - theirs) for ours, theirs in pairs])

    def _of(self, arrays: Sequence[Floats]) -> Replicates:
        measured, resampled, without_cell, without_seed = arrays
        return Replicates(
            measured=measured,
            resampled=resampled,
            without_cell=without_cell,
            without_seed=without_seed,
            prompts=self.prompts,
        )


def bootstrap(
    runs: Sequence[ArrayLike], *, samples: int, seed: int, new_seeds: bool, streams: Sequence[int] | None = None
) -> list[Replicates]:
    """The mean fronts of each run, resampled ``samples`` times: the same prompts for all runs and preferences.

    A draw is the measured front, plus the change by X prompts drawn with replacement times sqrt(X / (X - 1)), plus,
    with ``new_seeds``, the change by S seeds of that run drawn with replacement times sqrt(S / (S - 1)).  So variances
    over draws are unbiased for means.  Draws are a function of ``seed``; those of prompts do not depend on the runs,
    those of seeds are the same for runs of one of the ``streams`` (None: each has its own) with as many seeds.
    Raises ``ValueError`` for a shape that is no (S, P, X, M), values that are not finite, runs with different prompts,
    fewer than 8 prompts, ``samples`` < 2, and a run with one seed when ``new_seeds``.
    """
    arrays = [_scores(run, number, new_seeds) for number, run in enumerate(runs)]
    of_run = range(len(arrays)) if streams is None else streams
    if len({array.shape[2] for array in arrays}) != 1 or samples < 2:
        shapes = [array.shape for array in arrays]
        raise ValueError(f"need runs with the same prompts and at least 2 samples, got {shapes} and {samples}")
    prompts = _changes(arrays[0].shape[2], samples, np.random.default_rng([seed, 0]))
    return [
        _replicates(array, prompts, np.random.default_rng([seed, 1 + stream]) if new_seeds else None)
        for stream, array in zip(of_run, arrays, strict=True)
    ]


def _scores(run: ArrayLike, number: int, new_seeds: bool) -> Floats:
    scores = np.asarray(run, dtype=np.float64)
    if scores.ndim != 4 or 0 in scores.shape:
        raise ValueError(f"scores of run {number} must be (S, P, X, M), got shape {scores.shape}")
    if not np.isfinite(scores).all():
        where = np.argwhere(~np.isfinite(scores))[0].tolist()
        raise ValueError(f"scores of run {number} must be finite; (seed, preference, prompt, objective) {where} is not")
    if scores.shape[2] < LEAST_PROMPTS:
        raise ValueError(f"{scores.shape[2]} prompts are too few for an interval, at least {LEAST_PROMPTS} are needed")
    if new_seeds and scores.shape[0] < 2:
        raise ValueError(f"run {number} has one seed, which tells nothing of new seeds; see new_seeds")
    return scores


def _changes(count: int, samples: int, generator: np.random.Generator) -> Floats:
    """Weights (D, count) that sum to 0: what a resample adds to a mean, scaled to an unbiased variance."""
    drawn = generator.integers(0, count, (samples, count)) + count * np.arange(samples)[:, None]
    weights = np.bincount(drawn.ravel(), minlength=samples * count).reshape(samples, count) / count
    return np.asarray((weights - 1 / count) * sqrt(count / (count - 1)))


def _replicates(scores: Floats, prompts: Floats, generator: np.random.Generator | None) -> Replicates:
    seeds, points, _, objectives = scores.shape
    by_prompt, by_seed = scores.mean(0), scores.mean(2)  # (P, X, M), (S, P, M)
    front = by_seed.mean(0)
    resampled = front + np.moveaxis(np.tensordot(prompts, by_prompt, axes=([1], [1])), 1, 1)
    without_cell, without_seed = np.empty((0, 0, points, objectives)), np.empty((0, points, objectives))
    if generator is not None:
        resampled = resampled + np.tensordot(_changes(seeds, len(prompts), generator), by_seed, axes=1)
        lacking = (by_seed[:, :, None] - scores) / ((scores.shape[2] - 1) * seeds)  # (S, P, X, M)
        without_cell = front + np.moveaxis(lacking, 2, 1)
        without_seed = front + (front - by_seed) / (seeds - 1)
    return Replicates(
        measured=front,
        resampled=resampled,
        without_cell=without_cell,
        without_seed=without_seed,
        prompts=scores.shape[2],
    )


def interval(
    scores: ArrayLike,
    statistic: Statistic,
    *,
    level: float,
    samples: int,
    seed: int,
    new_seeds: bool,
    bias_corrected: bool,
) -> Interval:
    """Interval of coverage ``level`` for a statistic of the mean front of one run.

    ``statistic`` is called about ``samples`` times, and S * X times more with ``new_seeds``.
    Raises ``ValueError`` as ``bootstrap`` does, for a level outside (0, 1) and a statistic that is not finite.
    """
    (fronts,) = bootstrap([scores], samples=samples, seed=seed, new_seeds=new_seeds)
    return interval_of([fronts.values(statistic)], level=level, bias_corrected=bias_corrected)


def difference_interval(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    statistic: Statistic,
    *,
    level: float,
    samples: int,
    seed: int,
    new_seeds: bool,
    paired_seeds: bool,
    bias_corrected: bool,
) -> Interval:
    """Interval of coverage ``level`` for statistic(A) - statistic(B) of two runs on the same prompts.

    Prompts are drawn for both at once; seeds for each by itself, or with ``paired_seeds`` for both at once, too.  P may
    differ, and S where seeds are not paired.
    Raises ``ValueError`` as ``interval`` does, and when the prompts, or paired seeds, differ in number.
    """
    streams = (0, 0) if paired_seeds else (0, 1)
    runs = bootstrap([scores_a, scores_b], samples=samples, seed=seed, new_seeds=new_seeds, streams=streams)
    a, b = (run.values(statistic) for run in runs)
    return interval_of([a.less(b)] if paired_seeds else [a, b], level=level, bias_corrected=bias_corrected)


def interval_of(values: Sequence[Replicates], *, level: float, bias_corrected: bool) -> Interval:
    """Interval from a statistic of the replicates of one run, or of two with independent seeds for their difference.

    Paired seeds are one run of differences: ``Replicates.less``.

    With new seeds both kinds of draws hold the noise of single cells (a seed's answers to a prompt), so bias and
    variance are scaled to count it once.  The scale and the degrees of freedom are those of a crossed analysis of
    variance of jackknife values, where a negative component of seeds is taken as 0, and never fewer degrees than the
    smallest number of prompts or seeds has.
    Raises ``ValueError`` for a level outside (0, 1) and for a number of runs other than 1 or 2.
    """
    if not 0 < level < 1 or len(values) not in (1, 2):
        raise ValueError(f"need 0 < level < 1 and one or two runs, got {level} and {len(values)}")
    signed = list(zip((1.0, -1.0), values, strict=False))
    estimate = float(sum(sign * run.measured for sign, run in signed))
    draws = np.asarray(sum(sign * run.resampled for sign, run in signed))
    scale, degrees = _components(signed)
    bias = scale * (float(draws.mean()) - estimate) if bias_corrected else 0.0
    return Interval(
        estimate=estimate,
        center=estimate - bias,
        standard_error=sqrt(scale) * float(draws.std(ddof=1)),
        degrees_of_freedom=degrees,
        level=level,
    )


def _components(signed: Sequence[tuple[float, Replicates]]) -> tuple[float, float]:
    """Share of the variance of the draws that counts cells once, and the degrees of freedom of what remains."""
    prompts = signed[0][1].prompts
    if signed[0][1].without_seed.size == 0:  # seeds are held fixed
        return 1.0, prompts - 1.0
    influence, of_seeds, counted, squares = np.zeros(prompts), 0.0, 0.0, 0.0
    for sign, run in signed:
        seeds = len(run.without_seed)
        cells = (prompts - 1) * (run.measured - run.without_cell)  # (S, X): a cell's part in the statistic
        cells = cells - cells.mean(1, keepdims=True)
        influence += sign * cells.sum(0)
        between = (seeds - 1) / seeds * float(((run.without_seed - run.without_seed.mean()) ** 2).sum())
        within = float(((cells - cells.mean(0)) ** 2).sum()) * seeds / ((seeds - 1) * (prompts - 1) * prompts)
        of_seeds += between
        if between > within:
            counted += between - within
            squares += between**2 / (seeds - 1) + within**2 / ((seeds - 1) * (prompts - 1))
    of_prompts = float((influence**2).sum()) / (prompts * (prompts - 1))
    squares += of_prompts**2 / (prompts - 1)
    total, fewest = of_prompts + counted, min(prompts, *(len(run.without_seed) for _, run in signed)) - 1.0
    if total == 0:  # nothing left out changes the statistic
        return 1.0, fewest
    return total / (of_prompts + of_seeds), max(total**2 / squares, fewest)
