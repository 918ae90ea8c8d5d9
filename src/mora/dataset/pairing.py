"""Pairs from scored answers: every two answers to one prompt, wherever they stand in the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from mora import bounds
from mora.bounds import Count, NonNegative
from mora.dataset.pairs import hash_ordered
from mora.errors import InputError
from mora.types import Row, content_id

Ties = Literal["drop", "keep"]
Numbers = Sequence[float]
Label = Callable[[Numbers, Numbers], float]  # from the ratings of both answers: that the second one is better


def difference(first: Numbers, second: Numbers) -> float:
    """The mean rating of the second answer less that of the first, in units of the ratings."""
    return fmean(second) - fmean(first)


def by_means(first: Numbers, second: Numbers) -> float:
    """1, 0 or 0.5: whether the second answer has the higher, the lower or the same mean rating."""
    gap = difference(first, second)
    return 0.5 if gap == 0 else float(gap > 0)


def verdict(first: Numbers, second: Numbers, *, margin: float, ties: Ties, label: Label = by_means) -> float | None:
    """The label of a pair on an objective that both answers are rated on; None for a tie that is dropped.

    A tie is a label of 0.5, and mean ratings that differ by less than ``margin``.
    """
    value = label(first, second)
    if value == 0.5 or abs(difference(first, second)) < margin:
        return 0.5 if ties == "keep" else None
    return value


def check_ties(ties: str, key: str) -> None:
    """Raises InputError for what is no way to treat ties."""
    if ties not in ("drop", "keep"):
        raise InputError(f"{key}.ties={ties}: must be drop or keep")


@dataclass(kw_only=True)
class Pairing:
    """`dataset.pairing`: which pairs are made of the answers to one prompt.

    ``most``: pairs per prompt at most, chosen by a hash of their texts; None: all.  ``margin``: an objective whose mean
    ratings differ by less is a tie.  ``ties``: ``drop`` leaves a tied objective unlabelled, ``keep`` labels it .5.
    """

    most: Count | None
    margin: NonNegative
    ties: Ties

    def __post_init__(self) -> None:
        """Raises InputError for values without meaning."""
        bounds.check(self, "dataset.pairing")
        check_ties(self.ties, "dataset.pairing")

    def pairs(self, scored: Iterable[Row], objectives: Sequence[str]) -> Iterator[Row]:
        """Pairs of scored answers (one response each, with ratings), grouped by prompt over all of ``scored``.

        Ratings of one answer that several rows give are taken together.  A pair that no objective decides is left out,
        unless ties are kept.  Prompts keep their order; pairs of a prompt are in the order of its answers.
        """
        groups: dict[str, dict[str, Row]] = {}
        for row in scored:
            answers = groups.setdefault(row.prompt, {})
            (answer,) = row.responses
            answers[answer] = _together(answers[answer], row) if answer in answers else row
        for prompt, answers in groups.items():
            found = [
                pair
                for one, other in combinations(answers.values(), 2)
                if (pair := self._pair(prompt, one, other, objectives)) is not None
            ]
            if self.most is not None and len(found) > self.most:
                chosen = sorted(found, key=lambda pair: content_id("pairing", prompt, *pair.responses))[: self.most]
                found = [pair for pair in found if pair in chosen]
            yield from found

    def _pair(self, prompt: str, one: Row, other: Row, objectives: Sequence[str]) -> Row | None:
        responses = hash_ordered(prompt, one.responses[0], other.responses[0])
        first, second = (one, other) if responses[0] == one.responses[0] else (other, one)
        labels: dict[str, float | None] = {}
        ratings = {}
        for name in objectives:
            both = tuple(row.ratings[name][0] if name in row.ratings else () for row in (first, second))
            labels[name] = None
            if both[0] and both[1]:
                labels[name] = verdict(*both, margin=self.margin, ties=self.ties)
            if any(both):
                ratings[name] = both
        if all(label is None for label in labels.values()):
            return None
        return Row(prompt=prompt, responses=responses, labels=labels, ratings=ratings, where=first.where)


def single_answers(scored: Iterable[Row], objectives: Sequence[str]) -> Iterator[Row]:
    """Each scored answer beside itself: a pair without a label, rated on one side, so that its ratings count once."""
    answers: dict[tuple[str, str], Row] = {}
    for row in scored:
        key = (row.prompt, row.responses[0])
        answers[key] = _together(answers[key], row) if key in answers else row
    for (prompt, answer), row in answers.items():
        yield Row(
            prompt=prompt,
            responses=(answer, answer),
            labels=dict.fromkeys(objectives),
            ratings={name: (rated[0], ()) for name, rated in row.ratings.items()},
            where=row.where,
        )


def _together(one: Row, other: Row) -> Row:
    names = dict.fromkeys((*one.ratings, *other.ratings))
    return Row(
        prompt=one.prompt,
        responses=one.responses,
        ratings={name: (one.ratings.get(name, ((),))[0] + other.ratings.get(name, ((),))[0],) for name in names},
        where=one.where,
    )
