"""The configuration tree as Hydra sees it for one command: only the groups that the command has.

A key of one command may then bear the name of a group of another (``preference=[0.5,0.5]`` of ``generate`` beside
``preference=row`` of ``train``), and ``--help`` lists what the command takes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mora.errors import InputError
from mora.settings.reading import read_mapping
from mora.settings.resolvers import refused

SCHEME = "mora"
OWN = "mora-own"  # the scheme of the user's own folder, --config-dir
_read: dict[tuple[str, int, int], ConfigResult] = {}  # a command composes several times: files by path, time and size
_command: ContextVar[str | None] = ContextVar("mora_command", default=None)


def groups_of(root: Path, command: str) -> dict[str, Any]:
    """Groups in the defaults list of a command, with the choice made there (``None``: none)."""
    file = root / f"{command}.yaml"
    stat = file.stat()
    return dict(_groups_in(str(file), stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=32)
def _groups_in(file: str, time: int, size: int) -> dict[str, Any]:
    """The groups of a file of that time and size.  Do not change them."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    pairs = [next(iter(entry.items())) for entry in content.get("defaults", []) if isinstance(entry, dict)]
    return {name: choice for name, choice in pairs if not name.startswith("override ")}


class _Inside(FileConfigSource):
    """A folder that no address of a configuration leaves."""

    def load_config(self, config_path: str) -> ConfigResult:
        """The content of a file.  Raises InputError for an address that leaves the folder."""
        _check_inside(config_path)
        return super().load_config(config_path)

    def is_config(self, config_path: str) -> bool:
        """Whether ``config_path`` is a file of the folder.  Raises InputError for one outside."""
        _check_inside(config_path)
        return super().is_config(config_path)

    def is_group(self, config_path: str) -> bool:
        """Whether ``config_path`` is a group of the folder.  Raises InputError for one outside."""
        _check_inside(config_path)
        return super().is_group(config_path)


def _check_inside(config_path: str) -> None:
    if config_path.startswith("/") or ".." in config_path.split("/"):
        raise InputError(f"{config_path}: is not in the folder of the configurations; name a file there without '..'")


class CommandSource(_Inside):
    """A folder of YAML whose groups are hidden unless the command has them.  The address is ``mora://COMMAND/FOLDER``."""

    def __init__(self, provider: str, path: str) -> None:
        command, _, folder = path.removeprefix(f"{SCHEME}://").partition("/")
        super().__init__(provider=provider, path=f"{SCHEME}:///{folder}")
        self.visible = {"hydra", *groups_of(Path(self.path), command)}

    @staticmethod
    def scheme() -> str:
        """The scheme of the address."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """The content of a file, read once."""
        _check_inside(config_path)
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return super().load_config(config_path)
        stamp = (str(file), file.stat().st_mtime_ns, file.stat().st_size)
        if stamp not in _read:
            _read[stamp] = super().load_config(config_path)
        return copy.deepcopy(_read[stamp])

    def is_group(self, config_path: str) -> bool:
        """Whether ``config_path`` is a group of the command."""
        top = config_path.split("/")[0]
        return (not top or top in self.visible) and super().is_group(config_path)


class OwnSource(_Inside):
    """The folder of --config-dir, which may be a stranger's: each file is checked before it is read."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider=provider, path=f"{OWN}://{path.removeprefix(f'{OWN}://')}")

    @staticmethod
    def scheme() -> str:
        """The scheme of the address."""
        return OWN

    def load_config(self, config_path: str) -> ConfigResult:
        """The content of a file.  Raises InputError for a file that is no bounded mapping or calls what it may not."""
        _check_inside(config_path)
        file = Path(self.path, self._normalize_file_name(config_path))
        if file.is_file():
            problems = list(refused(read_mapping(file)))
            if problems:
                raise InputError(f"{file}: {problems[0]}")
        try:
            return super().load_config(config_path)
        except OmegaConfBaseException as error:
            raise InputError(f"{file}: {str(error).splitlines()[0]}") from None


class CommandSearchPath(SearchPathPlugin):
    """Puts sources of mora in the place of the main folder and of the user's own while a command is being prepared."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Replace the addresses of the main folder and of the user's own."""
        command = _command.get()
        for place in search_path.get_path() if command else []:
            if place.provider == "main" and place.path and place.path.startswith("/"):
                place.path = f"{SCHEME}://{command}{place.path}"
            elif place.provider == "command-line" and place.path:
                place.path = f"{OWN}://{place.path.removeprefix('file://')}"


@contextmanager
def seen_by(command: str) -> Iterator[None]:
    """While this lasts, a tree that Hydra opens is the tree of ``command``."""
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


Plugins.instance().register(CommandSource)
Plugins.instance().register(OwnSource)
Plugins.instance().register(CommandSearchPath)
