"""`task=statistics`: what is in a file of pairs, of rated answers or of supervised rows, as JSON, text and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mora import bounds
from mora.bounds import Count, Natural
from mora.dataset.read import Record
from mora.dataset.schema import BadRow, given
from mora.errors import InputError
from mora.files import write_json, write_text
from mora.report.style import save_plate
from mora.task import describing, parsing
from mora.task.base import Part, Task
from mora.task.row_counts import RowCounts
from mora.task.statistics_figures import plates
from mora.task.statistics_text import page

Form = Literal["pairs", "scored", "supervised"]


@dataclass(kw_only=True)
class Statistics(Task):
    """Counts, balance, lengths, agreement, repeats and examples of one file.

    Raises InputError for an unknown form and for numbers out of range.
    """

    form: Form | None
    objectives: list[str] | None
    examples: Natural
    bins: Count
    figures: bool

    def __post_init__(self) -> None:
        if self.form not in (None, "pairs", "scored", "supervised"):
            raise InputError(f"task.form={self.form}: must be pairs, scored, supervised, or null to see it in the rows")
        bounds.check(self, "task")

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The one table of statistics."""
        pairs: list[parsing.Pair] = []
        answers: list[parsing.Answer] = []
        for row in parsing.parse_with_objectives(records, counts, self._reader(), self.objectives):
            if isinstance(row, parsing.Pair):
                pairs.append(row)
            else:
                answers.append(row)
        counts.require(self.objectives, parsing.pair_columns if pairs else lambda name: (name,))
        if pairs:
            yield "", describing.of_pairs(pairs, self.examples, self.bins)
        elif answers:
            yield "", describing.of_answers(answers, self.examples, self.bins)

    def _reader(self) -> Callable[[Mapping[str, Any], Sequence[str]], parsing.Pair | parsing.Answer]:
        """Reads rows of the form that is declared, else of that of the first good row."""
        form = self.form

        def read(fields: Mapping[str, Any], names: Sequence[str]) -> parsing.Pair | parsing.Answer:
            nonlocal form
            found = form or _form(fields)
            if found == "pairs":
                row: parsing.Pair | parsing.Answer = parsing.parse_pair(fields, names)
            else:
                row = parsing.parse_answer(fields, [] if found == "supervised" else names)
            form = found
            return row

        return read

    def write(self, records: Iterator[Record], counts: RowCounts, folder: Path) -> None:
        """Write statistics.json, statistics.txt and the figures into ``folder``."""
        for _, table in self.rows(records, counts):
            write_json(folder / "statistics.json", table)
            write_text(folder / "statistics.txt", page(table))
            for plate in plates(table) if self.figures else ():
                save_plate(plate, folder / "figures")


def _form(fields: Mapping[str, Any]) -> Form:
    if given(fields, "response_0") and given(fields, "response_1"):
        return "pairs"
    if given(fields, "response"):
        return "scored"
    raise BadRow("missing_field", f"neither response_0 and response_1 nor response; it has {', '.join(fields)}")
