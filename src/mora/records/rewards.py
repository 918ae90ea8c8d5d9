"""``reward_comparison.json`` and ``reward_curves.json``: reward models against each other.

S seeds, G places of a density, B bins of a histogram; NaN stands where a table holds null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mora.errors import InputError
from mora.files import read_json
from mora.records.read import Floats, read_record, record
from mora.records.verdicts import Ends, Verdict, check_names

COMPARED = ("accuracy", "log_loss")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of one method on one objective: the mean over seeds, its interval if there is one, and each seed's."""

    value: float
    interval: Ends | None = None
    by_seed: Annotated[Floats, "_"]

    @property
    def deviation(self) -> float:
        """The standard deviation of the seeds; NaN where there is one, or where one of them has no value."""
        return float(self.by_seed.std(ddof=1)) if len(self.by_seed) > 1 else float("nan")


@dataclass(frozen=True, kw_only=True)
class RewardMethod:
    """One method of the comparison, over all of its seeds; ``metrics`` by objective and name."""

    name: str
    kind: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    model: str
    settings: Mapping[str, Any]
    covers: str
    metrics: Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, kw_only=True)
class RewardPair:
    """Two methods held against each other, by objective and metric."""

    a: str
    b: str
    covers: str
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(metadata={"key": "objectives"})
    said: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two runs judge: the share of pairs that they order alike, the correlation of their margins."""

    objective: str
    a: str
    b: str
    same_order: float
    correlation: float


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number is called and means."""

    title: str
    definition: str
    better: Literal["higher", "lower", ""]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Pairs with a label, those that are no tie, and their prompts."""

    labelled: int
    decided: int
    prompts: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where the pairs come from: the name of the data, the run that holds them, and what identifies them."""

    name: str
    run: str
    pairs: str


@dataclass(frozen=True, kw_only=True)
class Density:
    """Of scores or margins, as a curve and as a histogram."""

    density: Annotated[Floats, "G"]
    histogram: Annotated[Floats, "B"]


@dataclass(frozen=True, kw_only=True)
class Roc:
    """False and true positive rates."""

    false_positive: Annotated[Floats, "roc"]
    true_positive: Annotated[Floats, "roc"]

    @property
    def points(self) -> Floats:
        """The curve (k, 2)."""
        return np.column_stack([self.false_positive, self.true_positive])


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Confidence and accuracy of bins."""

    confidence: Annotated[Floats, "bins"]
    accuracy: Annotated[Floats, "bins"]

    @property
    def points(self) -> Floats:
        """The curve (n, 2)."""
        return np.column_stack([self.confidence, self.accuracy])


@dataclass(frozen=True, kw_only=True)
class Risk:
    """Error rates by coverage, pairs left out by margin and by spread; None where a model has no spread."""

    coverage: Annotated[Floats, "risk"]
    margin: Annotated[Floats, "risk"] | None = None
    spread: Annotated[Floats, "risk"] | None = None

    def by(self, kind: str) -> Floats | None:
        """The curve (k, 2) of pairs left out by ``margin`` or ``spread``."""
        rates: Floats | None = getattr(self, kind)
        return None if rates is None else np.column_stack([self.coverage, rates])


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one method on one objective; ``gold`` are reward and gold score, empty where no world knows."""

    densities: Mapping[str, Density]  # better, worse, margin
    roc: Roc
    risk: Risk
    calibration: Calibration
    gold: Annotated[Floats, "_ 2"]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn of one objective."""

    bandwidth: float
    grid: Annotated[Floats, "G"]
    edges: Annotated[Floats, "_"]
    methods: Mapping[str, Curves]

    def __post_init__(self) -> None:
        densities = (density for curves in self.methods.values() for density in curves.densities.values())
        if any(len(density.histogram) + 1 != len(self.edges) for density in densities):
            raise ValueError("edges are not one more than the bins between them")


@dataclass(frozen=True, kw_only=True)
class RewardComparison:
    """``reward_comparison.json``, and what is drawn beside it."""

    name: str = field(metadata={"key": "comparison"})
    objectives: tuple[str, ...]
    methods: tuple[RewardMethod, ...]
    pairs: tuple[RewardPair, ...]
    family: int
    level: float
    resamples: int
    prompts: int
    held_out: int
    sizes: Mapping[str, Size] = field(metadata={"key": "pairs_by_objective"})
    bayes: Mapping[str, float]
    metrics: Mapping[str, Metric]
    agreement: tuple[Agreement, ...]
    warnings: tuple[str, ...]
    dataset: Dataset
    drawn: Mapping[str, Drawn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("objectives is empty")
        check_names(self.names, self.pairs)
        known = {"pairs_by_objective": self.sizes, "bayes": self.bayes}
        known |= {f"methods[{i}].metrics": method.metrics for i, method in enumerate(self.methods)}
        for key, found in known.items():
            for objective in self.objectives:
                if objective not in found:
                    raise ValueError(f"{key}.{objective} is missing")

    @property
    def names(self) -> tuple[str, ...]:
        """The methods' names in their order."""
        return tuple(method.name for method in self.methods)


def curves_of(content: Any, file: str) -> Mapping[str, Drawn]:
    """The curves of each objective in the content of ``reward_curves.json``.  Raises ``InputError`` as ``record``."""
    drawn: Mapping[str, Drawn] = record(content, Mapping[str, Drawn], file)  # type: ignore[type-abstract]
    return drawn


def read_reward_comparison(tables: Path) -> RewardComparison:
    """The tables in a folder.  Raises ``InputError`` that names the file and the key that is missing or wrong."""
    comparison, curves = read_record(tables / "reward_comparison.json", RewardComparison), tables / "reward_curves.json"
    drawn = curves_of(read_json(curves), str(curves))
    for objective, found in drawn.items():
        for name in comparison.names:
            if name not in found.methods:
                raise InputError(f"{curves}: {objective}.methods.{name} is missing; make the tables again")
    return replace(comparison, drawn={o: drawn[o] for o in comparison.objectives if o in drawn})
