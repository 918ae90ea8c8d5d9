"""`task=check`: every row of a file through the form that it should have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mora.dataset.read import Record
from mora.dataset.schema import ID, LABEL, BadRow, text
from mora.errors import InputError
from mora.task import conversations, parsing
from mora.task.base import Part, Task
from mora.task.row_counts import RowCounts
from mora.types import content_id

Form = Literal["pairs", "scored", "supervised", "prompts", "messages", "explicit", "implicit"]
Fields = Mapping[str, Any]
JUDGED = ("pairs", "scored")  # forms whose rows say something of objectives


@dataclass(kw_only=True)
class Check(Task):
    """Rows that have the form, unchanged; the others go to the quarantine file with place and reason.

    Raises InputError for an unknown form.
    """

    form: Form
    objectives: list[str] | None
    goes_on: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = readers()
        if self.form not in known:
            raise InputError(f"task.form={self.form}: must be one of {', '.join(known)}")

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The good rows; repeats and contradictions are good, and noted."""
        read = readers()[self.form]
        seen: set[int] = set()
        repeats = 0

        def parse(fields: Fields, names: Sequence[str]) -> tuple[int, dict[str, Any]]:
            return content_id(repr(read(fields, names))), dict(fields)

        objectives = self.objectives if self.form in JUDGED else []
        for content, fields in parsing.parse_with_objectives(records, counts, parse, objectives):
            repeats += content in seen
            seen.add(content)
            yield "", fields
        if repeats:
            counts.notes.append(f"{repeats} good rows repeat an earlier one word for word")
        if self.form in JUDGED:
            counts.require(self.objectives, parsing.pair_columns if self.form == "pairs" else lambda name: (name,))


def readers() -> dict[str, Callable[[Fields, Sequence[str]], Any]]:
    """What reads a row of each form, with objectives; it raises BadRow for a row that does not have the form."""
    return {
        "pairs": _pair,
        "scored": _scored,
        "supervised": lambda fields, names: (text(fields, "prompt"), text(fields, "response")),
        "prompts": lambda fields, names: text(fields, "prompt"),
        "messages": lambda fields, names: conversations.answered(
            conversations.messages(fields, "messages"), "messages"
        ),
        "explicit": lambda fields, names: conversations.explicit(fields),
        "implicit": lambda fields, names: conversations.implicit(fields, dialogues=False),
    }


def _pair(fields: Fields, names: Sequence[str]) -> parsing.Pair:
    pair = parsing.parse_pair(fields, names)
    if not pair.labels:
        raise BadRow(
            "missing_field",
            f"no column of labels, <objective>{ID} or <objective>{LABEL}, and none of ratings; it has "
            f"{', '.join(fields)}",
        )
    return pair


def _scored(fields: Fields, names: Sequence[str]) -> parsing.Answer:
    answer = parsing.parse_answer(fields, names)
    if not answer.ratings:
        raise BadRow("missing_field", f"no column of numbers rates the response; it has {', '.join(fields)}")
    return answer
