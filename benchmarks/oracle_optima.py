"""Optima of the oracle's worlds by ``mora.functional``, and each of them by a second method; for oracle_worlds.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

import mora
from mora.dataset.worlds.oracle import COUNTED, OracleWorld
from mora.functional import hull, tilting

Floats = NDArray[np.float64]

KL_COEF = 0.05  # score units per nat
IDEAL = 1.05  # slightly above every score
STEP = 1e-4  # of a floor, for central differences
COUNTS = ("oracle", "oracle_flat", "oracle_dented")
FEW = ("dataset.supervised={train: 1, test: 1}", "dataset.pairs={train: 1, test: 1}")  # rows that nothing asks for


def worlds(dataset: str, most: int) -> list[OracleWorld]:
    """The world as shipped, with 2 to ``most`` objectives."""
    names = list(COUNTED[:most]) if dataset in COUNTS else ["help", "safe"]
    config = mora.compose("experiment=oracle", f"dataset={dataset}", f"objectives.names=[{','.join(names)}]", *FEW)
    corpora = instantiate(config.dataset, _convert_="all")
    found = [corpora.load(tuple(names[:count]), config.seed).world for count in range(2, len(names) + 1)]
    assert all(isinstance(world, OracleWorld) for world in found)
    return found


class Enumerated:
    """All texts of a world: scores (1, Y, M) and the reference's log-probabilities (1, Y)."""

    def __init__(self, world: OracleWorld) -> None:
        texts = world.responses()
        self.world, self.scores = world, world.gold([world.prompt(0, 0)] * len(texts), texts)[None]
        self.ref_logps = np.full((1, len(texts)), -np.log(len(texts)))
        self.ideal = np.full(self.scores.shape[-1], IDEAL)
        self.pure = np.unique(self.scores[0], axis=0)
        self.hull = self.pure[hull.hull_front(self.pure)]

    def linear(self, preference: Floats, kl_coef: float = KL_COEF) -> tilting.Solution:
        """Best policy for <w, r>."""
        return tilting.linear_optimum(self.ref_logps, self.scores, preference, kl_coef=kl_coef)

    def gains(self, preference: Floats) -> Floats:
        """Tchebycheff gains (1, Y) of the texts."""
        return tilting.tchebycheff_gains(self.scores, preference, ideal=self.ideal, augment=0.0)

    def of_responses(self, preference: Floats) -> tilting.Solution:
        """Best policy for E min_i w_i (r_i - z_i)."""
        return tilting.response_optimum(self.ref_logps, self.gains(preference), self.scores, kl_coef=KL_COEF)

    def of_expectations(self, preference: Floats) -> tilting.Solution:
        """Best policy for min_i w_i (E r_i - z_i)."""
        more = {"ideal": self.ideal, "augment": 0.0, "kl_coef": KL_COEF}
        return tilting.tchebycheff_expected_optimum(self.ref_logps, self.scores, preference, **more)

    def free(self, preferences: Floats) -> Floats:
        """Largest min_i w_i (E r_i - z_i) where the KL costs nothing: expectations (P, M)."""
        solve = partial(hull.tchebycheff_free_optimum, self.scores[0], ideal=self.ideal)
        return np.array([solve(preference)[1] for preference in preferences])

    def constraint(self, preference: Floats) -> tuple[Floats, int, float]:
        """Gains (1, Y) and a floor: help and the world's own, or <w, r> and half-way from the optimum to 1 for r1."""
        if self.world.floors:
            ((name, floor),) = self.world.floors.items()
            return self.scores[..., 0], self.world.objectives.index(name), floor
        return self.scores @ preference, 0, float(1 + self.linear(preference).rewards[0]) / 2

    def constrained(self, gains: Floats, index: int, floor: float) -> tilting.Solution:
        """Best policy for the gains with a floor under one expectation."""
        floors = np.where(np.arange(self.scores.shape[-1]) == index, floor, -np.inf)
        return tilting.constrained_optimum(self.ref_logps, self.scores, gains, floors=floors, kl_coef=KL_COEF)


# --- a second method -------------------------------------------------------------------------------------------------


