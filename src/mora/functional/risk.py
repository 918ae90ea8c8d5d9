"""From a belief about reward (B, M, S) to a reward (B, M): risk reduces the atoms and nothing else.

Each function is exact for weighted atoms and takes its parameters by keyword, so a YAML can name it as a partial.
Pessimism across objectives is no risk: it is a scalarizer.

An atom without weight counts for nothing, whatever it is.  A NaN among the others, or among the weights, comes out as
NaN of every risk: no pessimism passes over an answer that the reward model could not score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mora import bounds
from mora.bounds import Inside, NonNegative, Positive, PositiveShare
from mora.errors import InputError
from mora.functional.quantile import midpoint_levels, running_sum
from mora.types import BeliefKind, RewardBelief

Risk = Callable[[RewardBelief], Tensor]
LEVEL_TOLERANCE = 1e-6
FEWEST_MEMBERS = 4  # below which a deviation over members says little


def mean(belief: RewardBelief) -> Float[Tensor, "B M"]:
    """Expectation: ``sum_s w_s a_s``."""
    return (belief.weights * _counted(belief)).sum(-1)


def minimum(belief: RewardBelief) -> Float[Tensor, "B M"]:
    """The lowest atom that has any weight."""
    return _unless_nan(belief, belief.atoms.masked_fill(belief.weights <= 0, float("inf")).amin(-1))


def _counted(belief: RewardBelief) -> Tensor:
    """The atoms, 0 where they have no weight."""
    return belief.atoms.masked_fill(belief.weights == 0, 0.0)


def _unless_nan(belief: RewardBelief, found: Tensor) -> Tensor:
    """``found`` (B, M), NaN where an atom that counts or a weight is."""
    broken = (_counted(belief).isnan() | belief.weights.isnan()).any(-1)
    return found.masked_fill(broken, float("nan"))


def median(belief: RewardBelief) -> Float[Tensor, "B M"]:
    """Half of the mass on either side; where the mass of the lower atoms is exactly one half, the middle to the next.

    ``(inf {x: F(x) >= 1/2} + inf {x: F(x) > 1/2}) / 2`` with F the distribution function of the atoms.  So the median
    of -r is minus that of r, and for atoms of one weight it is the usual median, of an even number too.
    """
    return (_inverse(belief, 0.5 - LEVEL_TOLERANCE) + _inverse(belief, 0.5 + LEVEL_TOLERANCE)) / 2


def quantile(belief: RewardBelief, *, level: Inside) -> Float[Tensor, "B M"]:
    """The lowest atom at which the accumulated weight reaches ``level``, 0 < level < 1 (inverse CDF)."""
    _require("level", level)
    return _inverse(belief, level - LEVEL_TOLERANCE)


def _inverse(belief: RewardBelief, mass: float) -> Tensor:
    """The lowest atom with any weight at which the accumulated weight is at least ``mass``, or all there is."""
    atoms, order = belief.atoms.sort(-1)
    weights = belief.weights.gather(-1, order)
    accumulated = running_sum(weights)
    reached = (accumulated >= accumulated[..., -1:].clamp_max(mass)) & (weights > 0)
    return _unless_nan(belief, atoms.gather(-1, reached.int().argmax(-1, keepdim=True)).squeeze(-1))


def cvar(belief: RewardBelief, *, alpha: PositiveShare) -> Float[Tensor, "B M"]:
    """Mean of the lowest ``alpha`` of the mass, 0 < alpha <= 1 (CVaR; Rockafellar and Uryasev 2000).

    The atom across which the border falls counts with the fraction that lies below it.  alpha = 1 is the mean; an alpha
    of at most the lowest atom's weight is the minimum.
    """
    _require("alpha", alpha)
    atoms, order = belief.atoms.sort(-1)
    weights = belief.weights.gather(-1, order)
    below = running_sum(weights) - weights
    taken = (alpha - below).clamp_min(0.0).minimum(weights)
    lowest = torch.where(taken > 0, taken * atoms, 0.0).sum(-1) / taken.sum(-1)
    return _unless_nan(belief, lowest)


def spread(belief: RewardBelief) -> Float[Tensor, "B M"]:
    """Standard deviation of the atoms under their weights, in reward units.  Not a confidence interval of anything."""
    return (belief.weights * (_counted(belief) - mean(belief)[..., None]).square()).sum(-1).sqrt()


def lcb(belief: RewardBelief, *, k: NonNegative) -> Float[Tensor, "B M"]:
    """Lower confidence bound ``mean - k std``, k >= 0, with the weighted population deviation."""
    _require("k", k)
    return mean(belief) - k * spread(belief)


def uwo(belief: RewardBelief, *, coefficient: NonNegative) -> Float[Tensor, "B M"]:
    """Uncertainty-weighted ``mean - coefficient * variance`` (Coste et al. 2023); coefficient in 1 / reward unit."""
    _require("coefficient", coefficient)
    return mean(belief) - coefficient * spread(belief).square()


def entropic(belief: RewardBelief, *, beta: Positive) -> Float[Tensor, "B M"]:
    """``-beta log sum_s w_s exp(-a_s / beta)``, beta > 0 in reward units.

    beta -> infinity is the mean, beta -> 0 the minimum; to second order it is ``mean - variance / (2 beta)``.  In
    double precision, since a large beta multiplies the rounding of a logarithm near 0.
    """
    _require("beta", beta)
    weights, atoms = belief.weights.double(), _counted(belief).double()
    shares = weights.log() - weights.sum(-1, keepdim=True).log()
    return (-beta * (shares - atoms / beta).logsumexp(-1)).to(belief.atoms)


def check(
    risk: Risk, kind: BeliefKind, size: int, levels: Sequence[float] | None, members: int | None = None
) -> list[str]:
    """Whether ``risk`` has a meaning for beliefs of this kind, asked before anything is loaded.

    ``size`` is the number of atoms, ``levels`` their quantile levels (None unless kind is "quantile") and ``members``
    how many members share them (None: as many).  The atoms of a "category" belief are fixed and their weights differ
    from row to row; of the other kinds all weights are 1/S. Returns warnings about settings that coincide or say
    little.  Raises InputError for a parameter out of range or a combination without meaning.
    """
    function, parameters = (risk.func, risk.keywords) if isinstance(risk, partial) else (risk, {})
    if function not in NAMES:  # a plugin's own risk answers for itself
        return []
    name = NAMES[function]
    _check_parameters(name, parameters)
    if kind == "quantile":
        _check_levels(name, parameters, size, levels)
    if name == "mean":
        return []
    if size == 1:
        return [f"risk={name} on a reward with one atom is the same as risk=mean"]
    if kind == "category":
        return _of_categories(name, size) + _neutral(name, parameters, size)
    return _coincidences(name, parameters, size) + _few(name, kind, size if members is None else members)


NAMES: dict[Callable[..., Tensor], str] = {
    mean: "mean",
    minimum: "minimum",
    median: "median",
    quantile: "quantile",
    cvar: "cvar",
    lcb: "lcb",
    uwo: "uwo",
    entropic: "entropic",
}
PARAMETERS = {"quantile": "level", "cvar": "alpha", "lcb": "k", "uwo": "coefficient", "entropic": "beta"}
RANGES = {"level": Inside, "alpha": PositiveShare, "k": NonNegative, "coefficient": NonNegative, "beta": Positive}


def _require(key: str, value: Any) -> None:
    bound = bounds.stated(RANGES[key])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not bound.holds(value):
        raise InputError(f"risk.{key}={value}: must be a number {bound}")


def _check_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    if name in PARAMETERS:
        key = PARAMETERS[name]
        if key not in parameters:
            raise InputError(f"risk={name} needs risk.{key}, a number {bounds.stated(RANGES[key])}")
        _require(key, parameters[key])


def _check_levels(name: str, parameters: Mapping[str, Any], size: int, levels: Sequence[float] | None) -> None:
    """Levels that are no midpoints leave mass outside the outer atoms, so the atoms are no distribution."""
    if levels is None or len(levels) != size:
        raise InputError(f"a quantile belief of {size} atoms needs {size} levels, got {levels}")
    if all(abs(a - b) <= LEVEL_TOLERANCE for a, b in zip(levels, midpoint_levels(size), strict=True)):
        return
    low, high = levels[0], levels[-1]
    level = {"quantile": parameters.get("level"), "median": 0.5}.get(name)
    if level is not None and not low <= level <= high:
        said = f"risk.level={level}" if name == "quantile" else f"risk={name}"
        raise InputError(f"{said}: the reward model's quantiles only cover {low} to {high}")
    if name == "cvar":
        raise InputError(
            f"risk=cvar with alpha={parameters['alpha']} on quantile levels {low} to {high}: no atom carries the mass "
            f"below {low}, so the tail mean cannot be computed. Use a reward with midpoint levels (k - 1/2)/K, "
            f"risk=mean, or risk=quantile with risk.level={low}"
        )
    if name in ("lcb", "uwo", "entropic"):
        raise InputError(
            f"risk={name} on quantile levels {low} to {high}: the tails outside carry no atom, so variance and "
            "exponential mean cannot be computed. Use a reward with midpoint levels (k - 1/2)/K, or risk=mean"
        )


def _of_categories(name: str, size: int) -> list[str]:
    """Where a fixed support leaves a risk without meaning, or with few values."""
    if name == "minimum":
        raise InputError(
            "risk=minimum on a reward over fixed categories: the lowest category has some weight for every answer, so "
            "all answers would be worth the same. Use risk=cvar, risk=entropic or risk=lcb"
        )
    if name in ("median", "quantile"):
        return [f"risk={name} of {size} categories takes hardly a value but theirs, so many answers tie"]
    return []


def _coincidences(name: str, parameters: Mapping[str, Any], size: int) -> list[str]:
    """Which other risk this one is for ``size`` atoms of one weight, 2 or more."""
    if name == "median":
        return ["risk=median of 2 atoms is the same as risk=mean"] if size == 2 else []
    if name == "minimum":
        return []
    key = PARAMETERS[name]
    value = parameters[key]
    said = f"risk.{key}={value} of {size} atoms: risk={name} is the same as risk="
    if key in ("alpha", "level") and value * size <= 1.0 + LEVEL_TOLERANCE:
        return [f"{said}minimum, since the lowest atom alone has a mass of 1/{size}"]
    if key == "level" and (1.0 - value) * size < 1.0 - LEVEL_TOLERANCE:
        return [f"risk.level={value} of {size} atoms: risk={name} is the highest atom, the most optimistic reading"]
    if name == "lcb" and size == 2 and value == 1.0:
        return [f"{said}minimum, since the deviation is half the distance of the two"]
    return _neutral(name, parameters, size)


def _neutral(name: str, parameters: Mapping[str, Any], size: int) -> list[str]:
    """Parameters that make a risk the mean, whatever the weights."""
    key = PARAMETERS.get(name, "")
    value = parameters.get(key)
    if (key == "alpha" and value == 1.0) or (key in ("k", "coefficient") and value == 0.0):
        return [f"risk.{key}={value} of {size} atoms: risk={name} is the same as risk=mean"]
    return []


def _few(name: str, kind: BeliefKind, size: int) -> list[str]:
    """A deviation of two or three members is itself little known."""
    if kind == "member" and name in ("lcb", "uwo") and size < FEWEST_MEMBERS:
        return [
            f"risk={name} on {size} members: their deviation is itself uncertain; train {FEWEST_MEMBERS} or more, or "
            "use risk=minimum or risk=entropic"
        ]
    return []
