"""What a ``_target_`` names, read from the source file: nothing is imported, so no torch is loaded."""

from __future__ import annotations

import ast
import copy
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mora

HOME = "mora"


@dataclass(frozen=True)
class Definition:
    """Parameters of a function or fields of a dataclass, with annotations; ``open`` when it takes any keyword."""

    annotations: dict[str, ast.expr | None]
    open: bool = False


class TargetError(ValueError):
    """A ``_target_`` that is refused; the message is the reason."""


@cache
def _module(name: str) -> ast.Module | None:
    """Syntax tree of a ``mora.`` module, or None when there is no such module."""
    path = Path(mora.__file__).resolve().parent.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return ast.parse(candidate.read_text(encoding="utf-8"))
    return None


def _modules() -> list[str]:
    root = Path(mora.__file__).resolve().parent
    names = [".".join((HOME, *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")]
    return sorted(name.removesuffix(".__init__") for name in names)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; the nearest is {close[0]}" if close else ""


def _objects(module: ast.Module) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    return {node.name: node for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def _imported(module: ast.Module, name: str) -> tuple[str, str] | None:
    """Module and name behind ``from x import name`` at the top of ``module``."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.module, alias.name
    return None


class _Spelled(ast.NodeTransformer):
    """Annotations with names replaced by what they stand for in a module: ``Count`` by ``Annotated[int, Ge(1)]``."""

    def __init__(self, module: ast.Module) -> None:
        self._module = module

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The value of an alias or constant of this module or of the one it comes from; any other name as it is."""
        for item in self._module.body:
            if isinstance(item, ast.Assign) and [ast.unparse(target) for target in item.targets] == [node.id]:
                made: ast.expr = self.visit(copy.deepcopy(item.value))
                return made
        origin = _imported(self._module, node.id)
        home = _module(origin[0]) if origin is not None and origin[0].split(".")[0] == HOME else None
        return node if home is None or origin is None else _Spelled(home).visit_Name(ast.Name(origin[1]))


@cache
def spelled(text: str, home: str = "mora.bounds") -> ast.expr:
    """An annotation that is given as text in the names of the module ``home``."""
    module = _module(home)
    assert module is not None
    made: ast.expr = _Spelled(module).visit(ast.parse(text, mode="eval").body)
    return made


def _is_field(item: ast.AnnAssign) -> bool:
    return "ClassVar" not in ast.unparse(item.annotation) and "init=False" not in ast.unparse(item)


def _fields(node: ast.ClassDef, module: ast.Module) -> dict[str, ast.expr | None]:
    """Annotated fields of a class, those of its bases first."""
    fields: dict[str, ast.expr | None] = {}
    for base, home in _bases(node, module):
        fields |= _fields(base, home)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and _is_field(item):
            fields[item.target.id] = _Spelled(module).visit(copy.deepcopy(item.annotation))
    return fields


def _bases(node: ast.ClassDef, module: ast.Module) -> Iterator[tuple[ast.ClassDef, ast.Module]]:
    """The base classes that are mora's own, each with the module that defines it."""
    for name in map(ast.unparse, node.bases):
        origin = _imported(module, name)
        home = module if origin is None else _module(origin[0]) if origin[0].startswith(f"{HOME}.") else None
        base = None if home is None else _objects(home).get(name if origin is None else origin[1])
        if home is not None and isinstance(base, ast.ClassDef):
            yield base, home


@cache
def constant(target: str, name: str) -> Any:
    """The text or number that a class of mora gives its attribute ``name``, itself or by a base; None where none."""
    module_name, _, made = target.rpartition(".")
    module = _module(module_name) if module_name.startswith(f"{HOME}.") else None
    node = None if module is None else _objects(module).get(made)
    return None if module is None or not isinstance(node, ast.ClassDef) else _constant(node, module, name)


def _constant(node: ast.ClassDef, module: ast.Module, name: str) -> Any:
    for item in node.body:
        if (
            isinstance(item, ast.AnnAssign)
            and ast.unparse(item.target) == name
            and isinstance(item.value, ast.Constant)
        ):
            return item.value.value
    found = (_constant(base, home, name) for base, home in _bases(node, module))
    return next((value for value in found if value is not None), None)


def _parameters(node: ast.FunctionDef, module: ast.Module, skip: int = 0) -> Definition:
    arguments = [*[*node.args.posonlyargs, *node.args.args][skip:], *node.args.kwonlyargs]
    spelled = _Spelled(module)
    annotations = {
        one.arg: spelled.visit(copy.deepcopy(one.annotation)) if one.annotation else None for one in arguments
    }
    return Definition(annotations, open=node.args.kwarg is not None)


@cache
def define(target: str) -> Definition:
    """The definition of ``mora.module.name``.  Raises TargetError unless that is a public object defined there."""
    module_name, _, name = target.rpartition(".")
    if any(part.startswith("_") for part in target.split(".")):
        raise TargetError(f"{target} is private")
    module = _module(module_name)
    if module is None:
        raise TargetError(f"there is no module {module_name}{_nearest(module_name, _modules())}")
    objects = _objects(module)
    node = objects.get(name)
    if node is None:
        origin = _imported(module, name)
        if origin is not None:
            raise TargetError(f"{name} is imported by {module_name}, not defined there; write {'.'.join(origin)}")
        public = [known for known in objects if not known.startswith("_")]
        raise TargetError(f"{module_name} defines no {name}{_nearest(name, public)}")
    if isinstance(node, ast.FunctionDef):
        return _parameters(node, module)
    own = _objects(ast.Module(body=node.body, type_ignores=[])).get("__init__")
    return _parameters(own, module, skip=1) if isinstance(own, ast.FunctionDef) else Definition(_fields(node, module))


def check(target: Any, plugins: Sequence[str]) -> Definition | None:
    """The definition behind a ``_target_`` of ``mora``; None for an object of a package listed under ``plugins``.

    Raises TargetError when the target is neither.
    """
    if not isinstance(target, str) or "." not in target:
        raise TargetError(f"{target!r} is no dotted name of an object")
    root = target.split(".")[0]
    if root == HOME:
        return define(target)
    if not any(target.startswith(f"{plugin}.") for plugin in plugins):
        raise TargetError(
            f"{target} is outside mora; to use an object of your own package, list the package: plugins=[{root}]"
        )
    if importlib.util.find_spec(root) is None:
        raise TargetError(f"the package {root} of {target} is not installed")
    return None


def targets(tree: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every constructed section in a plain tree, lists included: its dotted place and the section."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield where, tree
        for key, value in tree.items():
            yield from targets(value, f"{where}.{key}" if where else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from targets(value, f"{where}[{index}]")
