"""Gold scores of the garden: how an answer is counted, what each objective makes of it, and the exact front.

The first ``CARRIED`` clauses are carried out.  A carried-out clause is worth 1 when its noun is the prompt's noun of
the verb's family, ``ASTRAY`` when it is another noun of that family, and nothing when it is a noun of another family or
when the same clause was carried out before.  With

    gain(u) = u (2 - u),   u the share of what could be done: each further clause adds less,
    haste = 0.9^(clauses after the fourth): they are not carried out and cost a tenth each,

    cure  = gain((worth of mild + 2 worth of bold acts against the pest) / 8) * haste
    care  = gain(worth of acts for the animal / 4) * (1 - 0.1 bold acts against whatever pest) * haste
    bloom = gain(worth of acts for the plant / 4) * haste
    brief = (worth of all acts / clauses) * (6 - clauses) / 5

Every score lies in [0, 1].  An objective of your own is one more entry of ``OBJECTIVES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from mora.dataset.worlds.grammar import ANIMAL, FAMILIES, HALF, LONGEST, PEST, PLANT, SIZE, Reading
from mora.functional.pareto import non_dominated

Floats = NDArray[np.float64]
CARRIED = 4
ASTRAY = 0.15


@dataclass(frozen=True, kw_only=True)
class Counts:
    """All that a score may depend on, for B answers."""

    mild: Floats  # (B, 3) worth of the mild acts of each family
    bold: Floats  # (B, 3) worth of the bold acts of each family
    poison: Floats  # (B,) bold acts against a pest that were carried out, whatever they are worth
    clauses: Floats  # (B,) clauses written


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing that the gardener wants."""

    score: Callable[[Counts], Floats]  # (B,) in [0, 1]
    family: int | None  # annotators differ about the bold verbs of this family; None: about nothing


def _gain(share: Floats) -> Floats:
    return share * (2 - share)


def _haste(counts: Counts) -> Floats:
    return np.asarray(0.9 ** np.maximum(counts.clauses - CARRIED, 0))


def cure(counts: Counts) -> Floats:
    """How well the pest is fought; a bold act does twice as much as a mild one."""
    done = counts.mild[:, PEST] + 2 * counts.bold[:, PEST]
    return _gain(done / (2 * CARRIED)) * _haste(counts)


def care(counts: Counts) -> Floats:
    """How well the animal is kept; bold acts against a pest, any pest, harm it."""
    done = counts.mild[:, ANIMAL] + counts.bold[:, ANIMAL]
    return _gain(done / CARRIED) * (1 - 0.1 * counts.poison) * _haste(counts)


def bloom(counts: Counts) -> Floats:
    """How well the plant is tended."""
    done = counts.mild[:, PLANT] + counts.bold[:, PLANT]
    return _gain(done / CARRIED) * _haste(counts)


def brief(counts: Counts) -> Floats:
    """Short, and to the point."""
    worth = (counts.mild + counts.bold).sum(1)
    return np.asarray(worth / counts.clauses * np.maximum(LONGEST + 1 - counts.clauses, 0) / LONGEST)


OBJECTIVES: dict[str, Objective] = {
    "cure": Objective(score=cure, family=PEST),
    "care": Objective(score=care, family=ANIMAL),
    "bloom": Objective(score=bloom, family=PLANT),
    "brief": Objective(score=brief, family=None),
}


def count(reading: Reading) -> Counts:
    """The counts of each answer; a row that is not valid has none, and one clause so that shares stay finite."""
    verbs, nouns = reading.verbs, reading.nouns
    written = verbs >= 0
    carried = written & (np.arange(verbs.shape[1]) < CARRIED)
    family, bold = verbs // SIZE, verbs % SIZE >= HALF
    same = (verbs[:, :, None] == verbs[:, None]) & (nouns[:, :, None] == nouns[:, None])  # (B, C, C)
    again = np.tril(same, k=-1).any(2)
    named = np.take_along_axis(reading.topics, np.maximum(family, 0), 1)
    worth = np.where(nouns == named, 1.0, np.where(nouns // SIZE == family, ASTRAY, 0.0)) * (carried & ~again)
    each = np.where(family[:, :, None] == np.arange(FAMILIES), worth[:, :, None], 0.0)  # (B, C, 3)
    return Counts(
        mild=np.where(bold[:, :, None], 0.0, each).sum(1),
        bold=np.where(bold[:, :, None], each, 0.0).sum(1),
        poison=(carried & bold & (family == PEST)).sum(1).astype(np.float64),
        clauses=np.maximum(written.sum(1), 1).astype(np.float64),
    )


def bold_acts(reading: Reading, family: int | None) -> Floats:
    """Clauses of each answer (B,) with a bold verb of ``family``, carried out or not; none of no family."""
    if family is None:
        return np.zeros(len(reading.valid))
    bold = (reading.verbs // SIZE == family) & (reading.verbs % SIZE >= HALF)
    return np.asarray(bold.sum(1), dtype=np.float64)


@cache
def every_count() -> Counts:
    """One row for each class of answers of at most ``LONGEST`` clauses: the answers of a class have equal counts.

    A class is a multiset of kinds of clause that are carried out, and a number of clauses that are not.  The kinds:
    mild or bold of each family, worth 1 or ``ASTRAY``; worthless bold against a pest; any other worthless clause.  No
    class is empty, whatever the prompt: a family has ``HALF >= CARRIED`` verbs of each temper for the noun that the
    prompt names, and for seven others.  The prompt only decides which noun is worth what, so all prompts have the same
    classes.
    """
    tempers = 2 * FAMILIES
    kinds = 2 * tempers + 2
    worth = np.zeros((kinds, tempers))
    worth[:tempers] = np.eye(tempers)
    worth[tempers : 2 * tempers] = ASTRAY * np.eye(tempers)
    poison = np.zeros(kinds)
    poison[[FAMILIES + PEST, tempers + FAMILIES + PEST, kinds - 2]] = 1
    rows = []
    for carried in range(1, CARRIED + 1):
        longest = LONGEST if carried == CARRIED else carried
        for kind in map(list, combinations_with_replacement(range(kinds), carried)):
            acts = (*worth[kind].sum(0), poison[kind].sum())
            rows += [(*acts, clauses) for clauses in range(carried, longest + 1)]
    table = np.array(rows)
    mild, bold = table[:, :FAMILIES], table[:, FAMILIES:tempers]
    return Counts(mild=mild, bold=bold, poison=table[:, tempers], clauses=table[:, tempers + 1])


def score(counts: Counts, objectives: Sequence[str]) -> Floats:
    """Gold scores (B, M) of answers with these counts."""
    return np.stack([OBJECTIVES[name].score(counts) for name in objectives], axis=1)


def front(objectives: Sequence[str]) -> Floats:
    """Every non-dominated score vector (P, M) of an answer, ascending in the first objective."""
    vectors = np.unique(score(every_count(), objectives).round(12), axis=0)
    return vectors[non_dominated(vectors)]