def generic(gains: Floats, least: Floats | None = None, slacks: Floats | None = None) -> float:
    """Largest ``E gain + min_k E least_k - KL_COEF KL`` with ``E slacks >= 0``, by SLSQP over (u, t), p = u^2.

    t is the minimum, held below each E least_k.  Raises RuntimeError where the probabilities do not sum to one.
    """
    count = len(gains)
    none = np.zeros((count, 0))
    parts = [none if part is None else part for part in (least, slacks)]
    terms = np.hstack(parts)
    held = np.repeat([1.0, 0.0], [part.shape[1] for part in parts])  # 1 where the expectation bounds t, 0 for a slack
    minimum = float(least is not None)

    def loss(x: Floats) -> tuple[float, Floats]:
        u, log_ratio = x[:-1], 2 * np.log(np.abs(x[:-1]) + 1e-300) + np.log(count)
        slope = KL_COEF * (2 * u * log_ratio + 2 * u) - 2 * u * gains
        return float(u**2 @ (KL_COEF * log_ratio - gains)) - minimum * x[-1], np.append(slope, -minimum)

    mass = {
        "type": "eq",
        "fun": lambda x: np.sum(x[:-1] ** 2) - 1,
        "jac": lambda x: np.append(2 * x[:-1], 0.0),
    }
    above = {
        "type": "ineq",
        "fun": lambda x: x[:-1] ** 2 @ terms - held * x[-1],
        "jac": lambda x: np.column_stack([2 * x[:-1] * terms.T, -held]),
    }
    start = np.append(np.full(count, count**-0.5), terms.mean(0).min(initial=0.0))
    bounds = [mass, above] if len(held) else [mass]
    options = {"maxiter": 500, "ftol": 1e-14}
    found = minimize(loss, start, jac=True, method="SLSQP", constraints=bounds, options=options)
    if not abs(np.sum(found.x[:-1] ** 2) - 1) < 1e-9:
        raise RuntimeError(f"SLSQP: {found.message}")
    return -float(found.fun)


def mixed(gains: Floats) -> float:
    """Largest expectation of the gains (Y,) over mixtures, by a linear program."""
    return -float(linprog(-gains, A_eq=np.ones((1, len(gains))), b_eq=[1.0]).fun)


def mixed_minimum(terms: Floats) -> float:
    """Largest minimum of expectations of terms (Y, K) over mixtures, by the dual program over weights of the terms."""
    width = terms.shape[1]
    found = linprog(
        np.append(np.zeros(width), 1.0),
        A_ub=np.hstack([terms, -np.ones((len(terms), 1))]),
        b_ub=np.zeros(len(terms)),
        A_eq=np.append(np.ones(width), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * width + [(None, None)],
    )
    return float(found.fun)


# Each problem: exact value and that of the second method.
Pair = tuple[float, float]


def _linear(one: Enumerated, w: Floats) -> Pair:
    return one.linear(w).utility, generic(one.scores[0] @ w)


def _responses(one: Enumerated, w: Floats) -> Pair:
    return one.of_responses(w).utility, generic(one.gains(w)[0])


def _expectations(one: Enumerated, w: Floats) -> Pair:
    return one.of_expectations(w).utility, generic(np.zeros(one.scores.shape[1]), least=w * (one.scores[0] - IDEAL))


def _constrained(one: Enumerated, w: Floats) -> Pair:
    gains, index, floor = one.constraint(w)
    slacks = one.scores[0][:, [index]] - floor
    return one.constrained(gains, index, floor).utility, generic(gains[0], slacks=slacks)


def _multiplier(one: Enumerated, w: Floats) -> Pair:
    gains, index, floor = one.constraint(w)
    found = one.constrained(gains, index, floor).multipliers
    assert found is not None
    low, high = (generic(gains[0], slacks=one.scores[0][:, [index]] - floor - h) for h in (-STEP, STEP))
    return float(found[index]), (low - high) / (2 * STEP)


def _linear_free(one: Enumerated, w: Floats) -> Pair:
    return float(w @ hull.linear_free_optimum(one.scores[0], w[None])[0]), mixed(one.scores[0] @ w)


def _expectations_free(one: Enumerated, w: Floats) -> Pair:
    value, *_ = hull.tchebycheff_free_optimum(one.scores[0], w, ideal=one.ideal)
    return value, mixed_minimum(w * (one.scores[0] - IDEAL))


PROBLEMS: dict[str, Callable[[Enumerated, Floats], Pair]] = {
    "linear": _linear,
    "Tchebycheff of responses": _responses,
    "Tchebycheff of expectations": _expectations,
    "constrained": _constrained,
    "its multiplier": _multiplier,
    "linear, no KL": _linear_free,
    "Tchebycheff of expectations, no KL": _expectations_free,
}
