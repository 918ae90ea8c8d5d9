"""Gaussian discriminant reward: a linear score ``w'f + b`` of features f, in closed form from the moments of pairs.

Two Gaussians with one covariance have a log-density ratio that is linear in the features (Lee et al., 2018, tie the
covariance in the same way).  Scores and margins are in nats of that ratio, over-confident when rows are few: see
``temperature``.  fp64 in, fp64 out.  Whether there are rows enough is for ``covariance.check_rows``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from mora.errors import InputError
from mora.functional.covariance import Moments, condition_number, pooled

JITTER = 1e-6  # of the mean variance, added to the diagonal only when the covariance cannot be factorized


def difference_weights(moments: Moments) -> tuple[Float64[Tensor, " d"], dict[str, float]]:
    """``w = 2 S_d^-1 mu_d`` from the moments of differences ``d_i = f_better - f_worse``, and facts about the fit.

    In one order of a pair the difference is N(mu_d, S_d), in the other N(-mu_d, S_d); the log-ratio of the two is
    ``w'(f_a - f_b)``, the margin of a over b.  Whatever both answers share, a prompt's own features above all, is gone
    from mean and metric.  S_d is around mu_d, shrunk by Ledoit and Wolf.  There is no intercept: pairs do not determine
    one, and ``-w' mean(f)`` centers the score on a reference set.

    Facts: ``rows``, ``rows_per_feature``, ``shrinkage``, ``condition_number`` (of the matrix solved with) and
    ``jitter``, what was added to its diagonal, 0 unless the factorization failed.
    Raises InputError when the differences do not vary, ValueError when there are none or they are not finite.
    """
    mean = moments.mean
    covariance, shrinkage = moments.ledoit_wolf()
    weights, jitter = _solve(covariance, 2 * mean)
    covariance.diagonal().add_(jitter)
    facts = {
        "rows": float(moments.count),
        "rows_per_feature": float(moments.count) / len(mean),
        "shrinkage": shrinkage,
        "condition_number": condition_number(covariance),
        "jitter": jitter,
    }
    return weights, facts


def pooled_weights(better: Moments, worse: Moments) -> tuple[Float64[Tensor, " d"], Float64[Tensor, ""]]:
    """``w = S^-1 (mu+ - mu-)`` and ``b = -1/2 (mu+ + mu-)' w`` from the features of better and of worse answers.

    ``w'f + b`` is ``log N(f; mu+, S) - log N(f; mu-, S)``, with S the shrunk within-class covariance and both classes
    taken as equally likely; it is 0 midway between the means.  S holds all that prompts contribute to the features,
    which says nothing about which of two answers to one prompt is better: prefer :func:`difference_weights` for pairs.
    Raises InputError when the features do not vary, ValueError when a class has no rows or one that is not finite.
    """
    mean_better, mean_worse = better.mean, worse.mean
    weights, _ = _solve(pooled(better, worse)[0], mean_better - mean_worse)
    return weights, -0.5 * (mean_better + mean_worse) @ weights


def _solve(covariance: Float64[Tensor, "d d"], right: Float64[Tensor, " d"]) -> tuple[Float64[Tensor, " d"], float]:
    """``covariance^-1 right`` by Cholesky factors, and the jitter that the factorization needed."""
    jitter = 0.0
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        jitter = JITTER * float(covariance.trace()) / len(covariance)
        lifted = covariance.clone()
        lifted.diagonal().add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(lifted)
    if int(failed):
        raise InputError(
            f"a covariance of {len(covariance)} features is not positive definite, even with {jitter:g} added to its "
            "diagonal: the features do not vary from row to row. Check that the answers of a pair differ"
        )
    return torch.cholesky_solve(right[:, None], factor)[:, 0], jitter
