"""The quality of a reward model while it is trained, on file: a line per measurement, resumed like the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mora.files import json_line, read_lines, write_text
from mora.reward.quality import held_out, quick_quality
from mora.reward.scorer import ModelScorer
from mora.runtime.context import Context
from mora.runtime.devices import Runtime
from mora.runtime.folder import RunFolder
from mora.runtime.loop import truncate_metrics

QUALITY = "quality.jsonl"

Measured = Mapping[str, Mapping[str, Any]]  # objective -> name -> value


class QualityLog:
    """``tables/quality.jsonl`` of a run: ``{"step": finished steps, "quality": {objective: {name: value}}}`` a line.

    Lines beyond ``done``, the step that the run is continued from, are cut when it is opened, so what follows them is
    never there twice.  The last line is the newest.  Every rank calls; rank 0 writes, atomically.
    """

    def __init__(self, folder: RunFolder, runtime: Runtime, *, done: int) -> None:
        self.path, self._runtime = folder.tables / QUALITY, runtime
        runtime.on_main(lambda: truncate_metrics(self.path, done))

    def append(self, step: int, quality: Measured) -> None:
        """Add the measurement after ``step`` finished steps; the line is durable when this returns.

        Raises ``ValueError`` for a step that is not beyond the last one on file.
        """
        self._runtime.on_main(lambda: self._append(step, quality))

    def _append(self, step: int, quality: Measured) -> None:
        last = newest(self.path)
        if last is not None and step <= last[0]:
            raise ValueError(f"{self.path}: step {step} does not follow step {last[0]}")
        text = self.path.read_text(encoding="utf-8") if last is not None else ""
        write_text(self.path, text + json_line({"step": step, "quality": quality}))


class Watched:
    """A reward model that is measured on some held-out pairs ``every`` so many steps (0: never) while it is trained."""

    def __init__(self, context: Context, scorer: ModelScorer, *, every: int, pairs: int, done: int) -> None:
        self._context, self._scorer, self._every, self._pairs = context, scorer, every, pairs
        self._log = QualityLog(context.folder, context.runtime, done=done)

    def measure(self, step: int) -> None:
        """Accuracy, log-loss and calibration after ``step`` finished steps, where it is time for them."""
        if not self._every or step % self._every:
            return
        rows = held_out(self._context.corpus.pairs["test"], self._scorer.objectives, self._pairs)
        if self._context.runtime.main:  # every process reads the same pairs: they count once
            self._context.usage.scored(self._scorer, 2 * len(rows))
        self._log.append(step, quick_quality(self._scorer, rows))


def newest(path: Path) -> tuple[int, Measured] | None:
    """The last measurement on file and its step; None where there is none.  Raises InputError for a damaged file."""
    lines = read_lines(path) if path.is_file() else []
    return (int(lines[-1]["step"]), lines[-1]["quality"]) if lines else None
