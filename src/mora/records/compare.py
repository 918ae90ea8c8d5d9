"""``compare.json``: policies against each other.

P preferences, M objectives, S seeds, K budgets of KL, R reference points; NaN stands where the table holds null.
Scores are in standard deviations of the reference policy, 0 is its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mora.records.front import NAN, Indicator, ReferencePoint, Split
from mora.records.read import Floats
from mora.records.verdicts import Pair, check_names

COLUMNS = ("kl", "kl_margin", "utility", "utility_margin", "win_rate", "win_rate_low", "win_rate_high",
           "worst_objective", "valid", "tokens", "ended")  # fmt: skip
REFERENCE = "reference policy of "  # begins the method of the reference policy's answers
Row = Annotated[Floats, "M"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a method reaches at a preference; margins are half widths of intervals."""

    preference: Row
    scores: Row
    margins: Row
    unscaled: Row  # in the judge's own unit
    at_matched_kl: Row  # scores at the KL budget of the preference
    win_rates: Row  # per objective
    kl: float  # nats
    kl_margin: float
    utility: float
    utility_margin: float
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    worst_objective: float
    valid: float
    tokens: float
    ended: float
    dominated: bool


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The reference policy of a method."""

    scores: Row
    unscaled: Row
    worst_objective: float
    valid: float
    tokens: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Band:
    """Attainment surfaces of two objectives: of resampled fronts, the share ``level`` attains what lies below one."""

    levels: Annotated[tuple[float, ...], "levels"]
    surfaces: Annotated[tuple[Annotated[Floats, "_ 2"], ...], "levels"]  # corners of each


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Indicators at each budget of KL (K,), with the ends of their intervals."""

    hypervolume: Annotated[Floats, "K"]
    hypervolume_interval: Annotated[Floats, "K 2"]
    inner_product: Annotated[Floats, "K"]
    inner_product_interval: Annotated[Floats, "K 2"]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What runs cost; NaN where it was not recorded."""

    generated_tokens: float
    trained_tokens: float
    forward_passes: float
    peak_memory_gib: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StageUsage(Usage):
    """What one run cost."""

    run: str
    algo: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a method cost: its run, that with all runs below it, and those one by one."""

    run: Usage
    chain: Usage
    stages: tuple[StageUsage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the comparison, over all of its seeds."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    algo: str
    model: str
    smoke: bool
    steered: bool  # False: one policy for all preferences
    settings: Mapping[str, Any]
    trained_by: str | None
    judge_trained_it: bool
    covers: str
    points: Annotated[tuple[Point, ...], "P"]
    reference: Reference
    by_seed: Annotated[Floats, "_ P M"] = field(metadata={"key": "fronts_by_seed"})
    band: Band | None = None
    indicators: Mapping[str, Indicator]
    at_matched_kl: Mapping[str, Indicator] | None = None
    curve: Curve | None = field(default=None, metadata={"key": "kl_curve"})
    budget: Budget | None = None

    @cached_property
    def scores(self) -> Floats:
        """Scores (P, M)."""
        return np.array([point.scores for point in self.points])

    @cached_property
    def margins(self) -> Floats:
        """Half widths (P, M) of the intervals of the scores."""
        return np.array([point.margins for point in self.points])

    @cached_property
    def matched(self) -> Floats:
        """Scores (P, M) at the KL budget of each preference."""
        return np.array([point.at_matched_kl for point in self.points])

    @cached_property
    def columns(self) -> Mapping[str, Floats]:
        """The other numbers of points (P,), by the names in ``COLUMNS``."""
        return {name: np.array([getattr(point, name) for point in self.points]) for name in COLUMNS}

    @cached_property
    def dominated(self) -> NDArray[np.bool_]:
        """Which points (P,) another one of the method dominates."""
        return np.array([point.dominated for point in self.points], dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Hypervolumes over reference points that move away from the pooled front."""

    reach: float
    distances: Annotated[Floats, "R"]
    hypervolumes: Mapping[str, Annotated[Floats, "R"]]  # of each method


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges, and in which unit."""

    name: str
    kind: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class Standardization:
    """The mean and the deviation that the unit of the scores is made of."""

    mean: Row
    std: Row
    answers: int
    rule: str


@dataclass(frozen=True, kw_only=True)
class Origin(ReferencePoint):
    """The reference point, also in the judge's own unit."""

    unscaled: Row | None = None


@dataclass(frozen=True, kw_only=True)
class Granted:
    """Nats that matched KL allows at each preference (P,), and the rule."""

    values: Annotated[Floats, "P"]
    rule: str = "–"


@dataclass(frozen=True, kw_only=True)
class World:
    """The world's exact front."""

    front: Annotated[Floats, "_ M"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The table."""

    name: str = field(metadata={"key": "comparison"})
    objectives: Annotated[tuple[str, ...], "M"]
    preferences: Annotated[Floats, "P M"]
    methods: tuple[Method, ...]
    pairs: tuple[Pair, ...]
    family: int
    level: float
    prompts: int
    samples_per_prompt: int
    judge: Judge
    split: Split
    origin: Origin = field(metadata={"key": "reference_point"})
    warnings: tuple[str, ...]
    dataset: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    resamples: int | None = None
    standardization: Standardization | None = None
    granted: Granted | None = field(default=None, metadata={"key": "kl_budget"})
    kl_budgets: Annotated[Floats, "K"] = field(default_factory=lambda: np.empty(0))  # nats
    sweep: Sweep | None = None
    world: World | None = None

    def __post_init__(self) -> None:
        check_names(self.names, self.pairs)
        for m, method in enumerate(self.methods):
            for p, (point, preference) in enumerate(zip(method.points, self.preferences, strict=True)):
                if not np.allclose(point.preference, preference):
                    where = f"methods[{m}].points[{p}].preference"
                    raise ValueError(f"{where} is not the preference in this place of the grid")
        missing = [name for name in self.names if self.sweep and name not in self.sweep.hypervolumes]
        if missing:
            raise ValueError(f"sweep.hypervolumes.{missing[0]} is missing")

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names in their order."""
        return tuple(method.name for method in self.methods)

    @property
    def unit(self) -> str:
        """The unit of the scores in words."""
        return self.judge.unit

    @property
    def reference_point(self) -> Floats:
        """The reference point (M,)."""
        return self.origin.values

    @property
    def kl_budget(self) -> Floats:
        """Nats at each preference (P,); NaN where nothing is granted."""
        return self.granted.values if self.granted else np.full(len(self.preferences), NAN)
