"""Several floors at once: Holm and the union bound by hand, tails, and where a claim holds between preferences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from mora.functional.safety_test import Question, answers, intervals

RANDOM = np.random.default_rng(2)
QUESTIONS = [Question(scores=RANDOM.normal(mean, 1.0, 40), floor=0.0) for mean in (0.55, 0.4, 0.3, -0.4)]


def alone() -> list[float]:
    return [float(ttest_1samp(q.scores, 0.0, alternative="greater").pvalue) for q in QUESTIONS]


def test_holm_steps_down_and_the_union_bound_does_not():
    """By hand: sorted p-values against delta / 4, / 3, / 2, / 1, up to the first that is larger."""
    p = sorted(alone())
    delta = 3 * (p[1] + p[1] * 0.2)  # the second passes at delta / 3, and not at delta / 4
    assert p[0] < delta / 4 < p[1] < delta / 3 and p[2] > delta / 2
    holm = answers(QUESTIONS, bound="student_t", delta=delta, correction="holm")
    union = answers(QUESTIONS, bound="student_t", delta=delta, correction="union")
    assert sorted(one.p for one in holm) == pytest.approx(p)
    assert sum(one.holds for one in holm) == 2 and sum(one.holds for one in union) == 1
    assert [one.p_adjusted for one in union] == pytest.approx([min(4 * value, 1) for value in alone()])
    for one, question in zip(union, QUESTIONS, strict=True):
        least = ttest_1samp(question.scores, 0.0, alternative="greater").confidence_interval(1 - delta / 4).low
        assert one.least == pytest.approx(least) and one.holds == (least >= 0)
        assert one.mean == pytest.approx(question.scores.mean())


def test_one_question_needs_no_correction():
    for correction in ("holm", "union"):
        (one,) = answers(QUESTIONS[:1], bound="student_t", delta=0.05, correction=correction)
        assert one.p_adjusted == one.p


def test_the_tail_of_a_question_is_the_mean_of_its_worst_scores():
    question = Question(scores=np.arange(10) / 9, floor=0.0, limits=(0.0, 1.0), worst=0.2)
    (one,) = answers([question], bound="hoeffding", delta=0.1, correction="holm")
    assert one.mean == pytest.approx(1 / 18) and one.least == 0.0 and one.p == 0.0 and one.holds


WEIGHTS, HOLDS = np.array([0.5, 0.0, 1.0, 0.25]), np.array([True, True, False, True])


@pytest.mark.parametrize(
    ("reach", "monotone", "expected"),
    [
        (0.0, True, [(0.0, 0.5)]),
        (0.1, False, [(0.0, 0.1), (0.15, 0.35), (0.4, 0.6)]),
        (0.125, False, [(0.0, 0.625)]),
        (0.0, False, [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5)]),
    ],
)
def test_claims_between_preferences(reach, monotone, expected):
    found = intervals(WEIGHTS, HOLDS, np.full(4, reach), monotone=monotone)
    assert np.allclose(found, expected)
    assert intervals(WEIGHTS, np.zeros(4, bool), np.full(4, reach), monotone=monotone) == []
