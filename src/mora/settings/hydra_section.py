"""What may be set below ``hydra:``, which Hydra reads before any task: objects there are made without a word.

mora's own tree sets some of it, the command line more, and a file of the user's own folder (which may be a stranger's)
only what says which runs there are and what resources they ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mora.errors import InputError
from mora.settings.declared import is_one_line
from mora.settings.identity import canonical_json, flatten
from mora.settings.overrides import parse, values
from mora.settings.tree import Tree, opened

OBJECTS: tuple[str, ...] = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
)
"""Launchers and sweepers that may be named."""

CHOICES: tuple[str, ...] = ("basic", "joblib", "submitit_local", "submitit_slurm")
"""Their names, for ``hydra/launcher=`` and ``hydra/sweeper=``."""

COMMAND_LINE: tuple[str, ...] = (
    "mode",
    "verbose",
    "run.dir",
    "sweep.dir",
    "sweep.subdir",
    "sweeper.*",
    "launcher.*",
    "job.*",
    "help.*",
)
"""Keys below ``hydra`` (patterns) that the command line may set."""

PLACES: tuple[str, ...] = ("run.dir", "sweep.dir", "sweep.subdir", "job.name")
"""Keys below ``hydra`` that become names of folders and of jobs."""

FILES: tuple[str, ...] = (
    "mode",
    "sweeper.params",
    "sweeper.params.*",
    "sweeper.max_batch_size",
    *(f"launcher.{name}" for name in ("_target_", "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node")),
    *(f"launcher.{name}" for name in ("mem_gb", "nodes", "partition", "qos", "account", "constraint", "gres")),
    *(f"launcher.{name}" for name in ("n_jobs", "array_parallelism", "max_num_timeout", "submitit_folder", "name")),
)
"""Keys below ``hydra`` (patterns) that a file of the user's own folder may set."""

NAMED = re.compile(r"[\w.,:@/%=+\-\[\]{}$|&*()! ]*")
"""A text for a launcher: what names of partitions, resources and folders consist of, interpolations among them."""

_WRITTEN_BY_HYDRA = ("runtime.choices.*", "runtime.config_sources", "job.override_dirname")  # whatever a file says
_HANDED = ("overrides.hydra", "overrides.task", "searchpath")  # must be what mora handed to Hydra
_MAKES = ("_target_", "class", "()", "factory")


def refuse_overrides(overrides: Sequence[str]) -> None:
    """Raises InputError for an override of a key below ``hydra`` that the command line may not set."""
    for override in parse(overrides)[0]:
        key = override.key_or_group
        if key == "hydra" or key.split(".")[0] == "hydra":
            _refuse_value(override, key.partition(".")[2])
        elif key.startswith("hydra/"):
            _refuse_choice(override, key)
        elif (override.package or "").split(".")[0] == "hydra":
            raise InputError(f"{override.input_line}: a group cannot be put below hydra")


def _refuse_value(override: Override, name: str) -> None:
    key = f"hydra.{name}" if name else "hydra"
    if name == "searchpath":
        raise InputError("hydra.searchpath: cannot be set; --config-dir FOLDER adds a folder with groups of your own")
    if not _listed(name, COMMAND_LINE):
        raise InputError(f"{key}: cannot be set; what may be set below hydra is {', '.join(COMMAND_LINE)}")
    for value in [{name.rpartition(".")[2]: value} for value in values(override)]:
        for made in _made(value):
            raise InputError(f"{key}: {made} is not for settings of a run")


def _refuse_choice(override: Override, group: str) -> None:
    known = CHOICES if group in ("hydra/launcher", "hydra/sweeper") else ("mora",) if group == "hydra/help" else ()
    if override.package is not None:
        raise InputError(f"{override.input_line}: a group of hydra has its own place")
    for value in values(override):
        if value not in known:
            raise InputError(f"{group}={value}: cannot be chosen; there are {', '.join(known) or 'no choices'}")


