from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr

from mora.functional.conflicts import all_right, conflict_matrices

NAN = float("nan")


def random_pairs(pairs: int, objectives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Margins with exact zeros, labels with ties, soft labels and gaps."""
    generator = np.random.default_rng(seed)
    margins = generator.normal(size=(pairs, objectives)).round(1)
    labels = generator.choice([0.0, 1.0, 0.5, 0.2, NAN], size=margins.shape, p=[0.3, 0.3, 0.1, 0.1, 0.2])
    return margins, labels


def credit_of(margin: float, label: float) -> float:
    return 0.5 if margin == 0 else float((margin > 0) == (label > 0.5))


def average(values: list[float]) -> float:
    return sum(values) / len(values) if values else NAN


def by_brute_force(margins: np.ndarray, labels: np.ndarray, a: int, b: int) -> dict[str, float]:
    """One cell of every matrix, pair by pair."""
    kept = [
        i
        for i in range(len(margins))
        if not math.isnan(labels[i, a] + labels[i, b]) and labels[i, a] != 0.5 and labels[i, b] != 0.5
    ]
    apart = {i: (labels[i, a] > 0.5) != (labels[i, b] > 0.5) for i in kept}
    said = {i: margins[i, a] * margins[i, b] < 0 for i in kept}
    own = {i: credit_of(margins[i, a], labels[i, a]) for i in kept}
    both = {i: own[i] * (1 if a == b else credit_of(margins[i, b], labels[i, b])) for i in kept}
    return {
        "n": len(kept),
        "conflict_rate": average([apart[i] for i in kept]),
        "predicted_rate": average([said[i] for i in kept]),
        "precision": average([apart[i] for i in kept if said[i]]),
        "recall": average([said[i] for i in kept if apart[i]]),
        "joint_accuracy": average([both[i] for i in kept]),
        "joint_accuracy_on_conflicts": average([both[i] for i in kept if apart[i]]),
        "joint_accuracy_on_agreement": average([both[i] for i in kept if not apart[i]]),
        "accuracy_on_conflicts": average([own[i] for i in kept if apart[i]]),
        "accuracy_on_agreement": average([own[i] for i in kept if not apart[i]]),
        "pearson": pearsonr(margins[kept, a], margins[kept, b]).statistic,
        "kendall": kendalltau(margins[kept, a], margins[kept, b]).statistic,
    }


@pytest.mark.parametrize("objectives", [2, 4])
def test_every_cell_equals_brute_force(objectives: int) -> None:
    margins, labels = random_pairs(300, objectives)
    found = conflict_matrices(margins, labels)
    for a in range(objectives):
        for b in range(objectives):
            want = by_brute_force(margins, labels, a, b)
            assert {name: matrix[a][b] for name, matrix in found.items()} == pytest.approx(want, nan_ok=True)


def test_by_hand() -> None:
    """Pairs 0 to 3: labels (1, 1), (1, 0), (0, 0), and a tie that is left out; margins see the conflict of pair 1."""
    labels = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.5, 1.0]])
    margins = np.array([[2.0, 1.0], [1.0, -1.0], [1.0, -2.0], [1.0, 1.0]])
    found = {name: matrix[0][1] for name, matrix in conflict_matrices(margins, labels).items()}
    assert found["n"] == 3 and found["conflict_rate"] == pytest.approx(1 / 3)
    assert found["predicted_rate"] == pytest.approx(2 / 3)
    assert (found["precision"], found["recall"]) == (0.5, 1.0)
    assert found["joint_accuracy"] == pytest.approx(2 / 3)  # wrong on the first objective of pair 2
    assert (found["joint_accuracy_on_conflicts"], found["joint_accuracy_on_agreement"]) == (1.0, 0.5)
    turned = {name: matrix[1][0] for name, matrix in conflict_matrices(margins, labels).items()}
    assert (found["accuracy_on_agreement"], turned["accuracy_on_agreement"]) == (0.5, 1.0)  # row is whose accuracy


def test_what_is_symmetric_and_what_stands_on_the_diagonal() -> None:
    margins, labels = random_pairs(200, 3, seed=1)
    found = {name: np.array(matrix) for name, matrix in conflict_matrices(margins, labels).items()}
    for name, matrix in found.items():
        assert np.allclose(matrix, matrix.T, equal_nan=True) == (not name.startswith("accuracy_on")), name
    for a in range(3):
        known = [i for i in range(200) if labels[i, a] in (0.0, 1.0, 0.2)]
        own = average([credit_of(margins[i, a], labels[i, a]) for i in known])
        assert found["joint_accuracy"][a, a] == pytest.approx(own)  # equal scores are one guess there, not two
        assert (found["conflict_rate"][a, a], found["n"][a, a]) == (0.0, len(known))
        assert math.isnan(found["precision"][a, a]) and math.isnan(found["accuracy_on_conflicts"][a, a])


def test_objectives_that_share_no_pair_have_no_numbers() -> None:
    labels = np.array([[1.0, NAN], [NAN, 0.0]])
    found = conflict_matrices(np.ones((2, 2)), labels)
    assert found["n"] == [[1, 0], [0, 1]] and math.isnan(found["joint_accuracy"][0][1])


def test_all_labelled_objectives_right_equals_brute_force() -> None:
    margins, labels = random_pairs(200, 3, seed=2)
    right, count = all_right(margins, labels)
    for i in range(200):
        known = [a for a in range(3) if not math.isnan(labels[i, a]) and labels[i, a] != 0.5]
        assert count[i] == len(known)
        want = math.prod(credit_of(margins[i, a], labels[i, a]) for a in known) if known else NAN
        assert right[i] == pytest.approx(want, nan_ok=True)
