"""``sections.json``: a reward model on a benchmark of sections, which have subsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mora.records.verdicts import Ends


@dataclass(frozen=True, kw_only=True)
class Score:
    """The share of ``n`` rows whose highest score is a right answer's: a tie is wrong, or shares the credit."""

    strict: float
    strict_interval: Ends | None
    shared: float
    shared_interval: Ends | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Section(Score):
    """The mean of its subsets by their weights."""

    section: str


@dataclass(frozen=True, kw_only=True)
class Subset(Section):
    """Rows of one kind."""

    subset: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges: one objective, or a utility by weights."""

    objective: str | None = None
    preference: Mapping[str, float] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The judge in words."""
        return self.objective or ", ".join(f"{name} {weight:g}" for name, weight in self.preference.items())


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The table; ``notes`` are remarks on sections and rows."""

    path: str
    rows: int
    level: float
    judge: Judge
    sections: tuple[Section, ...]
    final: Score
    subsets: tuple[Subset, ...]
    notes: tuple[str, ...]
