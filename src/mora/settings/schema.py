"""What a composition knows: its keys, the kind of value each takes, and the nearest known key to a wrong one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from mora.settings import kinds
from mora.settings.declared import OPEN, SPECIAL, declared
from mora.settings.kinds import Kind
from mora.settings.targets import HOME, Definition, TargetError, define, spelled

CUTOFF = 0.6  # similarity below which no key is suggested


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known dotted key most similar to ``wrong``: whole keys and last parts count alike."""

    def similarity(candidate: str) -> float:
        whole = difflib.SequenceMatcher(None, wrong, candidate).ratio()
        last = difflib.SequenceMatcher(None, wrong.rpartition(".")[2], candidate.rpartition(".")[2]).ratio()
        return (whole + last) / 2

    scored = [(similarity(candidate), -len(candidate), candidate) for candidate in known]
    best = max(scored, default=(0.0, 0, ""))
    return best[2] if best[0] >= CUTOFF else None


class Schema:
    """Keys of one composition, given as a plain tree (unresolved, without Hydra's own section)."""

    def __init__(self, tree: dict[str, Any]) -> None:
        """Keep ``tree``, which is not changed."""
        self.tree = tree

    @cached_property
    def nodes(self) -> dict[str, Any]:
        """Every dotted key, sections included, with its value; also ``start.ROLE`` of the algorithm's own roles."""
        found: dict[str, Any] = {}

        def walk(node: dict[str, Any], prefix: str) -> None:
            for key, value in node.items():
                found[f"{prefix}{key}"] = value
                if isinstance(value, dict):
                    walk(value, f"{prefix}{key}.")

        walk(self.tree, "")
        roles = found.get("algo.needs") if "start" in found else None
        return {f"start.{role}": None for role in (roles if isinstance(roles, dict) else ())} | found

    @property
    def missing(self) -> set[str]:
        """Keys that have no value yet (``???`` in the YAML)."""
        return {key for key, value in self.nodes.items() if isinstance(value, str) and value == "???"}

    def _definition(self, key: str) -> Definition | None:
        parent = self.tree if "." not in key else self.nodes[key.rpartition(".")[0]]
        target = parent.get("_target_") if isinstance(parent, dict) else None
        if not isinstance(target, str) or not target.startswith(f"{HOME}."):
            return None
        try:
            return define(target)
        except TargetError:
            return None  # reported where targets are checked

    def kind(self, key: str) -> Kind:
        """What ``key`` takes."""
        definition = self._definition(key)
        section, _, name = key.rpartition(".")
        if definition is not None and definition.annotations.get(name) is not None:
            return kinds.of_annotation(definition.annotations[name])
        said = declared(key) if definition is None or name not in definition.annotations else None
        if said is not None:
            return kinds.of_annotation(spelled(said))
        if section and definition is None and self.kind(section).values is not None:
            return self.kind(section).values or kinds.ANY
        return kinds.of_value(self.nodes[key])

    def _may_be_null(self, key: str) -> bool:
        """Whether what a section is handed to may get null in its place; where nothing is declared it may."""
        definition = self._definition(key)
        return definition is None or kinds.takes_null(definition.annotations.get(key.rpartition(".")[2]))

    def is_open(self, key: str) -> bool:
        """Whether ``key`` is, or lies in, an open section that this composition has."""
        return any(key == section or key.startswith(f"{section}.") for section in OPEN if section in self.nodes)

    def unknown(self, key: str, groups: Iterable[str] = ()) -> str | None:
        """Why ``key`` is refused, or None when it is known or lies in an open section; ``groups`` are suggested too."""
        if key in self.nodes or self.is_open(key):
            return None
        for end in [place for place, letter in enumerate(key) if letter == "."]:
            if isinstance(self.nodes.get(key[:end]), list):
                return f"{key}: {key[:end]} is a list; give the whole list, {key[:end]}=[..]"
        close = nearest(key, {*self.nodes, *groups})
        starts = [name for name in self.nodes if key.startswith("start.") and name.startswith("start.")]
        listed = f" (there are {', '.join(starts)})" if starts else ""
        return f"{key}: unknown key" + (f"; the nearest is {close}" if close else "") + listed

    def section(self, key: str) -> str:
        """What is said where a section is set to something else."""
        own = [str(name) for name in self.nodes[key] if name not in SPECIAL]
        return f"{key}: this is a section with the keys {', '.join(own or map(str, self.nodes[key]))}; set one of them"

    def problems(self, key: str, value: Any) -> list[str]:
        """Why setting ``key`` to ``value`` is refused; a mapping is checked key by key."""
        reason = self.unknown(key)
        if reason is not None:
            return [reason]
        if self.is_open(key) or key.rpartition(".")[2] in SPECIAL:
            return []
        present = self.nodes[key]
        if isinstance(value, dict) and isinstance(present, dict):
            return [found for name, item in value.items() for found in self.problems(f"{key}.{name}", item)]
        kind = self.kind(key)
        may_go = value is None and "." in key and self._may_be_null(key)
        refused = kind != kinds.ANY and not kind.accepts(value)
        if isinstance(present, dict) and not may_go and (refused or (value is None and "." in key)):
            return [self.section(key)]
        if kind.accepts(value):
            return []
        outside = isinstance(value, int | float) and kind.without_bounds().accepts(value)
        return [f"{key}={_shown(value)}: {key} takes {kind}" + ("" if outside else f", not {_named(value)}")]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _named(value: Any) -> str:
    if value is None or isinstance(value, list):
        return "null" if value is None else f"the list {value}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    names = {"int": "an integer", "float": "a number with a fraction", "str": "text", "bool": "true or false"}
    return names.get(type(value).__name__, f"the mapping {value}")
