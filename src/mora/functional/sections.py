"""Scores of a benchmark in sections: credit per row, count-weighted means per section, a plain mean over sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def top_credit(chosen: Sequence[float], rejected: Sequence[float]) -> tuple[float, float]:
    """What the scores of one row's right and wrong answers earn, as (strict, shared).

    ``strict``: 1 when every right answer that shares the highest score shares it with right ones only, so that a tie
    with a wrong answer is wrong (RewardBench, Lambert et al. 2024, for pairs).  ``shared``: the share of right answers
    among those with the highest score, the chance that a pick among them is right: 1/2 for a tie of a pair, and with
    one right answer among N, 1 / (number tied) as in RewardBench 2 (Malik et al. 2025).
    Raises ``ValueError`` without a right or without a wrong answer, and for scores that are not finite.
    """
    if not len(chosen) or not len(rejected) or not np.isfinite([*chosen, *rejected]).all():
        raise ValueError(f"need finite scores of right and wrong answers, got {list(chosen)} and {list(rejected)}")
    top = max(*chosen, *rejected)
    right, wrong = sum(score == top for score in chosen), sum(score == top for score in rejected)
    return float(wrong == 0), right / (right + wrong)


def coefficients(subsets: Sequence[str], members: Sequence[str], weights: Mapping[str, float | int]) -> Floats:
    """What each row (n,) counts in a section: w_s / (sum of w over subsets with rows) / n_s; they sum to 1.

    ``subsets`` (n,) names the subset of each row, ``members`` those of the section; a subset without an entry in
    ``weights`` weighs as many as its rows.  The section's score is the dot product with the rows' credit: the
    count-weighted mean of the accuracies of its subsets.  All 0 for a section without rows.
    """
    names = np.asarray(subsets, dtype=object)
    found = np.zeros(len(names))
    present = [name for name in dict.fromkeys(members) if bool((names == name).any())]
    counts = {name: int((names == name).sum()) for name in present}
    total = sum(weights.get(name, counts[name]) for name in present)
    for name in present:
        found[names == name] = weights.get(name, counts[name]) / total / counts[name]
    return found


def stratified_stderr(coefficient: Floats, credit: Floats, strata: Sequence[str], clusters: Sequence[int]) -> float:
    """Standard error of ``coefficient . credit`` when the subsets are fixed and prompts are drawn within them.

    ``sqrt( G/(G-1) * sum_g ( sum_{i in g} c_i (x_i - mean of its subset) )^2 )`` over the G prompts that count: the
    linearized variance of a stratified mean with clusters.  For one subset it is ``stats.clustered_stderr``.  A subset
    of one row adds nothing.  NaN for fewer than two prompts.
    """
    names, kept = np.asarray(strata, dtype=object), coefficient > 0
    residual = np.zeros(len(credit))
    for name in set(names[kept]):
        own = (names == name) & kept
        residual[own] = coefficient[own] * (credit[own] - credit[own].mean())
    _, index = np.unique(np.asarray(clusters)[kept], return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    if count < 2:
        return float("nan")
    sums = np.bincount(index, residual[kept])
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()))
