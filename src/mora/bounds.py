"""Bounds of numbers, stated in the annotation of the field that they bound.

``steps: Count`` says that ``algo.steps=0`` is refused.  Settings read the annotation from the source before anything
is loaded (:mod:`mora.settings.kinds`); :func:`check` reads it again from an object that Python code or the
card of a stored model makes.  Every number is finite: ``nan`` and ``inf`` are within no bounds, and neither is what is
no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, IsFinite, Le, Lt

from mora.errors import InputError

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
AtLeastTwo = Annotated[int, Ge(2)]
Seed = Annotated[int, Interval(ge=0, le=9_223_372_036_854_775_807)]
Number = IsFinite[float]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
Part = Annotated[float, Interval(ge=0, lt=1)]  # a share that leaves something
Inside = Annotated[float, Interval(gt=0, lt=1)]
Betas = tuple[Decay, Decay]
NUMBERS = {int: (Integral, "an integer"), float: (Real, "a number")}  # what may stand for each, and its name


@dataclass(frozen=True)
class Bound:
    """The range of a number; a side that is None is open.  ``stated`` tells no bound from bounds that allow all."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    stated: bool = True

    def holds(self, value: float) -> bool:
        """Whether ``value`` is finite and within."""
        return (
            math.isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        """The bounds in words: `of at least 0 and below 1`; empty where every finite number is within."""
        sides = (("of at least", self.ge), ("above", self.gt), ("at most", self.le), ("below", self.lt))
        return " and ".join(f"{word} {limit}" for word, limit in sides if limit is not None)


UNBOUNDED = Bound(stated=False)


def of(constraints: Iterable[Any]) -> Bound:
    """The bound that the constraints of ``Annotated`` state; others than numbers' are passed over."""
    limits: dict[str, float] = {}
    stated = False
    for constraint in constraints:
        stated = True
        for kind, key in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if isinstance(constraint, kind | Interval) and getattr(constraint, key, None) is not None:
                limits[key] = getattr(constraint, key)
    return Bound(**limits, stated=stated) if stated else UNBOUNDED


def stated(alias: Any) -> Bound:
    """The bound of one of the aliases above."""
    return of(alias.__metadata__)


@cache
def _hints(made: Any) -> dict[str, Any]:
    return get_type_hints(made, include_extras=True)


def check(settings: object, where: str) -> None:
    """Raise InputError where a field of a dataclass is no number within its bounds; ``where`` is its section's key."""
    made: Any = type(settings)
    for name, hint in _hints(made).items():
        if not hasattr(settings, name):
            continue
        for place, value, must in _broken(getattr(settings, name), hint, f"{where}.{name}"):
            raise InputError(f"{place}={value!r}: must be {must}")


def _broken(value: Any, hint: Any, place: str) -> Iterator[tuple[str, Any, str]]:
    """What in ``value`` is no number within the bound that ``hint`` states for it: place, value, what it must be."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        bound = of(hint.__metadata__)
        if not _number(value, hint.__origin__):
            yield place, value, f"{NUMBERS[hint.__origin__][1]} {bound}".rstrip()
        elif not bound.holds(value):
            yield place, value, str(bound).removeprefix("of ") or "a finite number"
    elif get_origin(hint) in (Union, UnionType):
        for one in _members(value, arguments):
            yield from _broken(value, one, place)
    elif isinstance(value, list | tuple) and _collects(hint):
        hints = [argument for argument in arguments if argument is not Ellipsis]
        for number, item in enumerate(value):
            yield from _broken(item, hints[min(number, len(hints) - 1)], f"{place}[{number}]")
    elif isinstance(value, Mapping) and len(arguments) == 2 and not _collects(hint):
        for key, item in value.items():
            yield from _broken(item, arguments[1], f"{place}.{key}")


def _number(value: Any, kind: type) -> bool:
    return isinstance(value, NUMBERS[kind][0]) and not isinstance(value, bool)


def _members(value: Any, union: tuple[Any, ...]) -> Iterator[Any]:
    """The members of a union that ``value`` is held against: those of numbers, where no other may take it."""
    bounded = [one for one in union if get_origin(one) is Annotated]
    others = [one for one in union if one not in bounded and one is not NoneType]
    if value is None and NoneType in union:
        return
    yield from bounded if not others or isinstance(value, Real) and not isinstance(value, bool) else others


def _collects(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and (issubclass(origin, list | tuple) or origin.__name__ == "Sequence")
