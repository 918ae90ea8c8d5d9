"""Records from JSON: what a field may hold, how axes are held against each other, and how a bad value is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from mora.errors import InputError
from mora.records.read import Floats, record


@dataclass(frozen=True, kw_only=True)
class Part:
    x: Annotated[Floats, "n"]
    y: Annotated[Floats, "n"]
    row: Annotated[Floats, "M"] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    names: Annotated[tuple[str, ...], "M"]
    side: Literal["left", "right"] = field(metadata={"key": "where"})
    values: Annotated[Floats, "_ M"] = field(default_factory=lambda: np.empty((0, 2)))
    either: float | Annotated[Floats, "M"] = 0.0
    parts: Mapping[str, Part] = field(default_factory=dict)
    count: int | None = None
    known: bool = True

    def __post_init__(self) -> None:
        if self.count == 7:
            raise ValueError("count is seven")


GOOD = {"names": ["a", "b"], "where": "left"}


def read(**more: Any) -> Table:
    return record(GOOD | more, Table, "t.json")


def test_what_is_missing_has_its_default_and_null_is_nan() -> None:
    table = read(values=[[1, None], None], either=[1, 2], more="not read")
    assert (table.names, table.side, table.count) == (("a", "b"), "left", None)
    assert np.array_equal(table.values, [[1, np.nan], [np.nan, np.nan]], equal_nan=True)
    assert table.either.tolist() == [1, 2] and read(either=3).either == 3.0  # type: ignore[union-attr]
    assert np.isnan(read(either=None).either) and read(values=[]).values.shape == (0, 2)


def test_axes_in_small_letters_are_those_of_an_object() -> None:
    parts = read(parts={"p": {"x": [1], "y": [2]}, "q": {"x": [1, 2], "y": [3, 4], "row": None}}).parts
    assert [len(part.y) for part in parts.values()] == [1, 2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"names": []}, "names is empty"),
        ({"names": "ab"}, "names is no list"),
        ({"names": ["a", 1]}, r"names\[1\] is no text"),
        ({"where": "up"}, "where is none of left, right"),
        ({"values": [[1, 2, 3]]}, r"values\[0\] has 3 values where 2 belong"),
        ({"values": [[1, True]]}, r"values\[0\]\[1\] is no number"),
        ({"values": [[1, "2"]]}, r"values\[0\]\[1\] is no number"),
        ({"parts": {"p": {"x": [1]}}}, r"parts\.p\.y is missing"),
        ({"parts": {"p": {"x": [1], "y": [1, 2]}}}, r"parts\.p\.y has 2 values where 1 belong"),
        ({"parts": [1]}, "parts is no object"),
        ({"count": 1.0}, "count is no whole number"),
        ({"count": True}, "count is no whole number"),
        ({"known": 1}, "known is neither true nor false"),
        ({"count": 7}, "count is seven"),
    ],
)
def test_a_bad_value_is_named_by_file_and_key(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"^t\.json: {said}; make the tables again$"):
        read(**changed)


def test_what_is_no_object_and_a_key_that_is_missing() -> None:
    with pytest.raises(InputError, match=r"^t\.json: the table is no object"):
        record([1], Table, "t.json")
    with pytest.raises(InputError, match=r"^t\.json: where is missing"):
        record({"names": ["a"]}, Table, "t.json")
