"""``reward.json``: a reward model on held-out pairs, by objective; NaN stands where the table holds null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from mora.records.front import NAN
from mora.records.read import Floats
from mora.records.verdicts import Ends

Matrix = Annotated[Floats, "all all"]  # of every two objectives


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The share of ``n`` pairs that are ordered as labelled, the best that any model could do, and their ratio."""

    value: float = NAN
    interval: Ends | None = None
    bayes: float = NAN
    share_of_bayes: float = NAN
    share_interval: Ends | None = None
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with the ends of its interval."""

    value: float = NAN
    interval: Ends | None = None


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs of about the same confidence: its mean, and how many of them are right."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether stated confidence is met; ``ece_if_calibrated`` is what the noise of labels alone makes of the ECE."""

    ece: float = NAN
    ece_if_calibrated: float = NAN
    error: Estimate = Estimate()  # without the noise of labels
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tempered:
    """What one temperature for the log-odds makes of the calibration."""

    calibration: Calibration = Calibration()


@dataclass(frozen=True, kw_only=True)
class Sign:
    """The share of ``n`` marked answers whose score has the sign of their mark."""

    value: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Pairs of about the same margin, or of about the same spread."""

    count: int
    accuracy: float = NAN
    calibration_error: float = NAN
    spread: float = NAN  # of the belief
    true_spread: float = NAN  # of annotators


@dataclass(frozen=True, kw_only=True)
class HardCases:
    """Pairs in bins by ascending spread, and by ascending margin."""

    bins: tuple[Doubt, ...] = ()
    margin_bins: tuple[Doubt, ...] = ()
    true_spread_correlation: float = NAN


@dataclass(frozen=True, kw_only=True)
class Together:
    """The share of ``n`` pairs on which every objective that labels them is right."""

    value: float
    interval: Ends | None = None
    n: int


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Every two objectives on the pairs that both label."""

    objectives: Annotated[tuple[str, ...], "all"]
    n: Matrix
    conflict_rate: Matrix
    predicted_rate: Matrix
    precision: Matrix
    recall: Matrix
    joint_accuracy: Matrix
    joint_accuracy_on_conflicts: Matrix
    joint_accuracy_on_agreement: Matrix
    pearson: Matrix
    kendall: Matrix
    all_right: Together


@dataclass(frozen=True, kw_only=True)
class RewardQuality:
    """The table.  An objective without labels is in none of its parts."""

    objectives: tuple[str, ...]
    kind: str = "unknown"
    model: str = ""
    smoke: bool = False
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    log_loss: Mapping[str, float] = field(default_factory=dict)
    log_loss_above_best: Mapping[str, Estimate | None] = field(default_factory=dict)  # where a synthetic task knows
    temperature: Mapping[str, Tempered | None] = field(default_factory=dict)
    sign: Mapping[str, Sign | None] = field(default_factory=dict)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    spread: Mapping[str, HardCases] = field(default_factory=dict)
    conflicts: Conflicts | None = None
    agreement: Mapping[str, Annotated[Floats, "_ 2"]] = field(default_factory=dict)  # reward and gold of answers

    def __post_init__(self) -> None:
        if self.conflicts and not set(self.conflicts.objectives) <= set(self.objectives):
            raise ValueError("conflicts.objectives names what is no objective")
