"""Whether the seeds of two methods belong together one by one: whether equal seeds stand on the same things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The seed of one run, and the ids of what it stands on (its data, the runs that it started from), by their name.

    Two runs share what has the same name and the same id.
    """

    seed: int
    stands_on: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Whether seeds are paired, and a clause that says so and why."""

    paired: bool
    said: str


def pairing(a: Sequence[Origin], b: Sequence[Origin]) -> Pairing:
    """Pairs seeds where both methods have the same ones, each once, and runs of equal seeds share something.

    What they share moves both alike: differences vary less than seeds do, and drawing seeds of each by itself would
    claim more noise than there is.
    """
    ours, theirs = ({origin.seed: origin.stands_on for origin in own} for own in (a, b))
    if len(ours) < len(a) or len(theirs) < len(b):
        return Pairing(paired=False, said="seeds not paired (one has the same seed twice)")
    if ours.keys() != theirs.keys():
        said = " against ".join(", ".join(map(str, sorted(own))) for own in (ours, theirs))
        return Pairing(paired=False, said=f"seeds not paired ({said})")
    shared = [
        name
        for name in next(iter(ours.values()), {})
        if all(name in theirs[seed] and on.get(name) == theirs[seed][name] for seed, on in ours.items())
    ]
    if not shared:
        return Pairing(paired=False, said="seeds not paired (equal seeds share neither data nor a starting policy)")
    return Pairing(paired=True, said=f"seeds paired (the same {', '.join(shared)})")
