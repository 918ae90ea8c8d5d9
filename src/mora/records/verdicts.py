"""What comparisons say of pairs of methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mora.records.read import Floats

JUDGED = ("hypervolume", "inner_product")  # the indicators that pairs of policies are compared by
Ends = Annotated[Floats, "2"]  # of an interval


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one number of two methods; ``difference`` is that of A minus that of B."""

    difference: float
    interval: Ends
    p: float
    p_holm: float
    verdict: Literal["A > B", "B > A", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """The verdicts on the indicators that pairs are compared by."""

    hypervolume: Verdict
    inner_product: Verdict


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods held against each other."""

    a: str
    b: str
    covers: str
    verdicts: Verdicts
    at_matched_kl: Verdicts | None = None
    by_reference_point: Literal["A", "B", "equal", "depends on the reference point"] | None
    said: str


def check_names(names: tuple[str, ...], pairs: tuple[Any, ...]) -> None:
    """Raises ``ValueError`` unless methods have names of their own and pairs ``a`` and ``b`` are among them."""
    if len(set(names)) < len(names) or not names:
        raise ValueError("methods must have names, each once")
    for p, pair in enumerate(pairs):
        for side in ("a", "b"):
            if getattr(pair, side) not in names:
                raise ValueError(f"pairs[{p}].{side} names no method")
