"""Statistics of a reward model on labelled pairs of one objective: arrays in, numbers out.

Throughout, ``difference`` (n,) is the score of answer 1 minus that of answer 0, ``label`` (n,) the probability that
answer 1 is better (0, 1, or a fraction; 1/2 is a tie) and ``probability`` (n,) the model's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from mora.evaluation import distributions

Floats = NDArray[np.float64]


def credits(difference: Floats, label: Floats) -> Floats:
    """1 where the answer that the label favors scores higher, 0 where it scores lower, 1/2 for equal scores (n,).

    A label of 1/2 favors no answer: NaN.
    """
    agreement = np.sign(difference) * np.sign(label - 0.5)
    return np.where(label == 0.5, np.nan, 0.5 + 0.5 * agreement)


def share_of_bayes(accuracy: float, bayes: float) -> dict[str, float]:
    """What part of the best possible accuracy is reached, and of its advantage over guessing (else NaN)."""
    advantage = (accuracy - 0.5) / (bayes - 0.5) if bayes > 0.5 else float("nan")
    return {"share_of_bayes": accuracy / bayes, "share_of_bayes_advantage": advantage}


def log_loss(log_probability_1: Floats, log_probability_0: Floats, label: Floats) -> float:
    """``-mean(q log P(1 wins) + (1 - q) log P(0 wins))`` in nats; guessing costs ln 2."""
    return float(-(label * log_probability_1 + (1 - label) * log_probability_0).mean())


def brier(probability: Floats, label: Floats) -> float:
    """``mean (p - q)^2`` (Brier 1950); guessing costs 1/4 on hard labels."""
    return float(((probability - label) ** 2).mean())


def equal_mass(values: Floats, count: int) -> list[NDArray[np.int64]]:
    """Indices of at most ``count`` bins of equally many values, in ascending order of the values; none is empty."""
    order = np.argsort(values, kind="stable")
    return np.array_split(order, min(count, len(order))) if len(order) else []


def calibration(probability: Floats, label: Floats, *, bins: int) -> dict[str, Any]:
    """Expected calibration error over equal-mass bins by confidence, and the bins.

    Confidence is max(p, 1 - p), so the order of the two answers does not matter; a bin's accuracy is the mean
    probability that the label gives to the answer that the model favors.
    ``ece = sum_b n_b |accuracy_b - confidence_b| / n``.
    """
    confidence = np.maximum(probability, 1 - probability)
    right = np.where(probability > 0.5, label, np.where(probability < 0.5, 1 - label, 0.5))
    rows = [
        {"confidence": float(confidence[i].mean()), "accuracy": float(right[i].mean()), "count": len(i)}
        for i in equal_mass(confidence, bins)
    ]
    error = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(probability)
    return {"ece": error, "bins": rows}


def spread_bins(spread: Floats, credit: Floats, true_spread: Floats | None, *, bins: int) -> list[dict[str, Any]]:
    """Error rate in equal-mass bins by the belief's spread; none when every belief has the same spread.

    ``credit`` is that of :func:`credits` without ties; ``true_spread`` is the annotators' where a world knows it.
    """
    if len(spread) == 0 or np.ptp(spread) == 0.0:
        return []
    return [
        {
            "spread": float(spread[i].mean()),
            "error_rate": float(1 - credit[i].mean()),
            "count": len(i),
            "true_spread": None if true_spread is None else float(true_spread[i].mean()),
        }
        for i in equal_mass(spread, bins)
    ]


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


def length_correlation(score_0: Floats, score_1: Floats, length_0: Floats, length_1: Floats) -> dict[str, float]:
    """Spearman's correlation of scores with lengths over all answers, and of their differences within pairs.

    A model that pays for length shows it in both; the labels may too.  NaN where one of the two never changes.
    """
    return {
        "answers": _spearman(np.concatenate([score_0, score_1]), np.concatenate([length_0, length_1])),
        "pairs": _spearman(score_1 - score_0, length_1 - length_0),
    }


def _spearman(first: Floats, second: Floats) -> float:
    if len(first) < 2 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


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


def conflict(credit_a: Floats, credit_b: Floats, label_a: Floats, label_b: Floats) -> dict[str, Any]:
    """Two objectives on the same pairs: how often their labels disagree, and how often both are ordered right.

    Pairs with a tie on either objective are left out.
    """
    kept = (label_a != 0.5) & (label_b != 0.5)
    both = (credit_a * credit_b)[kept]
    apart = ((label_a > 0.5) != (label_b > 0.5))[kept]
    return {
        "n": int(kept.sum()),
        "conflict_rate": _mean(apart),
        "joint_accuracy": _mean(both),
        "joint_accuracy_on_conflicts": _mean(both[apart]),
        "joint_accuracy_on_agreement": _mean(both[~apart]),
    }


def pearson(first: Floats, second: Floats) -> float:
    """Pearson's correlation; NaN when one of the two is constant."""
    if len(first) < 2 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
