"""Statistics of a reward model on labelled pairs of one objective: arrays in, numbers out.

Throughout, ``difference`` (n,) is the score of answer 1 minus that of answer 0, ``label`` (n,) the probability that
answer 1 is better (0, 1, or a fraction; 1/2 is a tie) and ``probability`` (n,) the model's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import rankdata

from mora.evaluation import distributions
from mora.functional.calibration import calibration
from mora.functional.correlation import mean, spearman
from mora.functional.pairs import equal_mass
from mora.functional.stats import clustered_stderr, share_within

Floats = NDArray[np.float64]
LEAST_BEHIND_A_POINT = 20  # pairs per bin of a calibration error within hard cases: fewer are mostly noise


def share_of_bayes(
    difference: Floats, true_probability: Floats, prompts: NDArray[np.int64], level: float
) -> dict[str, Any]:
    """What part of the best possible accuracy is reached, where the probability of each label is known.

    ``expected`` is the accuracy over all labels that could have been drawn, mean p where answer 1 has the higher score,
    else mean 1 - p (equal scores 1/2), ``bayes`` the best there is, mean max(p, 1 - p): both without the noise of the
    labels that were drawn.  ``share_of_bayes`` is their ratio, never above 1, with its interval by prompt;
    ``share_of_bayes_advantage`` that of their advantages over guessing (NaN where there is none).
    """
    expected, best = expected_and_best(difference, true_probability)
    share, bayes = float(expected.mean() / best.mean()), float(best.mean())
    found: dict[str, Any] = {
        "expected": float(expected.mean()),
        "bayes": bayes,
        "share_of_bayes": share,
        "share_of_bayes_advantage": (float(expected.mean()) - 0.5) / (bayes - 0.5) if bayes > 0.5 else float("nan"),
    }
    error = float(clustered_stderr(expected - share * best, prompts)) / bayes
    found["share_interval"] = share_within(share, error, len(np.unique(prompts)), level)
    return found


def expected_and_best(difference: Floats, true_probability: Floats) -> tuple[Floats, Floats]:
    """Chance (n,) that the label is what the model says, and that it is what the best predictor says."""
    choice = 0.5 + 0.5 * np.sign(difference)
    expected = choice * true_probability + (1 - choice) * (1 - true_probability)
    return expected, np.maximum(true_probability, 1 - true_probability)


def above_best(log_wins_1: Floats, log_wins_0: Floats, true_probability: Floats) -> Floats:
    """Nats (n,) that the model's log-loss is expected to lie above the best one: KL(true || model) of each label."""
    p = true_probability
    return np.asarray(xlogy(p, p) + xlogy(1 - p, 1 - p) - p * log_wins_1 - (1 - p) * log_wins_0)


def hard_cases(
    by: Floats,
    *,
    spread: Floats,
    margin: Floats,
    credit: Floats,
    probability: Floats,
    label: Floats,
    prompts: NDArray[np.int64],
    true_spread: Floats | None,
    bins: int,
    calibration_bins: int,
    level: float,
) -> list[dict[str, Any]]:
    """What the model is worth in equal-mass bins in ascending order of ``by`` (n,): of the spread, or of the margin.

    All arrays are (n,), of pairs without ties: ``spread`` of the belief, ``margin`` the absolute log-odds, ``credit``
    that of ``pairs.credits``, ``true_spread`` the annotators' where a world knows it.  The calibration error of a bin
    takes at most ``calibration_bins`` bins of at least 20 pairs.  No bin when ``by`` is the same for all pairs.
    """
    if len(by) == 0 or np.ptp(by) == 0.0:
        return []
    found = []
    for i in equal_mass(by, bins):
        inner = max(min(calibration_bins, len(i) // LEAST_BEHIND_A_POINT), 1)
        stated = calibration(probability[i], label[i], prompts[i], bins=inner, level=level)
        row = {
            "spread": float(spread[i].mean()),
            "margin": float(margin[i].mean()),
            "accuracy": float(credit[i].mean()),
            "error_rate": float(1 - credit[i].mean()),
            "ece": stated["ece"],
            "ece_if_calibrated": stated["ece_if_calibrated"],
            "calibration_error": stated["error"]["value"],
            "calibration_interval": stated["error"]["interval"],
            "count": len(i),
            "true_spread": None if true_spread is None else float(true_spread[i].mean()),
        }
        found.append(row)
    return found


def risk_coverage(doubt: Floats, credit: Floats) -> dict[str, float]:
    """What leaving out the most doubtful pairs buys: the area under the risk-coverage curve, and accuracy at 80 %.

    Pairs are kept in ascending order of ``doubt`` (n,); the risk at coverage k/n is the error rate 1 - credit of the
    first k, and ``aurc`` its mean over k (El-Yaniv and Wiener, 2010).  Equal doubts share the mean credit of their
    group, so their order cannot matter.  Doubt that says nothing has the plain error rate as its area.  NaN without a
    pair.
    """
    if len(doubt) == 0:
        return {"aurc": float("nan"), "accuracy_at_80": float("nan")}
    risk = distributions.selective_risk(doubt, credit)
    return {"aurc": float(risk.mean()), "accuracy_at_80": float(1 - risk[int(np.ceil(0.8 * len(doubt))) - 1])}


def length_correlation(
    score_0: Floats, score_1: Floats, label: Floats, length_0: Floats, length_1: Floats
) -> dict[str, dict[str, float]]:
    """Spearman's correlation with length of what the model says and of what the labels say.

    ``answers``: over all answers, of the score, of the model's choice (1 won, 0 lost, 1/2 for equal scores) and of the
    answer's label (q for answer 1, 1 - q for answer 0).  ``pairs``: of score difference, choice and label with the
    difference of lengths.  ``longer``: the mean choice and the mean label of the longer answer, where lengths differ.
    A choice has as few values as a label, so the two are comparable; a score's correlation may be higher for that
    alone.  NaN where one of the two never changes.
    """
    choice = 0.5 + 0.5 * np.sign(score_1 - score_0)
    gap = length_1 - length_0
    differing = gap != 0
    sides = {"score": (score_0, score_1), "choice": (1 - choice, choice), "label": (1 - label, label)}
    lengths = np.concatenate([length_0, length_1])
    of_pair = {"score": score_1 - score_0, "choice": choice, "label": label}

    def longer(won: Floats) -> float:
        return mean(np.where(gap > 0, won, 1 - won)[differing])

    return {
        "answers": {name: spearman(np.concatenate(both), lengths) for name, both in sides.items()},
        "pairs": {name: spearman(values, gap) for name, values in of_pair.items()},
        "longer": {"choice": longer(choice), "label": longer(label), "n": int(differing.sum())},
    }


def separation(better: Floats, worse: Floats) -> dict[str, float]:
    """How far the scores (n,) of better and worse answers lie apart, pooled over prompts and within pairs.

    ``auc`` is the chance that a better answer outscores a worse one of any prompt (equal scores 1/2), ``d_pooled``
    Cohen's d = (m_b - m_w) / sqrt((v_b + v_w) / 2), ``d_paired`` = mean / std of the pairs' differences.  A score's
    zero is free per prompt, so the pooled two can be low for a model that ranks every pair right.
    """
    count = len(better)
    ranks = rankdata(np.concatenate([better, worse]))[:count]
    auc = (ranks.sum() - count * (count + 1) / 2) / (count * count)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (better.mean() - worse.mean()) / np.sqrt((better.var() + worse.var()) / 2)
        paired = (better - worse).mean() / (better - worse).std()
    return {"auc": float(auc), "d_pooled": float(pooled), "d_paired": float(paired)}
