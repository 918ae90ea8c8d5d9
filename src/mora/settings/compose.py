"""One configuration from a command and its overrides, checked as the command line checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mora.errors import InputError
from mora.settings import home, hydra_section, permitted
from mora.settings.check import check
from mora.settings.identity import difference, plain
from mora.settings.overrides import prepare
from mora.settings.resolvers import guarded
from mora.settings.tree import explain, opened


def compose(
    command: str, overrides: Sequence[str] = (), conf_dir: Path | str | None = None, *, complete: bool = True
) -> DictConfig:
    """The resolved, read-only configuration of ``command``.

    ``complete=False`` allows keys without a value (``???``).  Raises InputError that lists everything that is wrong.
    """
    ready = prepare(overrides)
    hydra_section.refuse_overrides(ready)
    with opened(command, conf_dir) as tree:
        check(tree, ready, complete=complete).refuse(command)
        hydra_section.refuse_files(tree, ready)
        composed = tree.compose(ready)
    return finish(composed, complete=complete)


def usual(command: str, overrides: Sequence[str] = (), conf_dir: Path | str | None = None) -> DictConfig:
    """What a command composes with parts of a configuration that was checked, which are not checked again.

    Keys may lack a value.  Raises InputError for an object that may not be built where it stands.
    """
    with opened(command, conf_dir) as tree:
        composed = tree.compose(prepare(overrides))
    return finish(composed, complete=False)


def choices(command: str, overrides: Sequence[str] = (), conf_dir: Path | str | None = None) -> dict[str, str]:
    """Which file of each group makes up a command: ``{"reward": "qr", ..}``; groups without a choice are left out."""
    ready = prepare(overrides)
    hydra_section.refuse_overrides(ready)
    with opened(command, conf_dir) as tree:
        chosen = tree.compose(ready).hydra.runtime.choices
        return {name: str(chosen[name]) for name in tree.groups if chosen.get(name) is not None}


def finish(composed: DictConfig, *, complete: bool = True) -> DictConfig:
    """A composition without Hydra's section, resolved and read-only.

    Raises InputError for a key without a value, for an interpolation that leads nowhere or calls what it may not, and
    for an object that may not be built where it stands: this is the configuration that is built, so it is checked here.
    """
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        with guarded():
            config = _finished(own, complete=complete)
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from error
    permitted.check(plain(config), "")
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    return config


def _finished(own: DictConfig, *, complete: bool) -> DictConfig:
    missing = sorted(OmegaConf.missing_keys(own))
    if complete and missing:
        raise InputError(f"{', '.join(missing)}: no value; give one, {missing[0]}=..")
    values = {key: _resolved(own, str(key), complete=complete) for key in own}
    return OmegaConf.create(home.in_settings(values, ""))


def _resolved(own: DictConfig, key: str, *, complete: bool) -> Any:
    """The value of a top key; one that depends on a missing value stays as written unless ``complete``."""
    try:
        node = own[key]
        return _literal(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)
    except OmegaConfBaseException:
        if complete:
            raise
        as_written: Any = OmegaConf.to_container(OmegaConf.masked_copy(own, key))
        return as_written[key]


def _literal(value: Any) -> Any:
    """``value`` such that text with ``${`` is read as that text, not as an interpolation."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


def diff_from_defaults(
    cfg: Mapping[str, Any] | DictConfig,
    command: str = "train",
    conf_dir: Path | str | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Keys of ``cfg`` that differ from the command with nothing but ``overrides``, choices that ``cfg`` was made with.

    ``{key: {"default": .., "value": ..}}``; a side is absent where only the other has the key.
    """
    names = {"left": "default", "right": "value"}
    found = difference(plain(usual(command, overrides, conf_dir)), plain(cfg))
    return {key: {names[side]: value for side, value in sides.items()} for key, sides in found.items()}
