"""What is wrong with an override of a value: its key, its type and bounds, what it would build, import or call."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from mora.settings import permitted, resolvers
from mora.settings.declared import SPECIAL
from mora.settings.overrides import values
from mora.settings.schema import Schema
from mora.settings.tree import Tree


def value_problems(tree: Tree, schema: Schema, override: Override) -> list[str]:
    """What is wrong with the key that an override sets, and with its values."""
    key = override.key_or_group
    unknown = schema.unknown(key, tree.groups)
    if unknown is not None:
        return [_with_groups(tree, key, unknown)]
    if schema.is_open(key):
        return []
    if override.is_delete():
        return [f"~{key}: a key cannot be removed; set it to another value"]
    if override.is_add():
        return [f"+{key}: {key} is there already; write {key}= without the sign"]
    return [found for value in values(override) for found in schema.problems(key, value)]


def _with_groups(tree: Tree, key: str, message: str) -> str:
    """Add where else a key is known: under another choice of its group."""
    group, _, rest = key.partition(".")
    if not rest:
        return message
    elsewhere = []
    if group in tree.groups:
        for choice in tree.choices(group):
            path = tree.root / group / f"{choice}.yaml"
            if path.is_file() and _written(OmegaConf.load(path), rest):
                elsewhere.append(f"{group}={choice}")
    return f"{message}; known with {', '.join(elsewhere)}" if elsewhere else message


def _written(file: Any, key: str) -> bool:
    """Whether a file has a value for a dotted key; what the value refers to does not matter."""
    place: Any = OmegaConf.to_container(file, resolve=False)
    for name in key.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place is not None


def target_problems(tree: dict[str, Any], valued: list[Override]) -> list[str]:
    """Objects that are refused, packages that the user did not name, resolvers that no value may call."""
    problems = [*_unnamed(tree.get("plugins")), *permitted.refused(tree)]
    for override in valued:
        key = override.key_or_group
        for value in values(override):
            problems += _unnamed(value) if key == "plugins" else []
            problems += resolvers.refused(value, key)
            *above, last = key.split(".")
            nested, place = ({last: value}, above) if last in SPECIAL else (value, [*above, last])
            problems += _of_value(tree, nested, place)
    return problems


def _of_value(tree: dict[str, Any], value: Any, place: list[str]) -> list[str]:
    """What an override would build: a whole section, or the key of a section that says what it is."""
    if isinstance(value, dict) and "_target_" not in value and set(value) & set(SPECIAL):
        section: Any = tree
        for step in place:
            section = section.get(step, {}) if isinstance(section, dict) else {}
        value = {"_target_": section.get("_target_"), **value} if isinstance(section, dict) else value
    return list(permitted.refused(value, tuple(place)))


def _unnamed(packages: Any) -> list[str]:
    """Packages that a file would make known: only the user's own command line names them."""
    listed = packages if isinstance(packages, list) else [] if packages is None else [packages]
    odd = [str(name) for name in listed if name not in permitted.granted()]
    return (
        [f"plugins: {', '.join(odd)} is not named on the command line; write plugins=[{','.join(odd)}]"] if odd else []
    )
