"""How the card of a reward model names its kind, so that scores are read as they were trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_object

from mora.errors import InputError
from mora.reward import RewardKind
from mora.settings.permitted import refused

TARGET = "_target_"


def section_of(kind: RewardKind) -> dict[str, Any]:
    """A kind as JSON: its class and its fields, as a YAML of ``conf/reward`` has them; kinds within it likewise."""
    values = {field.name: getattr(kind, field.name) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    fields = {name: section_of(cast(RewardKind, v)) if dataclasses.is_dataclass(v) else v for name, v in values.items()}
    return {TARGET: f"{type(kind).__module__}.{type(kind).__qualname__}", **fields}


def kind_of(section: Mapping[str, Any], path: Path) -> RewardKind:
    """The kind that the card at ``path`` names.

    A file must not make code run, so the class is one of mora's kinds, or of a package that the command line names.
    Raises InputError for any other, and for fields that its class does not take.
    """
    problems = list(refused(section, ("reward",)))
    if problems:
        raise InputError(f"{path}: {problems[0]}; or train the reward model again")
    fields = {name: kind_of(v, path) if isinstance(v, Mapping) and TARGET in v else v for name, v in section.items()}
    target = str(fields.pop(TARGET, ""))
    made, name = get_object(target) if target else None, target.rpartition(".")[2]
    if not (isinstance(made, type) and dataclasses.is_dataclass(made) and hasattr(made, "shape")):
        raise InputError(f"{path}: {target or 'nothing'} is no reward kind; train the reward model again")
    taken = {field.name for field in dataclasses.fields(made)}
    if set(fields) != taken:
        odd = ", ".join(sorted(set(fields) ^ taken))
        raise InputError(f"{path}: the reward kind {name} does not fit this version of it ({odd}); train it again")
    try:
        return cast(RewardKind, made(**fields))
    except (TypeError, InputError) as error:
        raise InputError(
            f"{path}: the reward kind {name} cannot be made of {fields} ({error}); train it again"
        ) from error
