"""The configuration tree on disk, opened for one command."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import mora
from mora.errors import InputError
from mora.settings.arithmetic import if_bf16
from mora.settings.identity import slug
from mora.settings.resolvers import guarded
from mora.settings.source import OWN, groups_of, seen_by

VERSION_BASE = "1.3"  # Hydra's behavior that the tree is written for: among others, the working directory never changes

OmegaConf.register_new_resolver("mora.slug", lambda text: slug(str(text)), replace=True)
OmegaConf.register_new_resolver("mora.if_bf16", if_bf16, replace=True)
OmegaConf.register_new_resolver("mora.name", lambda path: Path(str(path)).name, replace=True)


def conf_dir(given: Path | str | None = None) -> Path:
    """The configuration tree: ``given``, else ``mora/conf`` of an installed wheel, else ``conf`` of the repository.

    Raises InputError when there is none.
    """
    package = Path(mora.__file__).resolve().parent
    candidates = [Path(given).resolve()] if given is not None else [package / "conf", package.parent.parent / "conf"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise InputError(f"no configuration tree at {' or '.join(map(str, candidates))}; install mora again")


def commands(root: Path) -> list[str]:
    """Names of the commands that have a top file in the tree."""
    return sorted(path.stem for path in root.glob("*.yaml"))


def explain(error: Exception) -> str:
    """One message of a Hydra or omegaconf error, with its cause where Hydra keeps the reason there."""
    texts = [str(e).strip() for e in (error, error.__cause__) if e is not None and str(e).strip()]
    return "\n".join(texts) or type(error).__name__


_kept: ContextVar[dict[object, dict[tuple[str, ...], DictConfig]] | None] = ContextVar("mora_kept", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """While this lasts, choices of groups in folders of the user's own are composed once, from files as they were."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


@lru_cache(maxsize=256)
def _of_choices(state: object, command: str, overrides: tuple[str, ...]) -> DictConfig:
    """What the Hydra that is open makes of choices of groups; ``state`` is all else that it depends on."""
    return hydra_compose(command, list(overrides), return_hydra_config=True)


@lru_cache(maxsize=256)
def _offered(state: object, command: str, group: str) -> tuple[str, ...]:
    """What a group of the Hydra that is open offers; ``state`` is all else that it depends on."""
    return tuple(GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG))


def _with_values(chosen: DictConfig, overrides: Sequence[Override], values: list[Override]) -> DictConfig:
    """A composition of choices with values set in it and all ``overrides`` noted, as Hydra does after reading files.

    Reading them takes ten times as long as this, and a command composes the same choices several times.
    """
    made = copy.deepcopy(chosen)
    ConfigLoaderImpl._apply_overrides_to_config(values, made)
    task, job = [override for override in overrides if not override.is_hydra_override()], made.hydra.job
    made.hydra.overrides.task = [override.input_line for override in task]
    job.override_dirname = get_overrides_dirname(task, **job.config.override_dirname)
    return made


