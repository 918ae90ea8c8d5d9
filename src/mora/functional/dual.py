"""The dual of entropic problems, and its minimum over multipliers.

Maximizing ``E gain - beta KL`` under a minimum of, or floors under, a few expectations ``E features_k`` has the
Lagrangian dual ``D(mu) = mean_x beta log E_ref exp((gain + <mu, features>) / beta)`` in K multipliers: convex, smooth,
with gradient ``E features`` and Hessian ``Cov features / beta`` under the tilted policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import logsumexp

Floats = NDArray[np.float64]

STEPS = 500
STALLED = 30  # steps in a row that neither lower the dual nor the error
TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class Point:
    """The dual at ``multipliers`` (K,)."""

    multipliers: Floats
    logps: Floats  # (X, Y) the tilted policy
    value: float  # reward units
    gradient: Floats  # (K,) E features under it
    hessian: Floats  # (K, K)


@dataclass(frozen=True, kw_only=True)
class Dual:
    """``D(mu) = mean_x beta log E_ref exp((gain + <mu, features>) / beta)`` in reward units."""

    ref_logps: Floats  # (X, Y)
    gains: Floats  # (X, Y)
    features: Floats  # (X, Y, K)
    kl_coef: float

    def at(self, multipliers: Floats) -> Point:
        """Value, derivatives and policy at the multipliers (K,)."""
        logps, value = tilted(self.ref_logps, self.gains + self.features @ multipliers, self.kl_coef)
        weights = np.exp(logps)[..., None]
        means = (weights * self.features).sum(1)  # (X, K)
        centered = self.features - means[:, None]
        covariance = np.einsum("xyi,xyj->ij", weights * centered, centered) / len(logps)
        return Point(
            multipliers=multipliers,
            logps=logps,
            value=value,
            gradient=means.mean(0),
            hessian=covariance / self.kl_coef,
        )


def tilted(ref_logps: Floats, gains: Floats, kl_coef: float) -> tuple[Floats, float]:
    """The policy ``pi ~ pi_ref exp(gain / beta)``, (X, Y), and its utility mean_x beta log E_ref exp(gain / beta)."""
    logits = ref_logps + gains / kl_coef
    totals = logsumexp(logits, axis=-1, keepdims=True)
    return logits - totals, kl_coef * float(totals.mean())


def ranges(features: Floats) -> Floats:
    """Largest minus smallest value (K,) of features (X, Y, K); 1 for a constant one."""
    spans = np.ptp(features, axis=(0, 1))
    return np.asarray(np.where(spans > 0, spans, 1.0))


def minimize(dual: Dual, start: Floats, error: Callable[[Point], float], *, simplex: bool) -> Point:
    """The point of least ``error`` that Newton's method visits on its way to the minimum of the dual.

    Each step minimizes a damped quadratic model over mu >= 0, or over the simplex.  The damping (Levenberg, 1944), in
    units of the largest possible curvature, range^2 / (4 beta), grows tenfold where the dual did not fall as the model
    said and shrinks else.  A promise beneath rounding is taken on trust: there the gradient still tells the way.
    ``start`` (K,) is feasible.  Whether the error is small enough is for the caller to judge.
    """
    curvature = ranges(dual.features) ** 2 / (4 * dual.kl_coef)
    size = max(float(np.abs(dual.gains).max()), float(np.abs(dual.features).max(initial=0.0)), dual.kl_coef)
    here = best = dual.at(start)
    damping, stalled = 1e-2, 0
    for _ in range(STEPS):
        if error(best) <= 1e-13 or stalled > STALLED:
            break
        model = here.hessian + np.diag(damping * curvature)
        step = model_minimum(model, here, simplex=simplex) - here.multipliers
        there = dual.at(here.multipliers + step)
        promised = -float(here.gradient @ step + step @ model @ step / 2)
        fallen = here.value - there.value
        if fallen >= 0.1 * promised - 1e-14 * size:
            here, damping = there, max(damping / 10, 1e-14)
        else:
            damping *= 10
        better = error(here) < error(best)
        best = here if better else best
        stalled = 0 if better or fallen > 1e-12 * size else stalled + 1
    return best


def model_minimum(model: Floats, here: Point, *, simplex: bool) -> Floats:
    """Minimizer (K,) over y >= 0 (and sum y = 1) of ``<g, y - mu> + (y - mu)' model (y - mu) / 2`` at a point.

    Least squares find which entries are above 0.  On the simplex ``|A y - b|^2 = |(A - b 1') y|^2``, and the y >= 0
    that minimizes ``|B y|^2 + (sum y - 1)^2`` is a multiple of the minimizer of |B y|.  Linear equations for these
    entries then give y to full precision.
    """
    values, vectors = np.linalg.eigh(model)
    roots = np.sqrt(values.clip(min=TINY))
    slope = here.gradient - (here.multipliers @ here.gradient if simplex else 0.0)
    matrix = roots[:, None] * vectors.T
    target = matrix @ here.multipliers - vectors.T @ slope / roots
    if simplex:
        matrix = matrix - target[:, None]
        unit = max(float(np.linalg.norm(matrix, axis=0).min()), TINY)
        matrix = np.vstack([matrix / unit, np.ones(len(slope))])
        target = np.append(np.zeros(len(roots)), 1.0)
    rough = nnls(matrix, target)[0]
    ones = np.ones((1, len(model)))
    system = np.block([[model, ones.T], [ones, np.zeros((1, 1))]])
    constants = np.append(model @ here.multipliers - slope, 1.0)
    above = np.append(rough > 0, simplex)  # the last unknown is the multiplier of sum y = 1
    exact = np.zeros(len(constants))
    exact[above] = np.linalg.lstsq(system[np.ix_(above, above)], constants[above], rcond=None)[0]
    found = exact[:-1] if (exact[:-1] >= 0).all() else rough
    return np.asarray(found / found.sum() if simplex else found)
