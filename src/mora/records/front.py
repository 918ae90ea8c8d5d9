"""``front.json``: what one policy reaches as its preference moves.  P preferences, M objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np

from mora.records.read import Floats

NAN = float("nan")
SCORERS = ("gold", "reward")
COLUMNS = ("kl", "kl_stderr", "ended", "valid", "distinct", "tokens")
SPLIT_NAMES = {"train": "prompts of training", "test": "held-out prompts"}  # what the prompts of a table are
Split = Literal["train", "test"]
Scores = Annotated[Floats, "M"] | None  # one per objective; None of a scorer that there is not


@dataclass(frozen=True, kw_only=True)
class Point:
    """What the policy reaches at a preference, or what its reference policy reaches; errors are standard errors."""

    preference: Scores = None  # None: the reference policy
    gold: Scores = None
    gold_stderr: Scores = None
    reward: Scores = None
    reward_stderr: Scores = None
    kl: float = NAN  # nats
    kl_stderr: float = NAN
    ended: float = NAN  # share of answers, as the next two
    valid: float = NAN
    distinct: float = NAN
    tokens: float = NAN  # of an answer


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """A number of a front, or one per objective (M,), with the ends of its interval, where there is one."""

    value: float | Annotated[Floats, "M"]
    interval: Annotated[Floats, "2"] | None = None
    level: float = NAN  # of the interval
    definition: str = ""


@dataclass(frozen=True, kw_only=True)
class ReferencePoint:
    """Where hypervolumes are measured from, and the rule that it came from."""

    values: Annotated[Floats, "M"]
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a world knows of its best: its exact front, and the best points of the preferences, without a KL term."""

    front: Annotated[Floats, "_ M"]
    best: Annotated[Floats, "_ M"]


@dataclass(frozen=True, kw_only=True)
class Front:
    """The table.  The prompts of the split ``test`` are held-out ones."""

    run: str
    model: str
    objectives: Annotated[tuple[str, ...], "M"]
    judge: Literal["gold", "reward"]
    split: Split
    points: tuple[Point, ...]
    start: Point | None = field(default=None, metadata={"key": "reference"})
    smoke: bool = False
    seed: int | None = None
    prompts: int | None = None
    samples_per_prompt: int | None = None
    reference_point: Mapping[str, ReferencePoint] = field(default_factory=dict)
    indicators: Mapping[str, Mapping[str, Indicator]] = field(default_factory=dict)
    world: World | None = None
    scorers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # where they come from
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.judge not in self.scores:
            raise ValueError(f"judge is {self.judge}, which scored no point")
        for scorer, known in self.indicators.items():
            if "kendall_tau" in known and np.ndim(known["kendall_tau"].value) == 0:
                raise ValueError(f"indicators.{scorer}.kendall_tau.value is no list with one number per objective")

    @property
    def shown(self) -> list[str]:
        """The scorers that have scores, the judge first."""
        return sorted(self.scores, key=lambda scorer: (scorer != self.judge, scorer))

    @cached_property
    def preferences(self) -> Floats:
        """The preferences (P, M)."""
        return self.rows("preference", self.points)

    @cached_property
    def scores(self) -> Mapping[str, Floats]:
        """The scores (P, M) of each scorer that has some; NaN where one is missing."""
        return {
            s: self.rows(s, self.points) for s in SCORERS if any(getattr(point, s) is not None for point in self.points)
        }

    @cached_property
    def errors(self) -> Mapping[str, Floats]:
        """The standard errors (P, M) of the scores of each scorer."""
        return {s: self.rows(f"{s}_stderr", self.points) for s in self.scores}

    @cached_property
    def columns(self) -> Mapping[str, Floats]:
        """The other numbers of points (P,), by the names in ``COLUMNS``."""
        return {name: np.array([getattr(point, name) for point in self.points]) for name in COLUMNS}

    @cached_property
    def reference(self) -> Mapping[str, Floats]:
        """The scores (M,) of the reference policy by each scorer that knows them."""
        return {s: getattr(self.start, s) for s in self.scores if getattr(self.start, s, None) is not None}

    def rows(self, name: str, points: Sequence[Point]) -> Floats:
        """What stands under ``name`` in points (n, M), one number per objective; NaN where nothing does."""
        missing, found = np.full(len(self.objectives), np.nan), [getattr(point, name) for point in points]
        rows = [missing if row is None else row for row in found]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))
