"""Files that change other keys and bring none of their own (experiments, sweeps): what they set must be there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mora.settings.identity import flatten
from mora.settings.overrides import as_text
from mora.settings.schema import Schema
from mora.settings.tree import Tree


def written(composed: DictConfig) -> dict[str, Any]:
    """What is written in a composition, without Hydra's section."""
    tree: Any = OmegaConf.to_container(composed)
    return {key: value for key, value in tree.items() if key != "hydra"}


def check_overlays(
    tree: Tree, native: list[str], composed: DictConfig, overlays: Mapping[str, Any]
) -> tuple[Schema, list[str]]:
    """The schema without the overlay files, and what is wrong with the keys that those files set."""
    choices = {name: choice for name, choice in composed.hydra.runtime.choices.items() if choice is not None}
    kept = [f"{name}={as_text(choices[name])}" for name in tree.groups if name in choices and name not in overlays]
    bare = tree.compose([*native, *kept, *(f"~{group}" for group in overlays)])
    schema = Schema(written(bare))
    before, after = flatten(written(bare)), flatten(written(composed))
    names = " ".join(f"{group}={choice}" for group, choice in overlays.items() if choice)
    changed = [key for key, value in after.items() if key not in before or before[key] != value]
    problems = []
    for key in changed:
        advice = "" if schema.unknown(key) is None else _advice(tree, overlays, choices, key)
        problems += [f"{names}: {found}{advice}" for found in schema.problems(key, after[key])]
    return schema, problems


def _advice(tree: Tree, overlays: Mapping[str, Any], choices: Mapping[str, Any], key: str) -> str:
    """Which file sets a key that the chosen groups lack, and what to do."""
    section, places = key.partition(".")[0], [tree.root, *map(Path, tree.searchpath)]
    for group, choice in overlays.items():
        for file in [place / group / f"{choice}.yaml" for place in places]:
            if file.is_file() and OmegaConf.select(OmegaConf.load(file), key, throw_on_missing=False) is not None:
                chosen = f"{section}={choices[section]}" if section in choices else "the command"
                others = ", ".join(name for name in tree.choices(group) if name != choice)
                return (
                    f". {file} sets it, and {chosen} has no such key: choose what that file is for, take the key out "
                    f"of it, or name another {group} ({others})"
                )
    return ""