def _made(value: Any) -> Iterator[str]:
    """What in a plain value makes Hydra or logging make an object, but a launcher or a sweeper that may be named."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _MAKES and item not in OBJECTS:
                yield f"{key}: {item}"
            yield from _made(item)
    elif isinstance(value, list):
        for item in value:
            yield from _made(item)
    elif isinstance(value, str) and value.startswith(("ext://", "cfg://")):
        yield value


def refuse_texts(tree: Tree) -> None:
    """Raises InputError for a text, whoever set it, that would be more than one word of a job's script."""
    for composed in tree.composed.values():
        for key, value in _below(composed).items():
            if key.startswith("launcher.") and _listed(key, FILES) and not NAMED.fullmatch(str(value)):
                may = "letters, digits, spaces and . , : @ / % = + - [ ] { } $ | & * ( ) !"
                raise InputError(f"hydra.{key}={value!r}: may hold {may}")
            if _listed(key, (*FILES, *PLACES)) and not is_one_line(str(_resolved(composed, key, value))):
                raise InputError(f"hydra.{key}={value!r}: holds a control character, such as the end of a line")


def _resolved(composed: DictConfig, key: str, value: Any) -> Any:
    """The value of a key below hydra; as it is written where Hydra knows it only as a job begins."""
    try:
        return OmegaConf.select(composed, f"hydra.{key}")
    except OmegaConfBaseException:
        return value


def refuse_files(tree: Tree, overrides: Sequence[str]) -> None:
    """Raises InputError where a file of the user's own folder sets a key below ``hydra`` that it may not set.

    All compositions that the check has made are looked at, each cell of a sweep among them; what they hold below
    ``hydra`` is what mora's tree alone says, what the command line sets, and what is listed for files.
    """
    if not tree.searchpath:
        return
    parsed = [override for override in parse(overrides)[0] if override.is_hydra_override()]
    said = [override.key_or_group.removeprefix("hydra.") for override in parsed if "/" not in override.key_or_group]
    with opened(tree.command, tree.root, []) as bare:
        for handed, composed in tree.composed.items():
            usual = _below(bare.compose(_launching(composed))) | _handed(handed)
            for key, value in _below(composed).items():
                ours = key not in _HANDED and any(key == name or key.startswith(f"{name}.") for name in said)
                same = key in usual and canonical_json(usual[key]) == canonical_json(value)
                if not (ours or same or _listed(key, _WRITTEN_BY_HYDRA)):
                    _refuse_of_file(key, value, tree.searchpath)


def _handed(overrides: Sequence[str]) -> dict[str, Any]:
    """What Hydra notes of the overrides that it was handed, and the folders that mora added."""
    parsed = parse(overrides)[0]
    lines = [[o.input_line for o in parsed if o.is_hydra_override() is hydra] for hydra in (True, False)]
    folders = [o.value() for o in parsed if o.key_or_group == "hydra.searchpath"]
    return dict(zip(_HANDED, [*lines, folders[0] if folders else []], strict=True))


def _launching(composed: DictConfig) -> list[str]:
    """The launcher and the sweeper of a composition, as overrides.  Raises InputError for one that is not known."""
    chosen = {group: composed.hydra.runtime.choices.get(group) for group in ("hydra/launcher", "hydra/sweeper")}
    for group, choice in chosen.items():
        if choice not in CHOICES:
            raise InputError(f"{group}={choice}: cannot be chosen; there are {', '.join(CHOICES)}")
    return [f"{group}={choice}" for group, choice in chosen.items()]


def _refuse_of_file(key: str, value: Any, folders: Sequence[str]) -> None:
    if not _listed(key, FILES) or list(_made({key.rpartition(".")[2]: value})):
        raise InputError(
            f"hydra.{key}={value}: a file of {', '.join(folders)} sets it, and only the command line may; files may "
            f"set {', '.join(FILES)}"
        )


def _listed(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _below(composed: DictConfig) -> dict[str, Any]:
    section: Any = OmegaConf.to_container(composed.hydra, resolve=False)
    flat = flatten(section)
    return {key: str(value) if key == "mode" and value is not None else value for key, value in flat.items()}
