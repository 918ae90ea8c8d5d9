"""Values of a JSON table that know where they stand, so that a bad one is named by file and key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mora.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Located:
    """A JSON value and its place: ``compare.json: methods[1].points[0]``.  Every method may raise ``InputError``."""

    value: Any
    place: str  # keys from the top of the file, empty at the top
    file: str

    def refuse(self, problem: str) -> NoReturn:
        """Say what is wrong with this value and where it stands."""
        raise InputError(f"{self.file}: {self.place or 'the table'} {problem}; make the tables again")

    def __getitem__(self, key: str) -> Located:
        """The value below ``key``, which must be there, null or not."""
        if not isinstance(self.value, dict):
            self.refuse(f"is no object with a key {key!r}")
        place = f"{self.place}.{key}" if self.place else key
        if key not in self.value:
            Located(None, place, self.file).refuse("is missing")
        return Located(self.value[key], place, self.file)

    def get(self, key: str) -> Located | None:
        """The value below ``key``; None where it is missing, null or empty."""
        here = self[key] if isinstance(self.value, dict) and key in self.value else None
        return None if here is None or here.value is None or here.value in ({}, []) else here

    def items(self) -> list[Located]:
        """The members of a list."""
        if not isinstance(self.value, list):
            self.refuse("is no list")
        return [Located(v, f"{self.place}[{i}]", self.file) for i, v in enumerate(self.value)]

    def fields(self) -> dict[str, Located]:
        """The members of an object by name."""
        if not isinstance(self.value, dict):
            self.refuse("is no object")
        return {str(key): self[key] for key in self.value}

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            self.refuse("is no text")
        return str(self.value)

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(item.text() for item in self.items())

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.refuse("is neither true nor false")
        return bool(self.value)

    def number(self) -> float:
        """A number; NaN for null."""
        if self.value is None:
            return float("nan")
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.refuse("is no number")
        return float(self.value)

    def count(self) -> int:
        """A whole number, which must be known."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.refuse("is no whole number")
        return int(self.value)

    def vector(self, width: int) -> Floats:
        """A list of ``width`` numbers as an array (width,); null is NaN, as a whole or in part."""
        if self.value is None:
            return np.full(width, np.nan)
        found = self.items()
        if len(found) != width:
            self.refuse(f"has {len(found)} numbers where {width} belong")
        return np.array([item.number() for item in found], dtype=np.float64)

    def matrix(self, width: int, rows: int | None = None) -> Floats:
        """A list of rows of ``width`` numbers as an array (rows, width)."""
        found = [item.vector(width) for item in self.items()]
        if rows is not None and len(found) != rows:
            self.refuse(f"has {len(found)} rows where {rows} belong")
        return np.array(found, dtype=np.float64).reshape(len(found), width)
