"""Identity of a configuration: a hash of what it says, a slug to read, and how it differs from the defaults."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from mora.errors import InputError
from mora.settings.resolvers import guarded
from mora.settings.secrets import masked, masked_text

HASH_LENGTH = 10
SLUG_LENGTH = 60
NAME_LENGTH = 150  # of the readable part of a run's name; names of files around it add to that


def plain(value: Any) -> Any:
    """``value`` as plain dictionaries, lists and scalars; an omegaconf node is resolved, by the resolvers allowed."""
    if isinstance(value, DictConfig | ListConfig):
        with guarded():
            return plain(OmegaConf.to_container(value, resolve=True))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def canonical_json(value: Any) -> str:
    """One text for one meaning: sorted keys, no spaces, the shortest digits that give a float back, 1.0 written as 1.

    Raises TypeError for a value that is not made of mappings, lists, text, numbers, booleans and null.
    """
    return json.dumps(_canonical(plain(value)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def identity_hash(mapping: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of the SHA-256 of :func:`canonical_json`; a secret does not enter it."""
    return hashlib.sha256(canonical_json(masked(plain(mapping))).encode()).hexdigest()[:HASH_LENGTH]


def slug(text: str) -> str:
    """``text`` as one short path component of letters, digits, dots and dashes, with a hash of the whole text.

    Secrets in it are masked first.
    """
    text = masked_text(text)
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:SLUG_LENGTH].rstrip("-.")
    return f"{readable or 'default'}-{hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]}"


def run_name(slug: str, identity: Mapping[str, Any]) -> str:
    """Name of the folder of a run: what can be read of it in letters, digits, dots and dashes, and its hash."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", slug).strip("-.")[:NAME_LENGTH].rstrip("-.")
    return f"{readable}-{identity_hash(identity)}"


def section(cfg: Mapping[str, Any] | DictConfig, names: Iterable[str]) -> dict[str, Any]:
    """The named parts of a configuration, as plain values; a name may be dotted.

    Raises InputError for a name that the configuration lacks.
    """
    tree = plain(cfg)
    parts: dict[str, Any] = {}
    for name in names:
        node = tree
        for step in name.split("."):
            if not isinstance(node, dict) or step not in node:
                raise InputError(f"{name}: the configuration has no such key")
            node = node[step]
        parts[name] = node
    return parts


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted key; a list is a leaf, and so is an empty mapping."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Leaves that differ: ``{key: {"left": .., "right": ..}}``; a side is absent where only the other has the key."""
    a, b = flatten(left), flatten(right)
    found: dict[str, dict[str, Any]] = {}
    for key in sorted(a.keys() | b.keys()):
        sides = {name: flat[key] for name, flat in (("left", a), ("right", b)) if key in flat}
        if len(sides) == 1 or canonical_json(sides["left"]) != canonical_json(sides["right"]):
            found[key] = sides
    return found


def to_yaml(cfg: Mapping[str, Any] | DictConfig, within: Mapping[str, Any] | None = None) -> str:
    """The configuration as YAML, resolved, in its own order, with its secrets and those of ``within`` masked."""
    text: str = yaml.dump(
        masked(plain(cfg), within),
        Dumper=get_omega_conf_dumper(),
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
    )
    return text
