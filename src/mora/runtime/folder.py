"""Run folders: one per identity, made whole, written by one process at a time, continued by the same command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mora.errors import InputError
from mora.files import leftovers, new_folder, read_object, remove, remove_temporary, write_json, write_text
from mora.latest import FINISHED_AT, IDENTITY, WORD, find_run
from mora.locks import POLL, Lock
from mora.runtime.console import say
from mora.runtime.devices import Runtime
from mora.runtime.environment import describe
from mora.settings.identity import canonical_json, run_name
from mora.settings.secrets import masked, masked_values

T = TypeVar("T")
STATUS, ENVIRONMENT = "status.json", "environment.json"
BEGUN = "begun.json"  # which attempt of which job began a run with runtime.fresh=true
RESTARTS = {"SLURM_JOB_ID": "SLURM_RESTART_COUNT", "TORCHELASTIC_RUN_ID": "TORCHELASTIC_RESTART_COUNT"}
REQUIRED = (IDENTITY, "config.yaml", STATUS)


@dataclass(kw_only=True, eq=False)
class RunFolder:
    """One run on disk.  With ``runtime``, every rank calls every method and rank 0 writes."""

    path: Path
    runtime: Runtime | None = None
    _identity: dict[str, Any] = field(default_factory=dict, repr=False)
    _texts: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        root: Path | str,
        slug: str,
        identity: Mapping[str, Any],
        *,
        config: str,
        overrides: str,
        diff: str,
        runtime: Runtime | None = None,
    ) -> RunFolder:
        """The folder ``<root>/<slug>-<hash of identity>``, made when it does not exist.

        ``config``, ``overrides`` and ``diff`` are the texts of the files of the same names.  ``runtime`` is needed with
        more than one process.  Raises ``InputError`` when the folder exists and is no run, or one of another identity.
        """
        if runtime is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError("RunFolder.open needs the runtime when several processes work together")
        covered: dict[str, Any] = json.loads(canonical_json(masked(identity)))
        name = run_name(slug, covered)
        texts = {"config.yaml": config, "overrides.yaml": overrides, "diff.yaml": diff}
        run = cls(path=Path(root) / name, runtime=runtime, _identity=covered, _texts=texts)
        if not run._on_main(run._whole):
            with run.lock():
                pass
        run._on_main(run._check)
        return run

    @classmethod
    def find(cls, path_or_id: Path | str, root: Path | str, runtime: Runtime | None = None) -> RunFolder:
        """An existing run, by path or by its name below ``root``.  Raises ``InputError`` when there is none.

        ``latest`` is the newest finished run below ``root``, ``latest:ALGORITHM`` that of an algorithm; which one it
        is, is said.
        """
        path = find_run(path_or_id, root)
        if str(path_or_id).partition(":")[0] == WORD:
            say(f"{path_or_id} is {path}")
        missing = [name for name in REQUIRED if not (path / name).is_file()]
        if missing:
            raise InputError(f"{path} is no run folder: {', '.join(missing)} missing; name a folder made by mora.train")
        return cls(path=path, runtime=runtime, _identity=read_object(path / IDENTITY))

    @property
    def id(self) -> str:
        """The folder's name, which names the run everywhere."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Where the states to continue from are."""
        return self.path / "checkpoints"

    @property
    def features(self) -> Path:
        """Where features of frozen trunks lie, for all runs beside it."""
        return self.path.parent / ".features"

    @property
    def tables(self) -> Path:
        """Where the evaluation writes."""
        return self.path / "tables"

    @property
    def report(self) -> Path:
        """Where the report writes."""
        return self.path / "report"

    @property
    def metrics(self) -> Path:
        """The file with one row per training step."""
        return self.path / "metrics.jsonl"

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the result, as it was hashed."""
        return self._identity

    @property
    def status(self) -> dict[str, Any]:
        """The content of status.json."""
        content: dict[str, Any] = self._on_main(lambda: read_object(self.path / STATUS, ["state"]))
        return content

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        return bool(self.status["state"] == "finished")

    @property
    def summary(self) -> dict[str, Any]:
        """What ``finish`` was given; empty before."""
        return dict(self.status.get("summary", {}))

    def note(self, state: str, **fields: Any) -> None:
        """Write status.json."""
        self._on_main(lambda: write_json(self.path / STATUS, masked_values({"state": state, **fields})))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as done, now."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.note("finished", **{FINISHED_AT: time}, summary=dict(summary))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this launch; waits, and says so, while another one holds it.

        Inside, the folder exists and nothing of a killed writer is left.  The lock ends with the process.
        """
        lock = self._on_main_only(lambda: Lock(self.path.with_name(f".{self.id}.lock")))
        try:
            waited = False
            while not self._on_main(lambda: lock is not None and lock.take()):
                if not waited:
                    by = "" if lock is None else lock.held_by
                    say(f"{self.path} is being written by another process{by}; waiting until it is done")
                waited = True
                time.sleep(POLL)
            if waited:
                say(f"{self.path} is free; continuing")
            self._on_main(self._make)
            yield
        finally:
            if lock is not None:
                lock.release()

    def fresh(self) -> None:
        """Move the old content aside under another name and begin anew; the lock must be held.

        A folder that holds nothing yet but what ``open`` wrote stays.  So does a run that an earlier attempt of this
        job began anew (``attempt``): a job that is put back into the queue, or whose processes are started again, has
        the same command line, and goes on with what it began.
        """

        def move() -> None:
            begun = self.path / BEGUN
            if begun.is_file() and is_earlier(read_object(begun), attempt()):
                say(f"{self.id}: an earlier attempt of this job began it anew; going on with it")
                return
            if not {path.name for path in self.path.iterdir()} <= {*self._texts, IDENTITY, ENVIRONMENT, STATUS, BEGUN}:
                number = 1
                while (aside := self.path.with_name(f"{self.id}.before-{number}")).exists():
                    number += 1
                os.replace(self.path, aside)
                say(f"moved the earlier run to {aside}")
                self._make()
            write_json(begun, attempt())

        self._on_main(move)

    def _on_main(self, work: Callable[[], T]) -> T:
        return work() if self.runtime is None else self.runtime.on_main(work)

    def _on_main_only(self, work: Callable[[], T]) -> T | None:
        return work() if self.runtime is None or self.runtime.main else None

    def _whole(self) -> bool:
        return all((self.path / name).is_file() for name in REQUIRED)

    def _check(self) -> None:
        if read_object(self.path / IDENTITY) != self._identity:
            raise InputError(f"{self.path} belongs to another identity ({IDENTITY} differs); move that folder away")
        then, now = read_object(self.path / ENVIRONMENT).get("packages", {}), describe()["packages"]
        changed = [f"{name} {then.get(name)} -> {now.get(name)}" for name in now if then.get(name) != now.get(name)]
        if changed and not self.finished_here():
            say(
                f"{self.id} was begun with other versions ({', '.join(changed)}); its numbers may differ in last digits"
            )

    def finished_here(self) -> bool:
        """``finished`` as this process reads it, without the other ranks."""
        return bool(read_object(self.path / STATUS, ["state"])["state"] == "finished")

    def _make(self) -> None:
        for left in leftovers(self.path):
            remove(left)
        if self.path.exists():
            remove_temporary(self.path, besides=[self.report.name])
            missing = [name for name in REQUIRED if not (self.path / name).is_file()]
            if missing:
                raise InputError(f"{self.path} is no whole run: {', '.join(missing)} missing; move that folder away")
            return
        with new_folder(self.path) as temporary:
            for name, text in self._texts.items():
                write_text(temporary / name, text)
            write_json(temporary / IDENTITY, self._identity)
            write_json(temporary / ENVIRONMENT, describe())
            write_json(temporary / STATUS, {"state": "new"})


def attempt() -> dict[str, dict[str, Any]]:
    """Which job this process works for, by each scheduler or launcher that restarts jobs, and how often it did."""
    return {
        job: {"id": os.environ[job], "restarts": int(os.environ.get(restarts) or 0)}
        for job, restarts in RESTARTS.items()
        if os.environ.get(job, "none") != "none"
    }


def is_earlier(one: Any, other: dict[str, dict[str, Any]]) -> bool:
    """Whether ``one`` is an attempt of the same job as ``other``, before it."""
    known = {job: then for job, then in one.items() if isinstance(then, dict)} if isinstance(one, dict) else {}
    return any(
        job in known and known[job].get("id") == now["id"] and known[job].get("restarts", 0) < now["restarts"]
        for job, now in other.items()
    )
