"""How the columns of a source can be wrong, and a source as a command composes it; the table is in `published.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from mora.dataset.source import Source
from mora.settings.compose import compose

REMOVED = "<removed>"
USED = None  # in place of a kind: the record is good all the same
Wrong = Sequence[tuple[Any, str | None]]  # a value in place of the good one, and the kind of bad row that it makes

MISSING: Wrong = [(REMOVED, "missing_field")]
BROKEN: Wrong = [("\ud83d", "broken_text"), ("a\x1euser\nb", "broken_text")]
MAY_BE_EMPTY: Wrong = [*MISSING, (None, "wrong_type"), (7, "wrong_type"), (["a"], "wrong_type"), *BROKEN]
TEXT: Wrong = [*MAY_BE_EMPTY, ("", "empty_text"), (" \n", "empty_text")]
NAN = float("nan")
LABEL: Wrong = [
    *[(REMOVED, USED), (None, USED)],
    *[("1", "wrong_type"), (True, "wrong_type"), (NAN, "wrong_type"), (2, "out_of_range")],
]
FLAG: Wrong = [(REMOVED, USED), (None, USED), (1, "wrong_type"), ("true", "wrong_type")]
MARK: Wrong = [(REMOVED, "missing_field"), *FLAG[1:]]
ITEMS: Wrong = [*MISSING, (None, "wrong_type"), ("a", "wrong_type"), ({}, "wrong_type")]
OBJECT: Wrong = [*MISSING, ("a", "wrong_type"), ([], "wrong_type")]


def rating(low: float, high: float, *, required: bool) -> Wrong:
    """How a rating can be wrong."""
    return [
        *[(REMOVED, "missing_field" if required else USED), (None, USED)],
        *[("3", "wrong_type"), (True, "wrong_type"), (NAN, "wrong_type"), ([high, "x"], "wrong_type")],
        *[(low - 1, "out_of_range"), (high + 1, "out_of_range"), ([high, high + 1], "out_of_range")],
    ]


def whole(low: int, high: int) -> Wrong:
    """How a whole number can be wrong."""
    return [
        *[*MISSING, (None, "wrong_type"), ("1", "wrong_type"), (True, "wrong_type"), (0.5, "wrong_type")],
        *[(low - 1, "out_of_range"), (high + 1, "out_of_range")],
    ]


@dataclass(frozen=True, kw_only=True)
class Example:
    """Good records of a source; the first of them is the one that is made wrong, column by column.

    ``rows``: how many pairs, scored answers, supervised answers and prompts they become, and how many give no row.
    """

    records: Sequence[Mapping[str, Any]]
    rows: tuple[int, int, int, int, int]
    columns: Mapping[str, Wrong]
    contradictions: Sequence[tuple[Mapping[str, Any], str]] = ()  # changed fields, and the kind
    folder: str | None = None  # the subset that they stand in
    keys: Mapping[str, Any] = field(default_factory=dict)  # further settings
    objectives: tuple[str, ...] | None = None  # None: the source's own


@cache
def _composed(name: str) -> Any:
    extra = ["dataset.path=FILE"] if name in ("alpaca_farm", "jsonl", "messages") else []
    return compose("train", [f"dataset={name}", *extra])


def own_objectives(name: str) -> tuple[str, ...]:
    """The objectives that go with a source."""
    return tuple(_composed(name).objectives.names)


def source(name: str, **keys: Any) -> Source:
    """The source as a command composes it, without a held-out share and with a high ceiling for bad rows."""
    given = {"max_bad_share": 0.9, "test_share": 0.0} | keys
    given.setdefault("path", None)
    config = OmegaConf.to_container(_composed(name).dataset, resolve=True)
    made = instantiate(OmegaConf.create(config | given), _convert_="all")
    assert isinstance(made, Source)
    return made


def put(fields: Mapping[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a record with another value at a dotted place (numbers are positions in lists), or without it."""
    head, _, rest = place.partition(".")
    copy: Any = list(fields) if isinstance(fields, list) else dict(fields)
    key: Any = int(head) if isinstance(fields, list) else head
    if rest:
        copy[key] = put(copy[key], rest, value)
    elif value == REMOVED:
        copy.pop(key, None)
    else:
        copy[key] = value
    return copy
