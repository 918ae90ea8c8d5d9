"""How the card of a reward model names its kind, so that scores are read as they were trained."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mora.errors import InputError
from mora.reward import RewardKind

HOME = "mora.reward."
TARGET = "_target_"


def section_of(kind: RewardKind) -> dict[str, Any]:
    """A kind as JSON: its class and its fields, as a YAML of ``conf/reward`` has them; kinds within it likewise."""
    values = {field.name: getattr(kind, field.name) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    fields = {name: section_of(cast(RewardKind, v)) if dataclasses.is_dataclass(v) else v for name, v in values.items()}
    return {TARGET: f"{type(kind).__module__}.{type(kind).__qualname__}", **fields}


def kind_of(section: Mapping[str, Any], path: Path) -> RewardKind:
    """The kind that the card at ``path`` names.

    A file must not make code run, so the class is one of mora's, or of a module that was imported before.
    Raises InputError for any other, and for fields that its class does not take.
    """
    fields = {name: kind_of(v, path) if isinstance(v, Mapping) and TARGET in v else v for name, v in section.items()}
    module, _, name = str(fields.pop(TARGET, "")).rpartition(".")
    loaded = importlib.import_module(module) if _is_own(module) else sys.modules.get(module)
    made = None if loaded is None else vars(loaded).get(name)
    if not (isinstance(made, type) and dataclasses.is_dataclass(made) and _has_loss(made)):
        raise InputError(
            f"{path}: the reward kind {module}.{name} is neither one of mora's nor imported; name its package under "
            "plugins, or train the reward model again"
        )
    taken = {field.name for field in dataclasses.fields(made)}
    if set(fields) != taken:
        odd = ", ".join(sorted(set(fields) ^ taken))
        raise InputError(f"{path}: the reward kind {name} does not fit this version of it ({odd}); train it again")
    try:
        return cast(RewardKind, made(**fields))
    except TypeError as error:
        raise InputError(
            f"{path}: the reward kind {name} cannot be made of {fields} ({error}); train it again"
        ) from error


def _has_loss(made: type) -> bool:
    return any(callable(vars(base).get("loss")) for base in made.__mro__)


def _is_own(module: str) -> bool:
    if not module.startswith(HOME):
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a parent of it is no package
        return False
