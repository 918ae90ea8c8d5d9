"""Exact optima of KL-regularized problems so small that every response can be enumerated.

``ref_logps`` (X, Y) holds log pi_ref(y|x) of X prompts and Y responses, each row summing to one in probability; -inf
marks a response that no policy may give.  ``rewards`` is (X, Y, M), ``gains`` (X, Y), both in reward units, and every
objective is maximized.  E is the mean over prompts of the expectation over responses, KL the mean over prompts of
KL(pi || pi_ref) in nats, and ``kl_coef`` (beta) the price of a nat in reward units.  Arrays of numpy go in and come
out.

Every optimum is a tilted reference, ``pi ~ pi_ref exp(gain / beta)``.  A gain of each response needs no more.  A
minimum of expectations and a floor under an expectation add multipliers to the gain; these minimize a smooth convex
dual (Boyd and Vandenberghe, Convex Optimization, 2004, ch. 5).  No answer leaves this module unless the utility of its
policy and that dual, which bounds the utility of every policy, agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from mora.functional.dual import Dual, Point, minimize, ranges, tilted
from mora.functional.hull import refuse_joint_floors, refuse_lone_floors, weighted_gaps

Floats = NDArray[np.float64]

NORMALIZATION = 1e-6  # largest |log sum_y pi_ref| that is read as rounding
MINIMAX_GAP = 1e-10  # certificates: relative to the larger of |utility| and kl_coef
CONSTRAINED_GAP = 1e-9


@dataclass(frozen=True, kw_only=True)
class Solution:
    """An optimal policy and what it is worth."""

    logps: Floats  # (X, Y) log pi*(y|x)
    rewards: Floats  # (M,) E r under pi*
    kl: float  # nats
    utility: float  # reward units, the price of the KL included
    multipliers: Floats | None  # (M,) of each objective, (X, M) where prompts have their own, None where there are none


def tilt(ref_logps: ArrayLike, gains: ArrayLike, *, kl_coef: float) -> Floats:
    """log pi* (X, Y) with ``pi* ~ pi_ref exp(gain / beta)``, the maximizer of ``E gain - beta KL``.

    The closed form behind DPO (Rafailov et al., 2023, eq. 4).  Raises ``ValueError`` as described for the module: rows
    of ``ref_logps`` that do not sum to one, other shapes, gains that are not finite, or ``kl_coef`` not above 0.
    """
    return tilted(*_checked(ref_logps, gains, kl_coef), kl_coef)[0]


def exact_kl(logps: ArrayLike, ref_logps: ArrayLike) -> float:
    """``KL(pi || pi_ref)`` in nats, mean over prompts, ``0 log 0 = 0``; inf where pi leaves the reference's support."""
    policy, reference = np.asarray(logps, dtype=np.float64), np.asarray(ref_logps, dtype=np.float64)
    given = policy > -np.inf
    if (given & (reference == -np.inf)).any():
        return float(np.inf)
    log_ratio = np.subtract(policy, reference, out=np.zeros_like(policy), where=given)
    return float((np.exp(policy) * log_ratio).sum(-1).mean())


def expected(logps: ArrayLike, rewards: ArrayLike) -> Floats:
    """``E r`` (M,) of a policy (X, Y) on rewards (X, Y, M), in reward units."""
    probabilities = np.exp(np.asarray(logps, dtype=np.float64))
    return np.asarray(np.einsum("xy,xym->m", probabilities, np.asarray(rewards)) / len(probabilities))


def tchebycheff_gains(rewards: ArrayLike, preference: ArrayLike, *, ideal: ArrayLike, augment: float) -> Floats:
    """``min_i w_i (r_i - z_i) + augment * sum_i w_i (r_i - z_i)`` of each response (X, Y), the augmented Tchebycheff
    gain (Steuer and Choo, 1983); for :func:`response_optimum` and :func:`response_utility`.

    Raises ``ValueError`` when a reward exceeds the ideal, or unless the weights are >= 0 and one is above 0.
    """
    gaps = weighted_gaps(rewards, preference, ideal)
    return np.asarray(gaps.min(-1) + augment * gaps.sum(-1))


# --- the utility of a given policy -----------------------------------------------------------------------------------


def response_utility(logps: ArrayLike, ref_logps: ArrayLike, gains: ArrayLike, *, kl_coef: float) -> float:
    """``E gain - beta KL`` of a given policy, in reward units, for any gain (X, Y) of single responses."""
    return float(expected(logps, np.asarray(gains)[..., None])[0]) - kl_coef * exact_kl(logps, ref_logps)


def linear_utility(
    logps: ArrayLike, ref_logps: ArrayLike, rewards: ArrayLike, preference: ArrayLike, *, kl_coef: float
) -> float:
    """``E <w, r> - beta KL`` of a given policy, in reward units."""
    return response_utility(logps, ref_logps, np.asarray(rewards) @ np.asarray(preference), kl_coef=kl_coef)