class Tree:
    """The tree as one command sees it.  Use :func:`opened`."""

    def __init__(self, command: str, root: Path, loader: ConfigLoader, searchpath: list[str]) -> None:
        self.command = command
        self.root = root
        self.loader = loader
        self.searchpath = searchpath
        places = [QuotedString(f"{OWN}://{path}", Quote.single).with_quotes() for path in searchpath]
        self._extra = [f"hydra.searchpath=[{','.join(places)}]"] if places else []
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        everywhere = _kept.get()
        place = (command, root, *searchpath)
        self._without_values = {} if everywhere is None else everywhere.setdefault(place, {})

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The composition for ``overrides``, Hydra's own section included.  Do not change it: it is kept.

        Raises InputError with Hydra's reason.
        """
        key = tuple(overrides)
        if key not in self._composed:
            try:
                self._composed[key] = self._made(key)
            except (HydraException, OmegaConfBaseException, ValueError, AttributeError) as error:
                raise InputError(explain(error)) from error
            except RecursionError:
                raise InputError(
                    "the choices of groups follow each other in a circle; look at their defaults"
                ) from None
        return self._composed[key]

    def _made(self, overrides: tuple[str, ...]) -> DictConfig:
        parsed = OverridesParser.create(self.loader).parse_overrides(list(overrides))
        if any(override.is_sweep_override() for override in parsed):
            return hydra_compose(self.command, [*self._extra, *overrides], return_hydra_config=True)
        values = [override for override in parsed if self._is_value(override)]
        others = tuple(override.input_line or "" for override in parsed if override not in values)
        chosen = self._chosen(others)
        return _with_values(chosen, parsed, values) if values else chosen

    def _chosen(self, overrides: tuple[str, ...]) -> DictConfig:
        """A composition without values, shared by all trees where no folder of the user's own is read."""
        if not self.searchpath:
            shared = _of_choices(self._state, self.command, overrides)
            shared.hydra.runtime.cwd = os.getcwd()  # nothing else in it depends on where the process is
            return shared
        if overrides not in self._without_values:
            made = hydra_compose(self.command, [*self._extra, *overrides], return_hydra_config=True)
            self._without_values[overrides] = made
        return self._without_values[overrides]

    def _is_value(self, override: Override) -> bool:
        """Whether an override sets a value of mora's own, and no choice of a group."""
        name = override.key_or_group
        plain = not override.is_hydra_override() and override.package is None and "/" not in name
        return plain and (isinstance(override.value(), dict) or not self.is_group(name))

    @cached_property
    def _state(self) -> tuple[object, ...]:
        """What a composition of mora's own files depends on, beside the overrides."""
        paths = (os.path.join(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        files = [(path, os.stat(path)) for path in sorted(paths)]
        return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in files)

    @property
    def composed(self) -> dict[tuple[str, ...], DictConfig]:
        """All compositions so far, by what was handed to Hydra for each."""
        return {(*self._extra, *key): made for key, made in self._composed.items()}

    @cached_property
    def groups(self) -> dict[str, str | None]:
        """Groups of the command and their default choice; ``None`` where nothing is chosen."""
        return groups_of(self.root, self.command)

    def is_group(self, name: str) -> bool:
        """Whether the tree, or the user's own tree beside it, has a group ``name``."""
        return name in self.groups or bool(self.choices(name))

    def choices(self, group: str) -> list[str]:
        """Names that ``group`` offers."""
        if not self.searchpath:
            return list(_offered(self._state, self.command, group))
        return self.loader.get_group_options(group, ObjectType.CONFIG, overrides=self._extra)


@contextmanager
def opened(command: str, root: Path | str | None = None, searchpath: Sequence[str] | None = None) -> Iterator[Tree]:
    """Open the tree for ``command``; ``searchpath`` names further folders with YAML of the user.

    None: the folders that the run in progress was started with.

    Raises InputError for an unknown command or a folder that does not exist.
    """
    folder = conf_dir(root)
    searchpath = _inherited() if searchpath is None else searchpath
    if command not in commands(folder):
        raise InputError(f"{command}: no such command; there are {', '.join(commands(folder))}")
    for extra in searchpath:
        if not Path(extra).is_dir():
            raise InputError(f"--config-dir {extra}: no such folder")
    places = [str(Path(path).resolve()) for path in searchpath]
    opening = initialize_config_dir
    with guarded(), _set_aside(), seen_by(command), opening(str(folder), job_name=command, version_base=VERSION_BASE):
        yield Tree(command, folder, GlobalHydra.instance().config_loader(), places)


def _inherited() -> list[str]:
    """Folders of the user that the run in progress was started with."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if "command-line" in source.provider]


@contextmanager
def _set_aside() -> Iterator[None]:
    """While this lasts, no Hydra is open: a run under Hydra composes the settings of its stages."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)
