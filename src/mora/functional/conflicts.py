"""Objectives that pull apart on the same pairs: how often, whether the model sees it, and what it is worth there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mora.functional.correlation import kendall, mean, pearson
from mora.functional.pairs import credits

Floats = NDArray[np.float64]
Number = float | int
Table = dict[str, list[list[Number]]]


def conflict_matrices(margins: Floats, labels: Floats) -> Table:
    """Every two of M objectives, on the pairs that both label without a tie, as M x M matrices.

    ``margins`` (n, M) are score differences, answer 1 less answer 0; ``labels`` (n, M) the probabilities that answer 1
    is better, NaN where an objective does not label the pair.  Two objectives conflict where their labels favor
    different answers; the model says so where its margins have different signs, neither being 0.

    ``n`` pairs; ``conflict_rate`` of labels and ``predicted_rate`` of margins; ``precision`` and ``recall`` of the
    prediction; ``joint_accuracy``: both ordered right, equal scores counting as a guess, also ``_on_conflicts`` and
    ``_on_agreement``; ``accuracy_on_conflicts`` and ``accuracy_on_agreement``: row a, column b is the accuracy of a on
    the pairs where it conflicts, or agrees, with b; ``pearson`` and ``kendall`` (tau-b) of the margins.  On the
    diagonal an objective stands beside itself.  NaN where nothing is left to count.
    Raises ValueError for a margin of a labelled pair that is not finite.
    """
    credit, known = _known(margins, labels)
    sides = np.sign(labels - 0.5)

    def cell(a: int, b: int) -> dict[str, Number]:
        kept = known[:, a] & known[:, b]
        apart = sides[kept, a] != sides[kept, b]
        first, second = margins[kept, a], margins[kept, b]
        said = np.sign(first) * np.sign(second) < 0
        own = credit[kept, a]
        both = own if a == b else own * credit[kept, b]
        return {
            "n": int(kept.sum()),
            "conflict_rate": mean(apart),
            "predicted_rate": mean(said),
            "precision": mean(apart[said]),
            "recall": mean(said[apart]),
            "joint_accuracy": mean(both),
            "joint_accuracy_on_conflicts": mean(both[apart]),
            "joint_accuracy_on_agreement": mean(both[~apart]),
            "accuracy_on_conflicts": mean(own[apart]),
            "accuracy_on_agreement": mean(own[~apart]),
            "pearson": pearson(first, second),
            "kendall": kendall(first, second),
        }

    count = margins.shape[1]
    cells = [[cell(a, b) for b in range(count)] for a in range(count)]
    return {name: [[entry[name] for entry in row] for row in cells] for name in cells[0][0]}


def all_right(margins: Floats, labels: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Whether every objective that labels a pair is ordered right (n,), and how many label it without a tie (n,).

    Arguments and errors as in :func:`conflict_matrices`.  Equal scores count as a guess on each objective; NaN where
    none labels the pair.
    """
    credit, known = _known(margins, labels)
    count = known.sum(1)
    return np.where(count > 0, np.where(known, credit, 1.0).prod(1), np.nan), count


def _known(margins: Floats, labels: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Credit of each pair on each objective, and where a label favors one of the two."""
    known = np.isfinite(labels) & (labels != 0.5)
    if not np.isfinite(margins[known]).all():
        raise ValueError("margins of labelled pairs must be finite numbers")
    return credits(margins, labels), known