def tchebycheff_expected_utility(
    logps: ArrayLike,
    ref_logps: ArrayLike,
    rewards: ArrayLike,
    preference: ArrayLike,
    *,
    ideal: ArrayLike,
    augment: float,
    kl_coef: float,
) -> float:
    """``min_i w_i (E r_i - z_i) + augment * sum_i w_i (E r_i - z_i) - beta KL`` of a given policy, in reward units.

    Raises ``ValueError`` like :func:`tchebycheff_gains`.
    """
    gaps = expected(logps, weighted_gaps(rewards, preference, ideal))
    return float(gaps.min() + augment * gaps.sum()) - kl_coef * exact_kl(logps, ref_logps)


def tchebycheff_prompt_utility(
    logps: ArrayLike,
    ref_logps: ArrayLike,
    rewards: ArrayLike,
    preference: ArrayLike,
    *,
    ideal: ArrayLike,
    augment: float,
    kl_coef: float,
) -> float:
    """Mean over prompts x of ``min_i w_i (E[r_i|x] - z_i) + augment * sum_i w_i (E[r_i|x] - z_i)``, less beta KL.

    Never above :func:`tchebycheff_expected_utility`, since a minimum is concave.  Raises ``ValueError`` like
    :func:`tchebycheff_gains`.
    """
    gaps = np.einsum("xy,xym->xm", np.exp(np.asarray(logps)), weighted_gaps(rewards, preference, ideal))
    return float((gaps.min(-1) + augment * gaps.sum(-1)).mean()) - kl_coef * exact_kl(logps, ref_logps)


# --- the best policy -------------------------------------------------------------------------------------------------


def response_optimum(ref_logps: ArrayLike, gains: ArrayLike, rewards: ArrayLike, *, kl_coef: float) -> Solution:
    """Maximizer of ``E gain - beta KL`` for any gain of single responses.

    Its utility is ``mean_x beta log E_ref exp(gain / beta)``.  ``rewards`` do not enter the optimum; the solution tells
    their expectation.  Raises ``ValueError`` like :func:`tilt`.
    """
    reference, gain = _checked(ref_logps, gains, kl_coef)
    logps, utility = tilted(reference, gain, kl_coef)
    return Solution(
        logps=logps,
        rewards=expected(logps, rewards),
        kl=exact_kl(logps, reference),
        utility=utility,
        multipliers=None,
    )


def linear_optimum(ref_logps: ArrayLike, rewards: ArrayLike, preference: ArrayLike, *, kl_coef: float) -> Solution:
    """Maximizer of ``E <w, r> - beta KL``: :func:`response_optimum` of the gain <w, r>."""
    return response_optimum(ref_logps, np.asarray(rewards) @ np.asarray(preference), rewards, kl_coef=kl_coef)


def tchebycheff_expected_optimum(
    ref_logps: ArrayLike,
    rewards: ArrayLike,
    preference: ArrayLike,
    *,
    ideal: ArrayLike,
    augment: float,
    kl_coef: float,
) -> Solution:
    """Maximizer of ``min_i w_i (E r_i - z_i) + augment * sum_i w_i (E r_i - z_i) - beta KL`` (Panacea eq. 7, with KL).

    The minimum over objectives is a minimum over weights lambda of the simplex, and the order of max and min may be
    changed (Sion, 1958): lambda minimizes mean_x beta log E_ref exp(sum_i (lambda_i + augment) w_i (r_i - z_i) / beta),
    the policy is tilted by that gain, and lambda are the multipliers.

    A weight of 0 drops its objective: z lies above every reward, so the term 0 (E r_i - z_i) = 0 is never below the
    others and never decides the minimum.  Its multiplier is 0.  At a vertex e_j of the preferences one term is left,
    and the optimum is the linear one of (1 + augment) w_j r_j.

    Raises ``ValueError`` like :func:`tilt` and :func:`tchebycheff_gains`, ``RuntimeError`` when the duality gap exceeds
    1e-10 of the larger of |utility| and kl_coef: expect that where kl_coef is below 1e-6 of the rewards' range.
    """
    gaps = weighted_gaps(rewards, preference, ideal)
    reference, augmented = _checked(ref_logps, augment * gaps.sum(-1), kl_coef)
    weighted = np.asarray(preference) > 0
    dual = Dual(ref_logps=reference, gains=augmented, features=gaps[..., weighted], kl_coef=kl_coef)

    def gap(at: Point) -> float:  # dual minus primal: the KL and the augmentation cancel
        return _relative(float(at.multipliers @ at.gradient - at.gradient.min()), at, kl_coef)

    start = np.full(weighted.sum(), 1 / weighted.sum())
    found = minimize(dual, start, gap, simplex=True)
    if not gap(found) <= MINIMAX_GAP:
        raise RuntimeError(f"expected Tchebycheff: relative duality gap {gap(found):.2e} exceeds {MINIMAX_GAP:.0e}")
    multipliers = np.zeros(len(weighted))
    multipliers[weighted] = found.multipliers
    kl = exact_kl(found.logps, reference)
    reached = expected(found.logps, gaps)
    return Solution(
        logps=found.logps,
        rewards=expected(found.logps, rewards),
        kl=kl,
        utility=float(reached.min() + augment * reached.sum()) - kl_coef * kl,
        multipliers=multipliers,
    )


