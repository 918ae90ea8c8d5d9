"""Trackers beside metrics.jsonl, which is always written.  Only rank 0 calls them."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from mora.errors import InputError, install_hint
from mora.files import read_object, write_json
from mora.runtime.folder import RunFolder
from mora.settings import handed_on
from mora.settings.secrets import masked


class Tracker(Protocol):
    """What the loop needs of a tracker."""

    def start(self, folder: RunFolder, step: int) -> None:
        """Begin, or continue after ``step`` finished steps."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one step."""

    def finish(self) -> None:
        """Write out what is pending."""


def flat_config(text: str) -> dict[str, str | int | float | bool]:
    """A YAML text as one flat mapping with dots between the keys; values of secret-looking keys are hidden."""
    flat: dict[str, str | int | float | bool] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        else:
            flat[name] = value if isinstance(value, (str, int, float, bool)) else yaml.safe_dump(value).strip()

    walk(masked(yaml.safe_load(text) or {}), "")
    return flat


@dataclass(kw_only=True)
class NoTracker:
    """`tracker=none`: metrics.jsonl alone."""

    def start(self, folder: RunFolder, step: int) -> None:
        """Nothing to begin."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing to record."""

    def finish(self) -> None:
        """Nothing to write out."""


@dataclass(kw_only=True)
class Tensorboard:
    """`tracker=tensorboard`: event files in the run folder.  Raises ``InputError`` when tensorboard is missing."""

    folder: str
    _writer: Any = field(default=None, init=False, repr=False)

    def start(self, folder: RunFolder, step: int) -> None:
        """Open the event file; events after ``step`` of a killed process are dropped from display."""
        module = _optional("torch.utils.tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(str(folder.path / self.folder), purge_step=step + 1)
        config = flat_config((folder.path / "config.yaml").read_text(encoding="utf-8"))
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()), step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar per metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the event file."""
        self._writer.close()


@dataclass(kw_only=True)
class Wandb:
    """`tracker=wandb`: one Weights & Biases run per run folder, continued by its stored id.

    Raises ``InputError`` when wandb is missing, and for ``kwargs`` that are not handed on.
    """

    project: str
    entity: str | None
    mode: str
    tags: Sequence[str]
    kwargs: Mapping[str, Any]
    _run: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        handed_on.check("tracker.kwargs", self.kwargs)

    def start(self, folder: RunFolder, step: int) -> None:
        """Begin the run, or continue the one whose id is in wandb.json."""
        wandb = _optional("wandb", "wandb")
        stored = folder.path / "wandb.json"
        if not stored.is_file():
            write_json(stored, {"id": uuid.uuid4().hex[:12]})
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            tags=list(self.tags),
            name=folder.id,
            id=read_object(stored, ["id"])["id"],
            resume="allow",
            dir=str(folder.path),
            config=flat_config((folder.path / "config.yaml").read_text(encoding="utf-8")),
            **self.kwargs,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        """End the run."""
        self._run.finish()


def _optional(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"tracker={extra} needs the package {extra}; {install_hint(extra)}") from None
