"""Answers that were rated one by one, grouped by prompt over a whole file and compared with each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from mora import bounds
from mora.bounds import Count, NonNegative
from mora.dataset.pairing import Label, Ties, check_ties, difference, verdict
from mora.task.parsing import Answer, Numbers, Pair, in_hash_order
from mora.task.row_counts import RowCounts
from mora.types import content_id

Group = dict[str, dict[str, Numbers]]  # of one prompt: answer -> objective -> ratings


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Which comparisons become labels, and how many pairs of a prompt are kept."""

    most: Count | None  # pairs of a prompt; None: all
    margin: (
        NonNegative  # mean ratings that differ by less are a tie, as are answers of which neither is the likelier one
    )
    ties: Ties  # an objective says nothing of the pair (drop), or has a label of 0.5 (keep)

    def __post_init__(self) -> None:
        bounds.check(self, "task")
        check_ties(self.ties, "task")


def by_annotators(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of comparisons that the second answer wins, a tie counting half: each rating against each."""
    wins = sum((b > a) + 0.5 * (b == a) for a in first for b in second)
    return wins / (len(first) * len(second))


def by_annotator(first: Sequence[float], second: Sequence[float]) -> float:
    """The same, but the i-th rating of one answer against the i-th of the other: annotators who rated both."""
    return fmean((b > a) + 0.5 * (b == a) for a, b in zip(first, second, strict=True))


def grouped(answers: Iterable[Answer], counts: RowCounts) -> dict[str, Group]:
    """The answers of each prompt, wherever in the file they stand; the ratings of a repeated answer are put together.

    An answer without any rating, and the only answer to its prompt, are left out.
    """
    groups: dict[str, Group] = {}
    rows: dict[str, int] = {}
    repeats = 0
    for answer in answers:
        if not any(answer.ratings.values()):
            counts.left_out["not rated on any objective"] += 1
            continue
        group = groups.setdefault(answer.prompt, {})
        rows[answer.prompt] = rows.get(answer.prompt, 0) + 1
        repeats += answer.response in group
        known = group.setdefault(answer.response, {})
        for name, values in answer.ratings.items():
            known[name] = known.get(name, ()) + values
    single = [prompt for prompt, group in groups.items() if len(group) < 2]
    counts.left_out.update({"the only answer to its prompt": sum(rows[prompt] for prompt in single)} if single else {})
    if repeats:
        counts.notes.append(
            f"{repeats} rows repeat an answer to their prompt: ratings of equal answers were put together"
        )
    return {prompt: group for prompt, group in groups.items() if len(group) >= 2}


def compared(prompt: str, group: Group, options: PairOptions, label: Label, counts: RowCounts) -> Iterator[Pair]:
    """The pairs of a prompt's answers that at least one objective has something to say of, at most ``most``.

    Which ones are kept, their order and the places of the answers follow from a hash of the texts.
    """
    made = []
    for first, second in itertools.combinations(sorted(group), 2):
        pair = _compared(prompt, group, (first, second), options, label)
        if pair is None:
            counts.not_made["pairs that no objective tells apart"] += 1
        else:
            made.append(in_hash_order(pair))
    made.sort(key=lambda pair: content_id("pairing", prompt, *pair.responses))
    kept = made[: options.most]
    if len(made) > len(kept):
        counts.not_made[f"pairs beyond task.most={options.most} of a prompt"] += len(made) - len(kept)
    yield from kept


def _compared(prompt: str, group: Group, texts: tuple[str, str], options: PairOptions, label: Label) -> Pair | None:
    first, second = (group[text] for text in texts)
    labels: dict[str, float | None] = {}
    ratings, strengths = {}, {}
    for name in dict.fromkeys([*first, *second]):
        both = (first.get(name, ()), second.get(name, ()))
        labels[name] = None
        if any(both):
            ratings[name] = both
        if all(both):
            labels[name] = verdict(*both, margin=options.margin, ties=options.ties, label=label)
            if labels[name] is not None:
                strengths[name] = abs(difference(*both))
    if all(value is None for value in labels.values()):
        return None
    return Pair(prompt=prompt, responses=texts, labels=labels, ratings=ratings, strengths=strengths)


def ordered(pairs: Iterable[Pair], objectives: Sequence[str]) -> Iterator[Pair]:
    """The pairs with all ``objectives``, always in the same order; one that was not rated has no label."""
    for pair in pairs:
        yield replace(pair, labels={name: pair.labels.get(name) for name in objectives})
