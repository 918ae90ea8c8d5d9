"""What all tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mora.dataset.read import Record
from mora.task.row_counts import RowCounts

Part = tuple[str, dict[str, Any]]  # the part of the output, "" where there is only one, and a row of it


class Task(ABC):
    """One way to turn rows into rows; the fields of a task are the keys of conf/task/<name>.yaml."""

    goes_on: ClassVar[bool] = False  # bad rows are what the task is for: they go to the quarantine file

    @abstractmethod
    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The rows to write, each with its part; what becomes of the rows read is noted in ``counts``."""

    def parts(self) -> Sequence[str]:
        """The parts of the output.  A part has a file of its own."""
        return ("",)

    def read(self) -> Sequence[tuple[str, str]]:
        """Key and path of the files that the task reads besides its input, which no output may replace."""
        return ()


class ModelTask(ABC):
    """One way to a model folder; the fields of a task are the keys of conf/task/<name>.yaml."""

    @abstractmethod
    def write(self, source: str | None, folder: Path) -> str:
        """Make ``folder`` of ``source`` (the key ``input``), whole or not at all; a line that says what it holds."""
