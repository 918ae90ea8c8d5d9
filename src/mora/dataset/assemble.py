"""A corpus from rows that come one by one: splits, kinds, pairs of scored answers, supervised rows, prompts, notes.

Rows go straight to a store; what is held of them meanwhile are numbers, 8 bytes for each row a few times.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.dataset import derive, overlap, split
from mora.dataset.corpus import KINDS, SPLITS, Corpus, Splits, fingerprint
from mora.dataset.merging import merged
from mora.dataset.pairing import Pairing, single_answers
from mora.dataset.repeats import Repeats
from mora.dataset.row_store import RowStore, split_name, write_rows
from mora.dataset.rules import Rules
from mora.dataset.store import prompt_ids, take
from mora.errors import InputError
from mora.types import Row


class SplitWriter:
    """Writes rows into a store by split and kind::

        with SplitWriter(store, objectives, test_share, own_test=True) as splits:
            splits.test(row); splits.train(row); splits.supervised(row)

    ``own_test``: the source brings a test set, whose rows come first, and training rows of its conversations are left
    out; else ``test_share`` of the conversations are the test set, by their hash.  ``rules`` label every pair.
    Of pairs without any word the prompt is left.  Raises InputError for a share without meaning.
    """

    def __init__(
        self,
        store: RowStore,
        objectives: tuple[str, ...],
        test_share: float,
        *,
        own_test: bool,
        rules: Rules | None = None,
    ) -> None:
        if not 0 <= test_share < 1:
            raise InputError(f"dataset.test_share={test_share}: must be at least 0 and less than 1")
        self.store, self.objectives, self.test_share, self.own_test = store, objectives, test_share, own_test
        self.rules = rules
        self.counts = {side: dict.fromkeys(KINDS, 0) for side in SPLITS}
        self.labelled: set[str] = set()  # objectives with a label or rating on a training row
        self.left_out = self.unlabelled = 0
        self.single = dict.fromkeys(SPLITS, 0)  # rows of single answers among the pairs that were made
        self.has_supervised = False  # whether supervised rows were given apart
        self.repeats = {side: Repeats() for side in SPLITS}  # of pairs with a word on some objective
        self._conversations = {side: _Ids() for side in SPLITS}

    def __enter__(self) -> SplitWriter:
        with ExitStack() as stack:
            self._writers = {
                (side, kind): stack.enter_context(self.store.writer(split_name(side, kind)))
                for side in SPLITS
                for kind in KINDS
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def test(self, row: Row) -> None:
        """A row of the source's own test set."""
        self._add(row, "test")

    def train(self, row: Row) -> None:
        """A row of the source's training set."""
        if not self.own_test:
            self._add(row, "test" if split.in_test(row.prompt, self.test_share) else "train")
        elif split.conversation_id(row.prompt) in self._conversations["test"]:
            self.left_out += 1
        else:
            self._add(row, "train")

    def supervised(self, row: Row) -> None:
        """A supervised row given apart, after all others: it goes where its conversation is, else by its hash."""
        self.has_supervised = True
        number = split.conversation_id(row.prompt)
        known = next((side for side in ("test", "train") if number in self._conversations[side]), None)
        hashed = "test" if split.in_test(row.prompt, self.test_share) else "train"
        self._write(row, known or hashed, "supervised")

    def check(self) -> None:
        """Raises InputError where a split is empty that should not be."""
        train, test = (self._conversations[side].sorted() for side in SPLITS)
        count = len(np.union1d(train, test))
        if not len(train) and self.own_test and self.left_out:
            raise InputError(
                f"no training row is left: the conversations of all {self.left_out} begin as one of the test set does; "
                "give other training rows, or another dataset.test_path"
            )
        if not len(train):
            raise InputError(
                f"no training row is left of {count} conversations: lower dataset.test_share={self.test_share}, or "
                "give more rows"
            )
        if not len(test) and (self.own_test or self.test_share > 0):
            advice = "raise it, give dataset.test_path, or set it to 0 to go without a test set"
            raise InputError(
                f"no test prompt among {count} conversations with dataset.test_share={self.test_share}: {advice}"
            )

    def _add(self, row: Row, side: str) -> None:
        self._conversations[side].add(split.conversation_id(row.prompt))
        kind = ("prompts", "scored" if row.ratings else "supervised", "pairs")[len(row.responses)]
        if kind == "pairs":
            row = row if self.rules is None else self.rules.labelled(row)
            row = replace(row, labels={name: row.labels.get(name) for name in self.objectives})
        said = {name for name, value in row.labels.items() if value is not None} | {
            name for name, rated in row.ratings.items() if any(rated)
        }
        if side == "train":
            self.labelled |= said
        if kind == "pairs" and not said:
            self.unlabelled += 1
            row, kind = Row(prompt=row.prompt, where=row.where), "prompts"
        if kind == "pairs":
            self.repeats[side].add(row)
        self._write(row, side, kind)

    def _write(self, row: Row, side: str, kind: str) -> None:
        self.counts[side][kind] += 1
        self._writers[side, kind].add(row)


class _Ids:
    """A set of 64-bit numbers, 8 bytes each; cheap as long as those that are asked for are not added in between."""

    def __init__(self) -> None:
        self._new, self._known = array("q"), np.empty(0, np.int64)

    def add(self, number: int) -> None:
        self._new.append(number)

    def sorted(self) -> NDArray[np.int64]:
        if self._new:
            self._known = np.union1d(self._known, np.frombuffer(self._new, np.int64))
            self._new = array("q")
        return self._known

    def __contains__(self, number: int) -> bool:
        known = self.sorted()
        place = int(np.searchsorted(known, number))
        return place < len(known) and int(known[place]) == number


