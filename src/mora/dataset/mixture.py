"""`dataset=mixture`: several sources as one, each with a share of its prompts.

A share is of prompts, and all rows of a chosen prompt are in it: rewards and policies are trained on the same part.
Prompts are chosen by a hash of their text and the part's seed, so that further rows change nothing for the others.
Shares hold for training; test sets are whole.  An epoch is one pass over everything that was chosen, copies included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mora.dataset import overlap
from mora.dataset.corpus import Corpus, Splits, fingerprint
from mora.dataset.encode import Overlong
from mora.dataset.sieve import require_labels
from mora.dataset.source import Source
from mora.errors import InputError
from mora.types import Row, content_id

_SPAN = 1 << 63


@dataclass(kw_only=True)
class Part:
    """One source of a mixture, with a ``fraction`` of its prompts (above 1: copies), their ``count`` or a ``weight``.

    Weights say how the prompts of the parts with a weight relate; as many are taken as go without copies.  ``seed``
    None: that of the run.
    """

    source: Source
    fraction: float | None
    count: int | None
    weight: float | None
    seed: int | None

    def __post_init__(self) -> None:
        """Raises InputError unless exactly one share is given, and above 0."""
        given = [value for value in (self.fraction, self.count, self.weight) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise InputError(
                f"dataset.parts: {self.source.name}: give one of fraction={self.fraction}, count={self.count} and "
                f"weight={self.weight}, above 0"
            )


@dataclass(kw_only=True)
class Mixture:
    """`dataset=mixture`; the fields are the keys of conf/dataset/mixture.yaml."""

    name: str
    parts: list[Part]
    max_prompt: int
    max_response: int
    overlong: Overlong

    def load(self, objectives: tuple[str, ...], seed: int) -> Corpus:
        """The corpus: rows of a part are unlabelled for the objectives that it lacks.

        Raises InputError as the sources do, for a count above what there is, and for an objective that no part labels.
        """
        if not self.parts:
            raise InputError(
                "dataset.parts is empty: name sources, as in dataset.parts=[pku_saferlhf:0.5,hummer:1:PATH]"
            )
        loaded = [part.source.load(objectives, seed, whole=False) for part in self.parts]
        held_out = {row.prompt for corpus in loaded for kind in overlap.KINDS for row in getattr(corpus, kind)["test"]}
        prompts = [_prompts(corpus, held_out) for corpus in loaded]
        copies = [
            _copies(of, part, share, seed)
            for of, part, share in zip(prompts, self.parts, self._shares(prompts), strict=True)
        ]
        kinds: dict[str, Splits] = {
            kind: {
                "train": [row for corpus, of in zip(loaded, copies, strict=True) for row in _chosen(corpus, kind, of)],
                "test": [row for corpus in loaded for row in getattr(corpus, kind)["test"]],
            }
            for kind in overlap.KINDS
        }
        labelled = (row for kind in ("pairs", "scored") for row in kinds[kind]["train"])
        require_labels(labelled, objectives, {}, (), "dataset.parts")
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
            notes=self._notes(loaded, prompts, copies, held_out),
            quarantine=[bad for corpus in loaded for bad in corpus.quarantine],
            records={f"{n}. {corpus.name}": dict(corpus.records) for n, corpus in enumerate(loaded, 1)},
            commits={hub: commit for corpus in loaded for hub, commit in corpus.commits.items()},
        )
        corpus.notes += overlap.notes(overlap.within(corpus))
        return corpus

    def _shares(self, prompts: Sequence[Sequence[str]]) -> list[float | int]:
        """Per part a fraction (float) or a number of prompts (int).  Raises InputError for too large a count."""
        sizes = [len(of) for of in prompts]
        weighted = [size / part.weight for size, part in zip(sizes, self.parts, strict=True) if part.weight is not None]
        unit = min(weighted, default=0.0)
        shares: list[float | int] = []
        for part, size in zip(self.parts, sizes, strict=True):
            if part.fraction is not None:
                shares.append(float(part.fraction))
                continue
            count = part.count if part.count is not None else round((part.weight or 0.0) * unit)
            if count > size:
                raise InputError(
                    f"dataset.parts: {part.source.name}: count={count}, and there are {size} prompts to train on"
                )
            shares.append(count)
        return shares

    def _notes(
        self,
        loaded: Sequence[Corpus],
        prompts: Sequence[Sequence[str]],
        copies: Sequence[Mapping[str, int]],
        held_out: set[str],
    ) -> list[str]:
        notes = []
        for number, (corpus, of, chosen) in enumerate(zip(loaded, prompts, copies, strict=True), 1):
            total, taken = sum(chosen.values()), sum(count > 0 for count in chosen.values())
            again = f", {total} with copies" if total > taken else ""
            said = f"{taken} of {len(of)} prompts to train on{again}"
            leaked = len(_prompts(corpus, set())) - len(of)
            if leaked:
                said += f" ({leaked} left out: they are in a test set)"
            notes += [f"part {number}, {corpus.name}: {said}", *(f"part {number}: {note}" for note in corpus.notes)]
        return notes


def _prompts(corpus: Corpus, held_out: set[str]) -> list[str]:
    """Prompts of any kind of training row, each once, without those of a test set."""
    found = dict.fromkeys(row.prompt for kind in overlap.KINDS for row in getattr(corpus, kind)["train"])
    return [prompt for prompt in found if prompt not in held_out]


def _copies(prompts: Iterable[str], part: Part, share: float | int, seed: int) -> dict[str, int]:
    """How often each prompt is in the mixture."""
    name = f"mixture {seed if part.seed is None else part.seed}"
    places = {prompt: content_id(name, prompt) for prompt in prompts}
    if isinstance(share, int):
        taken = set(sorted(places, key=lambda prompt: places[prompt])[:share])
        return {prompt: int(prompt in taken) for prompt in places}
    whole, rest = divmod(share, 1.0)
    return {prompt: int(whole) + (place / _SPAN < rest) for prompt, place in places.items()}


def _chosen(corpus: Corpus, kind: str, copies: Mapping[str, int]) -> list[Row]:
    """The training rows of a kind, those of a prompt with copies one after another."""
    return [row for row in getattr(corpus, kind)["train"] for _ in range(copies.get(row.prompt, 0))]
