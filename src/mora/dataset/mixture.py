"""`dataset=mixture`: several sources as one, each with a share of its prompts.

A share is of prompts, and all rows of a chosen prompt are in it: rewards and policies are trained on the same part.
Prompts are chosen by a hash of their conversation and the part's seed: a conversation is in a fraction as a whole, and
further rows change nothing for the others.
Shares hold for training; test sets are whole.  An epoch is one pass over everything that was chosen, copies included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora.bounds import AtLeastTwo, Count, Positive, Seed
from mora.dataset import overlap
from mora.dataset.cache import DatasetCache, load_or_make
from mora.dataset.corpus import KINDS, Corpus, Splits, fingerprint
from mora.dataset.encode import Overlong
from mora.dataset.row_parser import require_labels
from mora.dataset.row_store import RowStore, split_name, write_rows
from mora.dataset.rules import Rules
from mora.dataset.source import Source
from mora.dataset.store import conversation_ids, prompt_ids, take
from mora.errors import InputError
from mora.turns import opening
from mora.types import Row, content_id

_SPAN = 1 << 63


@dataclass(kw_only=True)
class Part:
    """One source of a mixture, with a ``fraction`` of its prompts (above 1: copies), their ``count`` or a ``weight``.

    Weights say how the prompts of the parts with a weight relate; as many are taken as go without copies.  ``seed``
    None: that of the run.
    """

    source: Source
    fraction: Positive | None
    count: Count | None
    weight: Positive | None
    seed: Seed | None

    def __post_init__(self) -> None:
        """Raises InputError unless exactly one share is given, and above 0."""
        given = [value for value in (self.fraction, self.count, self.weight) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise InputError(
                f"dataset.sources: {self.source.name}: give one of fraction={self.fraction}, count={self.count} and "
                f"weight={self.weight}, above 0"
            )


@dataclass(kw_only=True)
class Mixture:
    """`dataset=mixture`; the fields are the keys of conf/dataset/mixture.yaml."""

    name: str
    sources: list[Part]
    max_prompt: Count
    max_response: AtLeastTwo
    overlong: Overlong

    def load(
        self,
        objectives: tuple[str, ...],
        seed: int,
        cache: DatasetCache | None = None,
        *,
        rules: Rules | None = None,
    ) -> Corpus:
        """The corpus: rows of a part are unlabelled for the objectives that it lacks; ``rules`` label those of all.

        Raises InputError as the sources do, for a count above what there is, and for an objective that no part labels.
        """
        if not self.sources:
            advice = "name sources, as in dataset.sources=[pku_saferlhf:0.5,hummer:1:PATH]"
            raise InputError(f"dataset.sources is empty: {advice}")
        objectives = tuple(objectives)
        return load_or_make(cache, objectives, lambda store: self._corpus(store, objectives, seed, cache, rules), seed)

    def _corpus(
        self,
        store: RowStore,
        objectives: tuple[str, ...],
        seed: int,
        cache: DatasetCache | None,
        rules: Rules | None,
    ) -> Corpus:
        caches = [cache and cache.part("sources", number, "source") for number in range(len(self.sources))]
        loaded = [
            part.source.load(objectives, seed, its, rules=rules, whole=False)
            for part, its in zip(self.sources, caches, strict=True)
        ]
        held_out = np.concatenate([conversation_ids(corpus.prompts["test"]) for corpus in loaded])
        drawn = [Drawn.of(corpus, part, held_out, seed) for corpus, part in zip(loaded, self.sources, strict=True)]
        for of, share in zip(drawn, self._shares(drawn), strict=True):
            of.draw(share)
        kinds: dict[str, Splits] = {
            kind: {
                "train": write_rows(store, split_name("train", kind), _chosen(loaded, drawn, kind)),
                "test": write_rows(
                    store, split_name("test", kind), (row for c in loaded for row in getattr(c, kind)["test"])
                ),
            }
            for kind in KINDS
        }
        corpus = Corpus(
            name=self.name,
            objectives=objectives,
            supervised=kinds["supervised"],
            pairs=kinds["pairs"],
            scored=kinds["scored"],
            prompts=kinds["prompts"],
            fingerprint=fingerprint(objectives, *kinds.values()),
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            notes=[note for n, (c, of) in enumerate(zip(loaded, drawn, strict=True), 1) for note in _notes(n, c, of)],
            quarantine=[bad for corpus in loaded for bad in corpus.quarantine],
            records={f"{n}. {corpus.name}": dict(corpus.records) for n, corpus in enumerate(loaded, 1)},
            commits={hub: commit for corpus in loaded for hub, commit in corpus.commits.items()},
        )
        by_rule = () if rules is None else rules.objectives
        asked = [name for name in objectives if name not in by_rule]
        require_labels(corpus.labelled(), asked, {}, (), "dataset.sources")
        corpus.overlap = overlap.within(corpus)
        corpus.notes += overlap.notes(corpus.overlap)
        return corpus

    def _shares(self, drawn: Sequence[Drawn]) -> list[float | int]:
        """Per part a fraction (float) or a number of prompts (int).  Raises InputError for too large a count."""
        sizes = [len(of.ids) for of in drawn]
        weighted = [
            size / part.weight for size, part in zip(sizes, self.sources, strict=True) if part.weight is not None
        ]
        unit = min(weighted, default=0.0)
        shares: list[float | int] = []
        for part, size in zip(self.sources, sizes, strict=True):
            if part.fraction is not None:
                shares.append(float(part.fraction))
                continue
            count = part.count if part.count is not None else round((part.weight or 0.0) * unit)
            if count > size:
                there = f"there are {size} prompts to train on"
                raise InputError(f"dataset.sources: {part.source.name}: count={count}, and {there}")
            shares.append(count)
        return shares


@dataclass
class Drawn:
    """The training prompts of a part: their ids in order, where a hash puts the conversation of each, and how often it
    is taken."""

    ids: NDArray[np.int64]
    places: NDArray[np.int64]  # uniform on 0 to 2 ** 63 - 1
    left_out: int  # prompts whose conversation is in the test set of some part
    copies: NDArray[np.int64]

    @classmethod
    def of(cls, corpus: Corpus, part: Part, held_out: NDArray[np.int64], seed: int) -> Drawn:
        """Those of ``corpus``, none taken yet."""
        name = f"mixture {seed if part.seed is None else part.seed}"
        every = [corpus.prompts["train"], corpus.supervised["train"]]  # a prompt of any kind of row is in one of them
        ids, first = np.unique(np.concatenate([prompt_ids(rows) for rows in every]), return_index=True)
        begun = (content_id(name, opening(row.prompt)) for rows in every for row in rows)
        places = np.fromiter(begun, np.int64)[first]
        free = ~np.isin(np.concatenate([conversation_ids(rows) for rows in every])[first], held_out)
        return cls(ids[free], places[free], int((~free).sum()), np.zeros(int(free.sum()), np.int64))

    def draw(self, share: float | int) -> None:
        """Take a fraction of the prompts, above 1 with copies, or a number of them."""
        if isinstance(share, int):
            self.copies[np.lexsort((self.ids, self.places))[:share]] = 1
            return
        whole, rest = divmod(share, 1.0)
        self.copies[:] = int(whole) + (self.places / _SPAN < rest)

    def rows(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of the prompts that were taken, those with copies one after another."""
        if not len(self.ids):
            return []
        ids = prompt_ids(rows)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        times = np.where(self.ids[place] == ids, self.copies[place], 0)
        return take(rows, np.repeat(np.arange(len(ids)), times))


def _chosen(loaded: Sequence[Corpus], drawn: Sequence[Drawn], kind: str) -> Iterator[Row]:
    for corpus, of in zip(loaded, drawn, strict=True):
        yield from of.rows(getattr(corpus, kind)["train"])


def _notes(number: int, corpus: Corpus, drawn: Drawn) -> list[str]:
    taken, total = int((drawn.copies > 0).sum()), int(drawn.copies.sum())
    said = f"{taken} of {len(drawn.ids)} prompts to train on"
    said += f", {total} with copies" if total > taken else ""
    said += f" ({drawn.left_out} left out: their conversations are in a test set)" if drawn.left_out else ""
    return [f"part {number}, {corpus.name}: {said}", *(f"part {number}: {note}" for note in corpus.notes)]