def build_corpus(
    splits: SplitWriter, *, name: str, merge: bool, pairing: Pairing | None, notes: Iterable[str], **more: Any
) -> Corpus:
    """The corpus of what was written: pairs merged and made, supervised rows and prompts derived.

    Scored answers give pairs as ``pairing`` says.  A source with pairs and without supervised rows is fine-tuned on the
    answers that most objectives prefer.
    """
    notes = list(notes)
    if splits.left_out:
        notes.append(f"{splits.left_out} training rows left out: their conversations are in the test set")
    pairs = {side: _pairs(splits, side, merge, pairing, notes) for side in SPLITS}
    answers = {side: splits.store.rows(split_name(side, "supervised")) for side in SPLITS}
    prompts = {side: _prompts(splits, side, pairs[side], answers[side]) for side in SPLITS}
    if not any(map(len, answers.values())) and not splits.has_supervised:
        answers = {side: _derived(splits, side, pairs[side], notes) for side in SPLITS}
    if splits.unlabelled:
        notes.append(
            f"{splits.unlabelled} pairs have neither label nor rating on any objective: only their prompts are used"
        )
    scored: Splits = {side: splits.store.rows(split_name(side, "scored")) for side in SPLITS}
    corpus = Corpus(
        name=name,
        objectives=splits.objectives,
        supervised=answers,
        pairs=pairs,
        prompts=prompts,
        scored=scored,
        fingerprint=fingerprint(splits.objectives, answers, pairs, prompts, scored),
        notes=notes,
        **more,
    )
    corpus.overlap = overlap.within(corpus)
    corpus.notes += overlap.notes(corpus.overlap)
    return corpus


def _pairs(splits: SplitWriter, side: str, merge: bool, pairing: Pairing | None, notes: list[str]) -> Sequence[Row]:
    """The pairs of a side, after those of its scored answers were added and equal ones merged."""
    store, name = splits.store, split_name(side, "pairs")
    found, scored = store.rows(name), store.rows(split_name(side, "scored"))
    repeats = splits.repeats[side]
    if merge:
        count, repeats = len(found), Repeats()
        found = write_rows(store, name, repeats.through(merged(found)))
        if len(found) < count:
            notes.append(f"{side}: {count} labels on {len(found)} pairs: the same pair in several subsets is one row")
    repeated, contradictory = repeats.repeated, repeats.contradictory
    if repeated or contradictory:
        notes.append(
            f"{side}: {repeated} pairs repeat another one, and {contradictory} are labelled both ways; all stay"
        )
    if pairing is not None and len(scored):
        count, made = len(found), Counter[str]()
        found = write_rows(store, name, _both(found, _made(scored, pairing, splits.objectives, side, made)))
        splits.single[side] = len(found) - count - made["pairs"]
        notes.append(f"{side}: {made['pairs']} pairs made from {len(scored)} scored answers")
        if made["single"]:
            use = "only rewards that learn from ratings read them, and no rating makes an example for fine-tuning"
            use = use if side == "train" else "nothing is measured on them"
            notes.append(
                f"{side}: {made['single']} rated answers are in no pair, alone at their prompts or tied: {use}"
            )
    elif len(scored):
        notes.append(
            f"{side}: {len(scored)} rated answers are in no pair (dataset.pairing=null): only their prompts count"
        )
    return found


def _both(rows: Sequence[Row], more: Iterator[Row]) -> Iterator[Row]:
    yield from rows
    yield from more


def _made(
    scored: Sequence[Row], pairing: Pairing, objectives: Sequence[str], side: str, made: Counter[str]
) -> Iterator[Row]:
    """Pairs of the answers to each prompt, prompts in the order in which they first appear, and their number.

    To train on, answers to a prompt that gives no pair are rows of their own (``pairing.single_answers``).
    """
    ids = prompt_ids(scored)
    order = np.argsort(ids, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
    for group in sorted(groups, key=lambda group: int(group[0])):
        answers = take(scored, group)
        pairs = list(pairing.pairs(answers, objectives))
        made["pairs"] += len(pairs)
        single = [] if pairs else list(single_answers(answers, objectives))
        made["single"] += len(single)
        yield from pairs
        yield from single if side == "train" else []


def _prompts(splits: SplitWriter, side: str, pairs: Sequence[Row], answers: Sequence[Row]) -> Sequence[Row]:
    """Each prompt of pairs, scored answers and prompts once; those of supervised rows where there are no others."""
    name = split_name(side, "prompts")
    found = [pairs, splits.store.rows(split_name(side, "scored")), splits.store.rows(name)]
    if not any(map(len, found)):
        found = [answers]
    return write_rows(splits.store, name, _once(found))


def _once(sequences: Sequence[Sequence[Row]]) -> Iterator[Row]:
    """Each prompt once, in order of first appearance."""
    ids = np.concatenate([prompt_ids(rows) for rows in sequences])
    first = np.sort(np.unique(ids, return_index=True)[1])
    start = 0
    for rows in sequences:
        mine = first[(first >= start) & (first < start + len(rows))] - start
        start += len(rows)
        for row in take(rows, mine):
            yield Row(prompt=row.prompt, where=row.where)


def _derived(splits: SplitWriter, side: str, pairs: Sequence[Row], notes: list[str]) -> Sequence[Row]:
    rows, ties, repeats = derive.from_pairs(pairs)
    found, single = write_rows(splits.store, split_name(side, "supervised"), rows), splits.single[side]
    if len(pairs) > single:
        left_out = f"{ties - single} pairs without one left out, {repeats} repeats"
        made = f"{len(found)} supervised rows made from {len(pairs) - single} pairs"
        notes.append(f"{side}: {made}: the answer that most objectives prefer ({left_out})")
    return found
