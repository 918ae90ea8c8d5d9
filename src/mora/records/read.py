"""Records from JSON by the annotations of their fields, so that a bad value is named by its file and key.

Arrays are ``Annotated[Floats, "P M"]``: numbers in lists, one list in another for each axis.  An axis named by a
capital has one length in the whole file, one in small letters in its object; a number is a length, ``_`` any one.  A
tuple may name its axis too.  Null is NaN as a number, and an array of NaN where the lengths are known (``_``: 0).  A
field with a default may be missing.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mora.errors import InputError
from mora.files import read_json

Floats = NDArray[np.float64]
Record = TypeVar("Record")
WRONG = {str: "is no text", bool: "is neither true nor false", int: "is no whole number", float: "is no number"}


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record in a JSON file.  Raises ``InputError`` that names the file and the key that is missing or wrong."""
    return record(read_json(path), kind, str(path))


def record(content: Any, kind: type[Record], file: str) -> Record:
    """A record of JSON ``content``; ``file`` is what errors name.  Raises ``InputError`` as :func:`read_record`."""
    found: Record = _Reader(file).read(content, kind, "")
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lengths: dict[str, int] = {}

    def refuse(self, place: str, problem: str) -> NoReturn:
        raise InputError(f"{self.file}: {place or 'the table'} {problem}; make the tables again")

    def read(self, value: Any, kind: Any, place: str) -> Any:
        """The value as its annotation wants it; ``place`` are the keys that lead to it."""
        origin, inner = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if origin is Annotated:
            return self._with_axes(value, inner[0], inner[1].split(), place)
        if origin in (Union, types.UnionType):
            return self._one_of(value, inner, place)
        if origin is Literal:
            if value not in inner:
                self.refuse(place, f"is none of {', '.join(map(str, inner))}")
            return value
        if origin is tuple:
            return tuple(self.read(v, inner[0], f"{place}[{i}]") for i, v in enumerate(self._list(value, place)))
        if origin is Mapping:
            return {key: self.read(v, inner[1], _below(place, key)) for key, v in self._object(value, place).items()}
        return self._record(value, kind, place) if is_dataclass(kind) else self._plain(value, kind, place)

    def _plain(self, value: Any, kind: type, place: str) -> Any:
        if kind is float and value is None:
            return float("nan")
        known = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not known or (isinstance(value, bool) and kind is not bool):
            self.refuse(place, WRONG[kind])
        return kind(value)

    def _one_of(self, value: Any, kinds: Sequence[Any], place: str) -> Any:
        """None where it may be; else a list as an array or a tuple, anything else as the other kind."""
        if value is None and type(None) in kinds:
            return None
        rest = [kind for kind in kinds if kind is not type(None)]
        lists = [kind for kind in rest if get_origin(kind) in (Annotated, tuple)]
        others = [kind for kind in rest if kind not in lists]
        return self.read(value, (lists or others)[0] if isinstance(value, list) else (others or lists)[0], place)

    def _record(self, value: Any, kind: Any, place: str) -> Any:
        content, found = self._object(value, place), {}
        for one in fields(kind):
            key = one.metadata.get("key", one.name)
            if key in content:
                found[one.name] = self.read(content[key], _hints(kind)[one.name], _below(place, key))
            elif one.default is MISSING and one.default_factory is MISSING:
                self.refuse(_below(place, key), "is missing")
        self.lengths = {axis: length for axis, length in self.lengths.items() if not axis.islower()}
        try:
            return kind(**found)
        except InputError:
            raise
        except ValueError as error:  # of a record that holds its parts against each other: begins with a key
            key, _, problem = str(error).partition(" ")
            self.refuse(_below(place, key), problem)

    def _with_axes(self, value: Any, kind: Any, axes: Sequence[str], place: str) -> Any:
        if get_origin(kind) is tuple:
            if not self._list(value, place) and axes[0] not in self.lengths:
                self.refuse(place, "is empty")
            self._length(axes[0], len(value), place)
            return self.read(value, kind, place)
        numbers = np.array(self._numbers(value, axes, place), dtype=np.float64)
        try:
            return numbers.reshape(self._shape(value, axes))
        except ValueError:
            self.refuse(place, "is empty")

    def _numbers(self, value: Any, axes: Sequence[str], place: str) -> Any:
        if not axes:
            return self._plain(value, float, place)
        if value is None and all(axis in self.lengths or axis == "_" or axis.isdigit() for axis in axes):
            return np.full([self._known(axis) for axis in axes], np.nan)
        self._length(axes[0], len(self._list(value, place)), place)
        return [self._numbers(v, axes[1:], f"{place}[{i}]") for i, v in enumerate(value)]

    def _shape(self, value: Any, axes: Sequence[str]) -> list[int]:
        """The lengths of an array whose lists have been read; -1 is what is left where one of them has any length."""
        if 0 in (first := [len(value)] if isinstance(value, list) else []):
            return [*first, *(self._known(axis) for axis in axes[1:])]
        return [-1 if axis == "_" else self._known(axis) for axis in axes]

    def _known(self, axis: str) -> int:
        return int(axis) if axis.isdigit() else self.lengths.get(axis, 0)

    def _length(self, axis: str, length: int, place: str) -> None:
        """Holds the length of an axis against what the file has said of it; the first time is what counts."""
        wanted = length if axis == "_" else int(axis) if axis.isdigit() else self.lengths.setdefault(axis, length)
        if length != wanted:
            self.refuse(place, f"has {length} values where {wanted} belong")

    def _list(self, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            self.refuse(place, "is no list")
        return list(value)

    def _object(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.refuse(place, "is no object")
        return dict(value)


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
