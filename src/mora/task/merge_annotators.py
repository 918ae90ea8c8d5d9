"""`task=merge_annotators`: rows of one annotator each, to one row of all who judged the same thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from mora.dataset.read import Record
from mora.task import parsing
from mora.task.base import Part, Task
from mora.task.parsing import Answer, Pair
from mora.task.row_counts import RowCounts

Judged = Answer | Pair


@dataclass(kw_only=True)
class MergeAnnotators(Task):
    """Answers get lists of ratings; pairs get soft labels, the shares of annotators who prefer the second answer.

    The two answers of a pair may stand in either order.  A column that is not the same in all rows is not kept.
    """

    objectives: list[str] | None
    annotator: str | None

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """One row per answer or pair, in the order of first appearance."""
        groups: dict[tuple[str, ...], _Group] = {}
        for judged, who in parsing.parse_with_objectives(records, counts, self._parse, self.objectives):
            group = groups.setdefault(_key(judged), _Group())
            if who is not None and who in group.annotators:
                counts.left_out["the annotator has judged the same before"] += 1
                continue
            group.annotators.add(who)
            group.rows.append(judged)
        columns = (
            parsing.pair_columns if any(_is_pairs(group.rows) for group in groups.values()) else lambda name: (name,)
        )
        counts.require(self.objectives, columns)
        lost: dict[str, None] = {}
        for group in groups.values():
            other, differing = _common([row.other for row in group.rows])
            rated = {name for row in group.rows for name in row.ratings}
            lost |= dict.fromkeys(name for name in differing if name not in rated)
            yield "", _merged(group.rows) | other
        sizes = [len(group.rows) for group in groups.values()]
        if sizes:
            counts.notes.append(f"rows put together: {min(sizes)} to {max(sizes)}, on average {fmean(sizes):.2f}")
        if lost:
            counts.notes.append(f"columns not kept where they differ between annotators: {', '.join(lost)}")

    def _parse(self, fields: Mapping[str, Any], names: Sequence[str]) -> tuple[Judged, str | None]:
        who = None if self.annotator is None else fields.get(self.annotator)
        rest = {name: value for name, value in fields.items() if name != self.annotator}
        read: Callable[..., Judged] = parsing.parse_pair if parsing.is_pair(fields) else parsing.parse_answer
        return read(rest, [name for name in names if name != self.annotator]), None if who is None else str(who)


@dataclass
class _Group:
    rows: list[Judged] = field(default_factory=list)
    annotators: set[str | None] = field(default_factory=set)


def _key(judged: Judged) -> tuple[str, ...]:
    if isinstance(judged, Answer):
        return (judged.prompt, judged.response)
    return (judged.prompt, *sorted(judged.responses), "pair")


def _is_pairs(rows: Sequence[Judged]) -> bool:
    return isinstance(rows[0], Pair)


def _common(others: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Columns that are the same everywhere, and the names of the rest."""
    names = dict.fromkeys(name for other in others for name in other)
    first = others[0]
    same = {name: first[name] for name in first if all(name in o and o[name] == first[name] for o in others)}
    return same, [name for name in names if name not in same]


def _merged(rows: Sequence[Judged]) -> dict[str, Any]:
    pairs = [row for row in rows if isinstance(row, Pair)]
    if pairs:
        return merge_pairs(pairs).fields(soft=True) | _votes(pairs)
    answers = [row for row in rows if isinstance(row, Answer)]
    names = dict.fromkeys(name for answer in answers for name in answer.ratings)
    ratings = {name: [value for a in answers for value in a.ratings.get(name, ())] for name in names}
    rated = {name: values or None for name, values in ratings.items()}
    return {"prompt": answers[0].prompt, "response": answers[0].response, **rated}


def merge_pairs(pairs: Sequence[Pair]) -> Pair:
    """One pair, with its answers in the order of the first, of what all ``pairs`` of the same answers say.

    A label is the mean of those that are known.  A strength is the mean over those with a strength, counted against the
    better answer where an annotator prefers the other one; at least 0, and none for a tie.
    """
    first = pairs[0]
    same = [pair if pair.responses == first.responses else pair.swapped() for pair in pairs]
    names = dict.fromkeys(name for pair in same for name in pair.labels)
    labels: dict[str, float | None] = {}
    ratings, strengths = {}, {}
    for name in names:
        known = [value for pair in same if (value := pair.labels.get(name)) is not None]
        label = fmean(known) if known else None
        labels[name] = label
        rated = [pair.ratings.get(name, ((), ())) for pair in same]
        both = tuple(tuple(value for one in rated for value in one[side]) for side in (0, 1))
        if any(both):
            ratings[name] = both
        signed = [
            pair.strengths[name] * (1 if value > 0.5 else -1 if value < 0.5 else 0)
            for pair in same
            if name in pair.strengths and (value := pair.labels.get(name)) is not None
        ]
        if signed and label is not None and label != 0.5:
            strengths[name] = max(0.0, fmean(signed) * (1 if label > 0.5 else -1))
    return Pair(prompt=first.prompt, responses=first.responses, labels=labels, ratings=ratings, strengths=strengths)


def _votes(pairs: Sequence[Pair]) -> dict[str, int]:
    names = dict.fromkeys(name for pair in pairs for name in pair.labels)
    return {f"{name}_votes": sum(pair.labels.get(name) is not None for pair in pairs) for name in names}
