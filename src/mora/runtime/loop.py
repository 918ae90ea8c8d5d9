"""The steps of a run: resume, cadence, metrics, progress, and leaving in order when asked to."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

import torch

from mora.errors import naming
from mora.files import json_line, write_text
from mora.runtime.checkpoint import Checkpoints
from mora.runtime.console import Progress, say
from mora.runtime.devices import Runtime
from mora.runtime.engine import Engine
from mora.runtime.folder import RunFolder
from mora.runtime.memory import PeakMemory
from mora.runtime.state import read_state, write_state
from mora.runtime.track import Tracker
from mora.types import flat_metrics

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
ONE_PRESS = 0.5  # seconds: a launcher may hand on what the terminal has sent to its processes already


class Stateful(Protocol):
    """Something whose state belongs into a checkpoint: JSON values and tensors, equal on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore it."""


class Loop:
    """Runs ``total`` steps, from the newest checkpoint on.

    ``for step in loop.steps(): ...; loop.log(metrics)``.  Steps are numbered from 0; metrics.jsonl and checkpoints
    carry the number of finished steps.  A state is kept every ``runtime.save_every`` steps and after the last one.
    The lock of the folder must be held.  Raises ``InputError`` for a damaged checkpoint.
    """

    def __init__(
        self,
        folder: RunFolder,
        runtime: Runtime,
        engine: Engine,
        *,
        total: int,
        stateful: Mapping[str, Stateful],
        tracker: Tracker,
        memory: PeakMemory,
    ) -> None:
        self._memory = memory
        self._folder, self._runtime, self._engine = folder, runtime, engine
        self._total, self._stateful, self._tracker = total, dict(stateful), tracker
        self._checkpoints = Checkpoints(folder=folder.checkpoints, runtime=runtime, keep=runtime.keep_checkpoints)
        self._checkpoints.clean()
        newest = self._checkpoints.newest()
        self.done = 0
        if newest is not None:
            self.done = newest[0]
            self._restore(newest[1])
            say(f"{folder.id}: continuing after step {self.done} of {total}")
        self._runtime.on_main(lambda: truncate_metrics(folder.metrics, self.done))
        self._row: dict[str, float] = {}
        self._signal: int | None = None
        self._pressed = 0.0
        self._previous: dict[int, Any] = {}

    def steps(self) -> Iterator[int]:
        """The numbers of the steps still to do; between two of them rows are written and states are kept.

        Leaves after keeping the state, with exit code 0 when SIGTERM or SIGUSR2 came in, and as interrupted for SIGINT
        (Ctrl-C); a second SIGINT leaves at once.
        """
        with self._session() as (stream, progress):
            for step in range(self.done, self._total):
                self._runtime.reseed(step)
                self._runtime.at(f"step {step + 1} of {self._folder.id}", long=False)
                begin = time.perf_counter()
                yield step
                self.done = step + 1
                self._write_row(stream, time.perf_counter() - begin)
                progress.advance()
                received = self._asked_to_stop()
                self._runtime.at(f"after step {self.done} of {self._folder.id}", long=True)
                if received is not None or self.done == self._total or self.done % self._runtime.save_every == 0:
                    self._save(stream)
                if received is not None:
                    progress.close()
                    self._leave(received)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add metrics (nested names are joined with ``/``) to the row of the current step."""
        self._row |= flat_metrics(metrics)

    @contextmanager
    def _session(self) -> Iterator[tuple[IO[str] | None, Progress]]:
        main = self._runtime.main
        progress = Progress(self._folder.id, done=self.done, total=self._total, visible=main)
        stream = self._folder.metrics.open("a", encoding="utf-8") if main else None
        tracking = main and self.done < self._total
        if self.done < self._total:
            self._folder.note("running", step=self.done, total=self._total)
        if tracking:
            self._tracker.start(self._folder, self.done)
        self._listen()
        try:
            yield stream, progress
        finally:
            self._unlisten()
            progress.close()
            if stream is not None:
                stream.close()
            if tracking:
                self._tracker.finish()

    def _write_row(self, stream: IO[str] | None, seconds: float) -> None:
        peak = float(self._runtime.gather(torch.tensor([self._memory.gib()])).max())
        row, self._row = self._row | {"time/step": seconds, "memory/peak": peak}, {}
        if stream is not None:
            with naming(self._folder.metrics):
                stream.write(json_line({"step": self.done} | row))
                stream.flush()
            self._tracker.log(self.done, {name: value for name, value in row.items() if math.isfinite(value)})

    def _save(self, stream: IO[str] | None) -> None:
        if stream is not None:
            os.fsync(stream.fileno())  # rows of finished steps must outlive the state that counts them

        def fill(folder: Path) -> None:
            self._engine.save(folder)
            if self._runtime.main:
                write_state(folder, {name: item.state_dict() for name, item in self._stateful.items()})

        self._checkpoints.write(self.done, fill)
        self._folder.note("running", step=self.done, total=self._total)

    def _restore(self, folder: Path) -> None:
        self._engine.load(folder)
        state = read_state(folder)
        for name, item in self._stateful.items():
            item.load_state_dict(state[name])

    def _asked_to_stop(self) -> int | None:
        """The signal that came to any process, on all of them: they leave together."""
        if self._runtime.world_size > 1:
            return int(self._runtime.gather(torch.tensor([self._signal or 0])).max()) or None
        return self._signal

    def _leave(self, received: int) -> None:
        self._folder.note("stopped", step=self.done, total=self._total)
        say(f"{self._folder.id}: stopped after step {self.done} of {self._total}, state kept; the same command goes on")
        self._unlisten()
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        before = self._previous.get(received) if received == self._signal else None
        if callable(before) and before is not signal.default_int_handler:
            before(received, None)  # a job scheduler's own handler, which may put the job back into the queue
        raise SystemExit(0)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup and & ask
            self._previous = {number: signal.signal(number, self._on_signal) for number in heard}

    def _unlisten(self) -> None:
        for number, handler in self._previous.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            now = time.monotonic()
            if self._signal == signal.SIGINT and now - self._pressed > ONE_PRESS:
                raise KeyboardInterrupt
            if self._signal != signal.SIGINT and self._runtime.main:
                # not print: this may come in the middle of one
                os.write(2, f"\nmora: leaving after step {self.done + 1}, state kept; again: leave at once\n".encode())
            self._pressed = now if self._signal != signal.SIGINT else self._pressed
        self._signal = number


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the rows of the first ``step`` steps, atomically; a half-written last row goes too."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines(keepends=True) if line.endswith("\n") and _row_step(line) <= step]
    if "".join(kept) != text:
        write_text(path, "".join(kept))


def _row_step(line: str) -> float:
    # only the last line can be torn by a kill, and a torn line has no line end; the step is its first field
    return float(line.removeprefix('{"step": ').split(",", 1)[0].rstrip("}\n"))
