"""What reward models say of pairs, which comparisons of them are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.evaluation.pairing import Origin

Floats = NDArray[np.float64]
Line = Mapping[str, Any]  # a row of pairs.csv


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the reward model of one run says of the held-out pairs, as ``Quality.measure`` gives it."""

    run: str
    table: Mapping[str, Any]
    lines: Sequence[Line]
    examples: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class RewardMethod:
    """What is compared: one reward model, or the seeds of one.  ``facts`` go into the table as they are."""

    name: str
    seeds: Sequence[Judgement]
    origins: Sequence[Origin]  # one per seed
    facts: Mapping[str, Any]


def asked(lines: Sequence[Line]) -> tuple[tuple[Any, ...], ...]:
    """What tells whether two runs judged the same pairs in the same order."""
    return tuple((line["prompt_id"], line["objective"], float(line["label"])) for line in lines)


def column(lines: Sequence[Line], name: str) -> Floats:
    """A column of the rows of ``pairs.csv`` as an array (n,)."""
    return np.array([line[name] for line in lines], dtype=np.float64)


def sizes(lines: Sequence[Line], objective: str) -> dict[str, int]:
    """The pairs with a label on an objective, those that are no tie, and their prompts."""
    own = [line for line in lines if line["objective"] == objective]
    decided = [line for line in own if line["label"] != 0.5]
    return {"labelled": len(own), "decided": len(decided), "prompts": len({line["prompt_id"] for line in own})}
