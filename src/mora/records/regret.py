"""``regret.json``: what a policy is worth, exactly, against the best there is.  P preferences, M objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np

from mora.records.front import NAN, SCORERS, SPLIT_NAMES
from mora.records.read import Floats

WHO = ("reference", "policy", "optimum")


@dataclass(frozen=True, kw_only=True)
class Each:
    """A number of each of the three policies that are compared."""

    reference: float
    policy: float
    optimum: float


@dataclass(frozen=True, kw_only=True)
class EachScores:
    """Expected scores (M,) of each of them."""

    reference: Annotated[Floats, "M"]
    policy: Annotated[Floats, "M"]
    optimum: Annotated[Floats, "M"]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A floor under the expected reward of an objective, and what the three expect above it (below 0: missed).

    In standard deviations of the reference policy; ``multiplier`` is the optimum's, in gain per unit of reward.
    """

    floor: float
    multiplier: float
    reference: float
    policy: float
    optimum: float


@dataclass(frozen=True, kw_only=True)
class RegretPoint:
    """The three at one preference.  ``relative_regret``: 0 is the optimum, 1 the reference policy."""

    preference: Annotated[Floats, "M"]
    utility: Each  # reward units
    kl: Each  # nats
    gold: EachScores
    relative_regret: float
    constraints: Mapping[str, Constraint] = field(default_factory=dict)  # by objective


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of the regrets at all preferences; that of a prompt is NaN where prompts have none."""

    relative_regret_worst_prompt: float = NAN


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The regret of the run that stands for the class limit."""

    run: str
    points: Annotated[tuple[RegretPoint, ...], "P"]
    summary: Summary = Summary()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The policies by one scorer."""

    points: Annotated[tuple[RegretPoint, ...], "P"]
    summary: Summary
    limited: Limit | None = field(default=None, metadata={"key": "limit"})

    @cached_property
    def utility(self) -> Mapping[str, Floats]:
        """Utilities (P,) of the three, in reward units."""
        return {who: np.array([getattr(point.utility, who) for point in self.points]) for who in WHO}

    @cached_property
    def kl(self) -> Mapping[str, Floats]:
        """KL (P,) of the three, in nats; rounding alone is below 0."""
        return {who: np.array([getattr(point.kl, who) for point in self.points]).clip(min=0.0) for who in WHO}

    @cached_property
    def gold(self) -> Mapping[str, Floats]:
        """Expected gold scores (P, M) of the three."""
        return {who: np.array([getattr(point.gold, who) for point in self.points]) for who in WHO}

    @cached_property
    def regret(self) -> Floats:
        """Relative regrets (P,)."""
        return np.array([point.relative_regret for point in self.points])

    @cached_property
    def limit(self) -> Floats | None:
        """Relative regrets (P,) of the class limit."""
        return None if self.limited is None else np.array([point.relative_regret for point in self.limited.points])


@dataclass(frozen=True, kw_only=True)
class SplitRegret:
    """What was measured on the prompts of one split, of which all ``responses`` are known."""

    prompts: tuple[str, ...]
    responses: int
    scorers: Mapping[str, Judged]
    pure: Annotated[Floats, "_ M"]  # gold scores that single responses have
    hull: Annotated[Floats, "_ M"]  # those that no mixture of others reaches or beats

    def __post_init__(self) -> None:
        if not set(self.scorers) & set(SCORERS):
            raise ValueError(f"scorers has none of {', '.join(SCORERS)}")

    @cached_property
    def judged(self) -> Mapping[str, Judged]:
        """What each scorer says, gold first."""
        return {scorer: self.scorers[scorer] for scorer in SCORERS if scorer in self.scorers}

    @cached_property
    def preferences(self) -> Floats:
        """The preferences (P, M)."""
        return np.array([point.preference for point in next(iter(self.judged.values())).points])


@dataclass(frozen=True, kw_only=True)
class Regrets:
    """The table: exact utilities over all responses, by split."""

    run: str
    objectives: Annotated[tuple[str, ...], "M"]
    kl_coef: float  # reward units per nat
    scalarize: str  # the class of the scalarization
    definition: str
    splits: Mapping[str, SplitRegret]


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What the table says of the prompts of one split."""

    split: str
    objectives: tuple[str, ...]
    prompts: int
    responses: int
    kl_coef: float
    scalarize: str
    definition: str
    preferences: Floats  # P M
    judged: Mapping[str, Judged]
    pure: Floats
    hull: Floats

    @classmethod
    def of(cls, table: Regrets) -> list[Regret]:
        """One for each split, that of training first."""
        return [
            cls(
                split=split,
                objectives=table.objectives,
                prompts=len(found.prompts),
                responses=found.responses,
                kl_coef=table.kl_coef,
                scalarize=table.scalarize,
                definition=table.definition,
                preferences=found.preferences,
                judged=found.judged,
                pure=found.pure,
                hull=found.hull,
            )
            for split in SPLIT_NAMES
            if (found := table.splits.get(split))
        ]
