"""The configuration that a run folder keeps: data, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mora.errors import InputError
from mora.settings.algorithm import described
from mora.settings.permitted import check
from mora.settings.reading import read_mapping

CONFIG = "config.yaml"
SECTIONS = ("algo", "model", "dataset", "objectives", "evaluation", "runtime", "paths", "start")
MADE = ("algo", "model", "dataset", "evaluation", "runtime")  # of these, what objects are made of


def stored_config(folder: Path | str) -> dict[str, Any]:
    """The configuration of the run in ``folder``, as it was written: nothing in it is resolved.

    Raises InputError for a file that is no such configuration, and for an object that a configuration may not name;
    objects outside mora need their package under ``plugins`` of the present command line.
    """
    path = Path(folder) / CONFIG
    config = read_mapping(path)
    check(config, str(path))
    missing = [key for key in (*SECTIONS, "seed") if key not in config]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} is missing; name a folder made by mora.train")
    for key in SECTIONS:
        if not isinstance(config[key], dict):
            raise InputError(f"{path}: {key} is no section; the file is damaged")
    if isinstance(config["seed"], bool) or not isinstance(config["seed"], int):
        raise InputError(f"{path}: seed={config['seed']!r} is no whole number; the file is damaged")
    for key in MADE:
        if "_target_" not in config[key]:
            raise InputError(f"{path}: {key}._target_ is missing; name a folder made by mora.train")
    if "name" not in config["algo"]:
        raise InputError(f"{path}: algo.name is missing: the run is of an earlier version; train it again")
    for key in described(config["algo"], str(path)).reads:
        if not isinstance(config.get(key), dict) or key != "objectives" and "_target_" not in config[key]:
            raise InputError(f"{path}: {key} names no object, and algo.reads lists it; the file is damaged")
    return config