def tchebycheff_prompt_optimum(
    ref_logps: ArrayLike,
    rewards: ArrayLike,
    preference: ArrayLike,
    *,
    ideal: ArrayLike,
    augment: float,
    kl_coef: float,
) -> Solution:
    """Maximizer of the mean over prompts of ``min_i w_i (E[r_i|x] - z_i) + augment * sum_i w_i (E[r_i|x] - z_i)``,
    less beta KL.

    Prompts do not meet in it, so it is :func:`tchebycheff_expected_optimum` of each prompt by itself, with a multiplier
    per prompt and objective and with the same refusals.
    """
    reference, scores = np.asarray(ref_logps, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    each = [
        tchebycheff_expected_optimum(
            reference[[x]], scores[[x]], preference, ideal=ideal, augment=augment, kl_coef=kl_coef
        )
        for x in range(len(reference))
    ]
    return Solution(
        logps=np.concatenate([one.logps for one in each]),
        rewards=np.mean([one.rewards for one in each], axis=0),
        kl=float(np.mean([one.kl for one in each])),
        utility=float(np.mean([one.utility for one in each])),
        multipliers=np.stack([one.multipliers for one in each if one.multipliers is not None]),
    )


def constrained_optimum(
    ref_logps: ArrayLike, rewards: ArrayLike, gains: ArrayLike, *, floors: ArrayLike, kl_coef: float
) -> Solution:
    """Maximizer of ``E gain - beta KL`` subject to ``E r_i >= floor_i``; a floor of -inf leaves its objective free.

    The multipliers mu >= 0 minimize mean_x beta log E_ref exp((gain + sum_i mu_i (r_i - floor_i)) / beta); mu_i is what
    a unit of its floor costs, -dU/dfloor_i, and 0 where the floor does not bind.  At a floor that only the best
    responses reach it is infinite: then it is a number large enough for the certificate.

    The certificate: no floor is missed by more than 1e-9 of the range of its objective, and ``sum_i mu_i |E r_i -
    floor_i|``, complementary slackness and duality gap in one, is at most 1e-9 of the larger of |utility| and kl_coef;
    else ``RuntimeError``.  Floors that no policy on the reference's support reaches, alone or together, raise
    ``ValueError``, and so does what :func:`tilt` refuses.
    """
    reference, gain = _checked(ref_logps, gains, kl_coef)
    scores, limits = np.asarray(rewards, dtype=np.float64), np.asarray(floors, dtype=np.float64)
    bounded = limits > -np.inf
    refuse_lone_floors(reference, scores, limits)
    slacks = scores[..., bounded] - limits[bounded]
    spans = ranges(slacks)

    def violation(at: Point) -> float:
        missed = float((-at.gradient / spans).max(initial=0.0))
        return max(missed, _relative(float(at.multipliers @ np.abs(at.gradient)), at, kl_coef))

    dual = Dual(ref_logps=reference, gains=gain, features=slacks, kl_coef=kl_coef)
    found = minimize(dual, np.zeros(bounded.sum()), violation, simplex=False)
    if not violation(found) <= CONSTRAINED_GAP:
        refuse_joint_floors(reference, slacks / spans, tolerance=CONSTRAINED_GAP)
        raise RuntimeError(f"constrained: relative KKT error {violation(found):.2e} exceeds {CONSTRAINED_GAP:.0e}")
    multipliers = np.zeros(len(limits))
    multipliers[bounded] = found.multipliers
    return Solution(
        logps=found.logps,
        rewards=expected(found.logps, scores),
        kl=exact_kl(found.logps, reference),
        utility=response_utility(found.logps, reference, gain, kl_coef=kl_coef),
        multipliers=multipliers,
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _checked(ref_logps: ArrayLike, gains: ArrayLike, kl_coef: float) -> tuple[Floats, Floats]:
    reference, gain = np.asarray(ref_logps, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    if reference.ndim != 2 or reference.shape != gain.shape:
        raise ValueError(f"ref_logps {reference.shape} and gains {gain.shape} must have the same shape (X, Y)")
    if not np.isfinite(gain).all():
        raise ValueError("gains must be finite")
    if not kl_coef > 0:
        raise ValueError(f"kl_coef must be above 0, got {kl_coef}")
    error = float(np.abs(logsumexp(reference, axis=-1)).max())
    if not error <= NORMALIZATION:
        raise ValueError(f"each row of ref_logps must sum to one in probability; a log sum is off by {error:.2g}")
    return reference, gain


def _relative(gap: float, at: Point, kl_coef: float) -> float:
    return gap / max(abs(at.value), kl_coef)
