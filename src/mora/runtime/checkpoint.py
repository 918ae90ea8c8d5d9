"""Checkpoints that are whole or absent: a temporary folder, sealed and synced, then renamed into place."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mora.errors import InputError, naming
from mora.files import TEMPORARY, remove_temporary, sync_folder, sync_tree
from mora.manifest import MANIFEST, check_content, entries_of, files_below, seal
from mora.runtime.devices import Runtime

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
        with naming(self.path(step)):
            temporary = self.runtime.on_main(lambda: self._begin(step))
            fill(temporary)
            self.runtime.barrier()
            self.runtime.on_main(lambda: self._finish(step, temporary))

    def _begin(self, step: int) -> Path:
        temporary = self.folder / f"{TEMPORARY}{self.path(step).name}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        return temporary

    def _finish(self, step: int, temporary: Path) -> None:
        seal(temporary)
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

    Raises ``InputError`` naming the folder, the file and what to do when one is missing, differs, is a link, or is not
    listed: DeepSpeed reads by pattern, also what nobody sealed.
    """
    remedy = f"delete the folder {folder} to continue from the one before, or begin anew with runtime.fresh=true"
    try:
        listed = entries_of(folder)
    except InputError:
        listed = None
    if listed is None:
        raise InputError(f"{folder / MANIFEST} is missing or damaged; {remedy}")
    for path in files_below(folder, remedy):
        if path.relative_to(folder).as_posix() not in {*listed, MANIFEST}:
            raise InputError(
                f"{path} is not listed in {MANIFEST}, so it was not written with this checkpoint; {remedy}"
            )
    check_content(folder, remedy)
