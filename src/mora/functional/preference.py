"""Preferences: points on the simplex that belong to rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Float, Int
from scipy.special import gammaincinv
from torch import Tensor

from mora import bounds
from mora.bounds import Positive, Share
from mora.errors import InputError
from mora.functional.noise import Stream, uniform

_TOLERANCE = 1e-4


def on_simplex(preference: Float[Tensor, "B M"]) -> bool:
    """Whether every row is finite, non-negative and sums to 1 (tolerance 1e-4)."""
    finite = bool(torch.isfinite(preference).all())
    return finite and bool((preference >= 0).all()) and bool(((preference.sum(-1) - 1).abs() <= _TOLERANCE).all())


def checked(preferences: Any, objectives: Sequence[str], key: str) -> Float[Tensor, "P M"]:
    """One preference or a list of them, as given by a user under ``key``, as (P, M) float32.

    Raises InputError for the wrong number of weights, a negative one, or weights that do not sum to 1.
    """
    given = [preferences] if not preferences or not isinstance(preferences[0], (list, tuple)) else list(preferences)
    for one in given:
        shown, order = f"{key}={list(one)}", ", ".join(objectives)
        if len(one) != len(objectives) or not all(isinstance(w, (int, float)) for w in one):
            raise InputError(f"{shown}: give {len(objectives)} weights, one for each of {order}")
        if not on_simplex(torch.tensor([one], dtype=torch.float64)):
            raise InputError(f"{shown}: weights ({order}) must not be negative and must sum to 1, not {sum(one):g}")
    return torch.tensor([list(one) for one in given], dtype=torch.float32)


def among(preference: Float[Tensor, "B M"], left_out: Sequence[int]) -> Float[Tensor, "B M"]:
    """Preferences without the weights of some objectives, which become 0; the others are scaled to sum 1.

    Raises InputError where nothing else is weighed.
    """
    if not left_out:
        return preference
    kept = preference.index_fill(-1, torch.tensor(list(left_out), device=preference.device), 0.0)
    total = kept.sum(-1, keepdim=True)
    if not bool((total > 0).all()):
        shown = ",".join(f"{weight:g}" for weight in preference[int((total <= 0).flatten().nonzero()[0])].tolist())
        raise InputError(
            f"preference [{shown}]: weighs nothing but what is kept above a floor; weigh another objective"
        )
    return kept / total


def dirichlet(
    keys: Int[Tensor, " B"], objectives: int, *, concentration: float, seed: int, step: int
) -> Float[Tensor, "B M"]:
    """Dirichlet(c, .., c) on the simplex of M objectives, one draw for each key.

    Independent Gamma(c) draws, by inversion of the regularized incomplete gamma function, divided by their sum.
    """
    axes = torch.arange(objectives)
    u = uniform(seed, Stream.DIRICHLET, step, keys.cpu()[:, None], axes[None, :])
    gamma = torch.from_numpy(gammaincinv(concentration, u.numpy())).clamp_min(torch.finfo(torch.float64).tiny)
    return (gamma / gamma.sum(-1, keepdim=True)).float()


Unit = Literal["row", "group", "sample", "batch"]


class Drawing(Protocol):
    """How the rows of a rollout get their preferences."""

    unit: Any  # what shares one preference, a ``Unit``
    fixed: bool  # whether it is one and the same at every step

    def __call__(
        self,
        rows: Int[Tensor, " B"],
        groups: Int[Tensor, " B"],
        numbers: Int[Tensor, " B"],
        objectives: int,
        *,
        seed: int,
        step: int,
    ) -> Float[Tensor, "B M"]:
        """Preferences for rows with identities ``rows``, the ``numbers``-th samples of the prompts ``groups``."""


@dataclass(kw_only=True)
class Fixed:
    """One preference for all rows of a run: ``preference=fixed``.  ``weights`` None: equal ones."""

    unit: ClassVar[Unit] = "batch"
    fixed: ClassVar[bool] = True
    weights: list[Share] | None

    def __post_init__(self) -> None:
        bounds.check(self, "preference")

    def of(self, objectives: int) -> Float[Tensor, " M"]:
        """The preference (M,).  Raises InputError for another number of weights, or weights that do not sum to 1."""
        if self.weights is None:
            return torch.full((objectives,), 1 / objectives)
        names = [f"objective {number}" for number in range(1, objectives + 1)]
        return checked(self.weights, names, "preference.weights")[0]

    def __call__(
        self,
        rows: Int[Tensor, " B"],
        groups: Int[Tensor, " B"],
        numbers: Int[Tensor, " B"],
        objectives: int,
        *,
        seed: int,
        step: int,
    ) -> Float[Tensor, "B M"]:
        """The same preference for every row."""
        return self.of(objectives).expand(len(rows), -1).clone()


@dataclass(kw_only=True)
class Sampler:
    """Draws training preferences: a vertex with probability ``vertex_probability``, else Dirichlet(concentration).

    ``unit`` says what shares one preference: each ``row``; each ``group`` of samples of a prompt; the n-th ``sample``
    of every prompt; or the whole ``batch`` (as in Panacea, Zhong et al. 2024, Algorithm 1).  Sampling the vertices more
    often than a density would is that paper's remark; the probability is our choice.
    """

    fixed: ClassVar[bool] = False
    unit: Unit
    vertex_probability: Share
    concentration: Positive

    def __post_init__(self) -> None:
        bounds.check(self, "preference")

    def __call__(
        self,
        rows: Int[Tensor, " B"],
        groups: Int[Tensor, " B"],
        numbers: Int[Tensor, " B"],
        objectives: int,
        *,
        seed: int,
        step: int,
    ) -> Float[Tensor, "B M"]:
        """Preferences for rows with identities ``rows``, the ``numbers``-th samples of the prompts ``groups``."""
        keys = {"row": rows, "group": groups, "sample": numbers, "batch": torch.zeros_like(rows)}[self.unit].cpu()
        interior = dirichlet(keys, objectives, concentration=self.concentration, seed=seed, step=step)
        u = uniform(seed, Stream.VERTEX, step, keys[:, None], torch.arange(2)[None, :])
        vertex = (u[:, 1] * objectives).long().clamp_max(objectives - 1)
        corners = torch.eye(objectives)[vertex]
        return torch.where((u[:, :1] < self.vertex_probability), corners, interior)
