"""``safety.json``: at which preferences a policy keeps floors under expected scores, with what confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from mora.records.front import NAN
from mora.records.read import Floats


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A floor at a preference, all in the reward's own units.

    ``least`` is what the expected score is at least, said of all floors and preferences together; ``p`` is of this one
    alone.
    """

    floor: float
    mean: float
    deviation: float  # of the scores, one per prompt
    least: float
    p: float
    p_adjusted: float
    holds: bool


@dataclass(frozen=True, kw_only=True)
class SafetyPoint:
    """A preference: what was found of each floor, and whether all are kept."""

    preference: Annotated[Floats, "M"]
    constraints: Mapping[str, Tested]  # by objective
    holds: bool
    radius: float = NAN  # share of the weight that may move away from here (between=lipschitz)


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """The prompts that were kept apart for the test, and how many earlier tests had seen one of them."""

    file: str  # its name
    sha256: str  # of the prompts
    earlier: tuple[str, ...]  # runs of those tests


@dataclass(frozen=True, kw_only=True)
class Between:
    """Where else floors are kept if the assumption is right: parts of the weight of the first objective that steers."""

    assumption: str
    objective: str
    intervals: Annotated[Floats, "_ 2"]
    share: float  # of the whole simplex of two objectives


@dataclass(frozen=True, kw_only=True)
class Safety:
    """The table."""

    run: str
    objectives: Annotated[tuple[str, ...], "M"]
    judge: Literal["gold", "reward"]
    sealed: Sealed | None  # None: a rehearsal on prompts that other measurements use too
    prompts: int
    samples_per_prompt: int
    delta: float
    bound: str
    correction: str
    worst: float
    definition: str
    points: tuple[SafetyPoint, ...]
    solution: bool  # whether the floors are kept at one preference or more
    between: Between | None = None
    notes: tuple[str, ...] = ()


def verdict(table: Safety) -> str:
    """What came out, in a sentence without a full stop."""
    kept = sum(point.holds for point in table.points)
    places = "the preference of the policy" if len(table.points) == 1 else f"{kept} of {len(table.points)} preferences"
    said = f"floors are kept at {places}" if table.solution else "no solution found: floors are certified nowhere"
    return said if table.sealed else f"rehearsal on held-out prompts, which certifies nothing: {said}"


def safety_notes(table: Safety) -> list[str]:
    """What a reader must know before relying on the table, in sentences without a full stop."""
    notes = list(table.notes)
    if table.sealed is not None and table.sealed.earlier:
        count = len(table.sealed.earlier)
        notes.append(
            f"prompts of this test were in {count} earlier one{'s' if count > 1 else ''}: a policy that was chosen or "
            "trained after that is not covered"
        )
    flat = sorted({name for point in table.points for name, one in point.constraints.items() if one.deviation == 0})
    if flat and table.bound == "student_t" and table.worst == 1:
        notes.append(
            f"all scores of {', '.join(flat)} are equal at a preference, where Student's t has nothing to go by and "
            "misses rare failures; bound=hoeffding or empirical_bernstein allows for them"
        )
    return notes
