"""`task=ratings_to_pairs` and `task=disagreement`: rated answers to pairs, with hard or with soft labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from mora.bounds import Count, NonNegative
from mora.dataset.pairing import Label, Ties, by_means
from mora.dataset.read import Record
from mora.errors import InputError
from mora.task import comparing, parsing
from mora.task.base import Part, Task
from mora.task.comparing import PairOptions
from mora.task.row_counts import RowCounts


@dataclass(kw_only=True)
class RatingsToPairs(Task):
    """Every two answers to a prompt as a pair: on each objective the one with the higher mean rating is better.

    Raises InputError for options out of range.
    """

    objectives: list[str] | None
    most: Count | None
    margin: NonNegative
    ties: Ties

    def __post_init__(self) -> None:
        self._options = PairOptions(most=self.most, margin=self.margin, ties=self.ties)

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The pairs, prompt by prompt in the order in which prompts first appear."""
        return _pairs(records, counts, self.objectives, self._options, by_means, soft=self.ties == "keep")


@dataclass(kw_only=True)
class Disagreement(Task):
    """Answers that several annotators rated, to pairs whose labels are the shares of annotators' comparisons won.

    Raises InputError for options out of range.
    """

    objectives: list[str] | None
    annotators: Literal["all", "same"]
    most: Count | None
    margin: NonNegative
    ties: Ties

    def __post_init__(self) -> None:
        self._options = PairOptions(most=self.most, margin=self.margin, ties=self.ties)
        if self.annotators not in ("all", "same"):
            raise InputError(f"task.annotators={self.annotators}: must be all or same")

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The pairs with soft labels and with the ratings of all annotators."""
        label = comparing.by_annotators if self.annotators == "all" else _same_annotators
        return _pairs(records, counts, self.objectives, self._options, label, soft=True)


def _same_annotators(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) != len(second):
        raise InputError(
            f"task.annotators=same: two answers to a prompt have {len(first)} and {len(second)} ratings, so it is not "
            "known who rated both; use task.annotators=all"
        )
    return comparing.by_annotator(first, second)


def _pairs(
    records: Iterator[Record],
    counts: RowCounts,
    objectives: Sequence[str] | None,
    options: PairOptions,
    label: Label,
    soft: bool,
) -> Iterator[Part]:
    names: dict[str, None] = dict.fromkeys(objectives or ())
    other: dict[str, None] = {}

    def parse(fields: Mapping[str, Any], of: Sequence[str]) -> parsing.Answer:
        answer = parsing.parse_answer(fields, of)
        names.update(dict.fromkeys(answer.ratings))
        other.update(dict.fromkeys(answer.other))
        return answer

    groups = comparing.grouped(parsing.parse_with_objectives(records, counts, parse, objectives), counts)
    counts.require(objectives, lambda name: (name,))
    compare = partial(comparing.compared, options=options, label=label, counts=counts)
    pairs = (pair for prompt, group in groups.items() for pair in compare(prompt, group))
    for pair in comparing.ordered(pairs, list(names)):
        yield "", pair.fields(soft)
    counts.notes.append(f"objectives: {', '.join(names) or 'none'}")
    lost = [name for name in other if name not in names]
    if lost:
        counts.notes.append(f"columns of single answers, not kept: {', '.join(lost)}")
