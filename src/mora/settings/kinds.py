"""Which values a key takes: from the annotation of the field that it fills, else from the value that the YAML has.

Numbers are finite, and within the bounds that the annotation states (:mod:`mora.bounds`).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import annotated_types

from mora import bounds
from mora.bounds import UNBOUNDED, Bound

_NAMES = {"int": "an integer", "float": "a number", "str": "text", "bool": "true or false", "null": "null"}
_LISTS = frozenset({"list", "tuple", "Sequence", "Iterable", "set", "frozenset"})
_MAPPINGS = frozenset({"dict", "Mapping", "MutableMapping"})


@dataclass(frozen=True)
class Kind:
    """A set of accepted values.  ``anything`` accepts every value."""

    scalars: frozenset[str] = frozenset()  # of int, float, str, bool, null
    literals: tuple[Any, ...] = ()
    items: Kind | None = None  # of a list; None: no list
    count: int | None = None  # of the items of a list; None: any
    mapping: bool = False
    values: Kind | None = None  # of a mapping; None: not said
    anything: bool = False
    bound: Bound = UNBOUNDED  # of a number

    def __or__(self, other: Kind) -> Kind:
        """What either accepts."""
        items = self.items | other.items if self.items and other.items else self.items or other.items
        return Kind(
            self.scalars | other.scalars,
            self.literals + other.literals,
            items,
            self.count if self.items else other.count,
            self.mapping or other.mapping,
            self.values or other.values,
            self.anything or other.anything,
            self.bound if self.bound.stated else other.bound,
        )

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is of this kind; an interpolation is, since its value is not known yet."""
        if self.anything or isinstance(value, str) and "${" in value:
            return True
        if isinstance(value, dict):
            return self.mapping and (self.values is None or all(map(self.values.accepts, value.values())))
        if isinstance(value, list):
            fits = self.count in (None, len(value))
            return self.items is not None and fits and all(self.items.accepts(item) for item in value)
        return self._accepts_scalar(value)

    def _accepts_scalar(self, value: Any) -> bool:
        if any(value == literal and type(value) is type(literal) for literal in self.literals):
            return True
        if value is None:
            return "null" in self.scalars
        if isinstance(value, int | float) and not isinstance(value, bool):
            known = {"int", "float"} if isinstance(value, int) else {"float"}
            return bool(self.scalars & known) and self.bound.holds(value)
        return type(value).__name__ in self.scalars

    def without_bounds(self) -> Kind:
        """The same of finite numbers of any size."""
        return replace(self, bound=UNBOUNDED)

    @property
    def numbers(self) -> bool:
        """Whether a number is among what is accepted, at whatever depth."""
        inner = [kind for kind in (self.items, self.values) if kind is not None]
        return bool(self.scalars & {"int", "float"}) or any(kind.numbers for kind in inner)

    @property
    def bounded(self) -> bool:
        """Whether bounds are stated for all numbers that are accepted."""
        inner = [kind for kind in (self.items, self.values) if kind is not None]
        own = not self.scalars & {"int", "float"} or self.bound.stated
        return own and all(kind.bounded for kind in inner)

    def __str__(self) -> str:
        """In words, for messages."""
        shown = self.scalars - {"int"} if "float" in self.scalars else self.scalars
        within = f" {self.bound}" if str(self.bound) else ""
        names = [
            f"{text}{within}" if name in ("int", "float") else text for name, text in _NAMES.items() if name in shown
        ]
        names += ["null" if literal is None else str(literal) for literal in self.literals]
        if self.items is not None:
            many = "a list" if self.count is None else f"a list of {self.count}"
            names.append(many if self.items.anything else f"{many} (each item: {self.items})")
        if self.mapping:
            names.append("a mapping" if self.values is None else f"a mapping (each value: {self.values})")
        return " or ".join(names) or "any value"


ANY = Kind(anything=True)


@lru_cache(maxsize=1024)  # a node is one object for as long as its module is known
def of_annotation(node: ast.expr | None) -> Kind:
    """The kind that an annotation says; ANY for everything but scalars, literals, lists and mappings."""
    if isinstance(node, ast.Constant):
        return _of_constant(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return of_annotation(node.left) | of_annotation(node.right)
    if isinstance(node, ast.Name | ast.Attribute):
        return _of_name(ast.unparse(node).rpartition(".")[2])
    if isinstance(node, ast.Subscript):
        return _of_subscript(ast.unparse(node.value).rpartition(".")[2], node.slice)
    return ANY


def takes_null(node: ast.expr | None) -> bool:
    """Whether an annotation lets a value be null, whatever else it says; one that is not there does."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return takes_null(node.left) or takes_null(node.right)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).rpartition(".")[2] in ("Any", "object")
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = ast.unparse(node.value).rpartition(".")[2]
        return name == "Optional" or (name in ("Union", "Annotated") and any(map(takes_null, parts)))
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _of_constant(value: Any) -> Kind:
    if value is None:
        return Kind(frozenset({"null"}))
    return of_annotation(ast.parse(value, mode="eval").body) if isinstance(value, str) else ANY


def _of_name(name: str) -> Kind:
    if name in _NAMES:
        return Kind(frozenset({name}))
    if name in _LISTS:
        return Kind(items=ANY)
    return Kind(mapping=True) if name in _MAPPINGS else ANY


def _of_subscript(name: str, arguments: ast.expr) -> Kind:
    parts = arguments.elts if isinstance(arguments, ast.Tuple) else [arguments]
    if name == "Literal":
        return Kind(literals=tuple(ast.literal_eval(part) for part in parts))
    if name == "Annotated":
        constraints = [made for part in parts[1:] if (made := _constraint(part)) is not None]
        return replace(of_annotation(parts[0]), bound=bounds.of(constraints))
    if name == "IsFinite":
        return replace(of_annotation(parts[0]), bound=Bound())
    if name in ("Optional", "Union"):
        nothing = [ast.Constant(None)] if name == "Optional" else []
        return _union([of_annotation(part) for part in [*parts, *nothing]])
    if name in _LISTS:
        own = [part for part in parts if not _is_ellipsis(part)]
        fixed = len(parts) if name == "tuple" and len(own) == len(parts) else None
        return Kind(items=_union([of_annotation(part) for part in own]), count=fixed)
    if name in _MAPPINGS:
        values = of_annotation(parts[1]) if len(parts) == 2 else ANY
        return Kind(mapping=True, values=None if values == ANY else values)
    return ANY


def _constraint(node: ast.expr) -> Any:
    """The constraint of ``annotated_types`` that a call of its name makes; None for anything else."""
    if not isinstance(node, ast.Call):
        return None
    made = getattr(annotated_types, ast.unparse(node.func).rpartition(".")[2], None)
    given = [ast.literal_eval(argument) for argument in node.args]
    named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return made(*given, **named) if made is not None else None


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _union(kinds: list[Kind]) -> Kind:
    total = kinds[0]
    for kind in kinds[1:]:
        total |= kind
    return total


def of_value(value: Any) -> Kind:
    """The kind that a value in a YAML suggests; ANY for null, a missing value, an interpolation, an empty list."""
    if value is None or isinstance(value, str) and (value == "???" or "${" in value):
        return ANY
    if isinstance(value, list):
        kinds = [of_value(item) for item in value]
        numbers = [Kind(frozenset({"float"})) if kind == Kind(frozenset({"int"})) else kind for kind in kinds]
        return Kind(items=_union(numbers) if numbers else ANY)
    if isinstance(value, dict):
        return Kind(mapping=True)
    return Kind(frozenset({type(value).__name__}))
