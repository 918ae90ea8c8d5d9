"""Checkpoints that are whole or absent: a temporary folder, hashed and synced, then renamed into place."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mora.errors import InputError
from mora.files import TEMPORARY, read_json, remove_temporary, sha256, sync_folder, sync_tree
from mora.runtime.devices import Runtime

MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d{8,})")


@dataclass(kw_only=True)
class Checkpoints:
    """The folders ``step-00000040`` of one run; the number is of finished steps.  All ranks call every method."""

    folder: Path
    runtime: Runtime
    keep: int

    def clean(self) -> None:
        """Finish the removals that a killed writer began or had still to do; the run's lock must be held."""

        def tidy() -> None:
            remove_temporary(self.folder)
            self._prune()

        self.runtime.on_main(tidy)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after ``step`` steps."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return self.runtime.on_main(self._steps)

    def _steps(self) -> list[int]:
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := NAME.fullmatch(name)))

    def newest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint, verified, or None.

        Raises ``InputError`` on all ranks, naming folder and file, when it is damaged: no older one is taken silently.
        """

        def verified() -> int | None:
            steps = self._steps()
            if not steps:
                return None
            verify(self.path(steps[-1]))
            return steps[-1]

        step = self.runtime.on_main(verified)
        return None if step is None else (step, self.path(step))

    def write(self, step: int, fill: Callable[[Path], None]) -> None:
        """Let every rank ``fill`` a temporary folder, put it in place, and only then remove the oldest ones."""
        temporary = self.runtime.on_main(lambda: self._begin(step))
        fill(temporary)
        self.runtime.barrier()
        self.runtime.on_main(lambda: self._finish(step, temporary))

    def _begin(self, step: int) -> Path:
        temporary = self.folder / f"{TEMPORARY}{self.path(step).name}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        return temporary

    def _finish(self, step: int, temporary: Path) -> None:
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        manifest = {str(path.relative_to(temporary)): sha256(path) for path in files}
        content = json.dumps({"step": step, "sha256": manifest}, indent=2)
        (temporary / MANIFEST).write_text(content, encoding="utf-8")
        sync_tree(temporary)
        os.replace(temporary, self.path(step))
        sync_folder(self.folder)
        self._prune()

    def _prune(self) -> None:
        for old in self._steps()[: -self.keep]:
            leaving = self.folder / f"{TEMPORARY}{self.path(old).name}"
            os.replace(self.path(old), leaving)  # a half-removed folder must not look like a checkpoint
            shutil.rmtree(leaving)


def verify(folder: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises ``InputError`` naming the folder, the file and what to do when one is missing or differs.
    """
    remedy = f"delete the folder {folder} to continue from the one before, or begin anew with runtime.fresh=true"
    if not (folder / MANIFEST).is_file():
        raise InputError(f"checkpoint {folder} is damaged: {MANIFEST} is missing; {remedy}")
    try:
        expected = read_json(folder / MANIFEST)["sha256"]
        items = sorted(expected.items())
    except (InputError, KeyError, TypeError, AttributeError):
        raise InputError(f"checkpoint {folder} is damaged: {MANIFEST} cannot be read; {remedy}") from None
    for name, digest in items:
        if not (folder / name).is_file():
            raise InputError(f"checkpoint {folder} is damaged: {name} is missing; {remedy}")
        if sha256(folder / name) != digest:
            raise InputError(f"checkpoint {folder} is damaged: {name} differs from {MANIFEST}; {remedy}")
