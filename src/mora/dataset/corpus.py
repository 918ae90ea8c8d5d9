"""A corpus: everything that a run reads from one source, already split and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mora.dataset.encode import Encoder, Overlong
from mora.dataset.record_parser import Rejected
from mora.dataset.store import content
from mora.types import Row, TokenKind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mora.dataset.rules import Rules
    from mora.dataset.true_scores import TrueScores
    from mora.dataset.worlds import World

SPLITS = ("train", "test")
KINDS = ("supervised", "pairs", "scored", "prompts")
Splits = Mapping[str, Sequence[Row]]


def _none() -> Splits:
    return {split: [] for split in SPLITS}


@dataclass(kw_only=True)
class Corpus:
    """Rows of one source, split by conversation: none of ``test`` occurs in ``train``, in whatever kind of row."""

    name: str
    objectives: tuple[str, ...]
    supervised: Splits
    pairs: Splits
    prompts: Splits  # each prompt once
    scored: Splits = field(default_factory=_none)  # one answer each, with ratings
    fingerprint: str
    max_prompt: int  # tokens, chat template included
    max_response: int  # tokens, end token included
    overlong: Overlong = "error"  # what to do with a longer answer
    tokens: TokenKind = "bytes"  # what a tokenizer made for this corpus knows
    vocabulary: tuple[str, ...] = ()  # words that it knows even if no row holds them
    world: World | None = None
    rules: Rules | None = None  # of all objectives: none where one of them is not scored by a rule
    notes: list[str] = field(default_factory=list)  # things that the user should be told
    quarantine: list[Rejected] = field(default_factory=list)
    records: Mapping[str, Any] = field(default_factory=dict)  # read, used, set aside, by reason
    overlap: Mapping[str, Any] = field(default_factory=dict)  # prompts that its sides share (dataset/overlap.py)
    commits: Mapping[str, str | None] = field(default_factory=dict)  # of datasets of the hub

    @property
    def true_scores(self) -> TrueScores | None:
        """What knows the true score of every answer on all objectives, if anything does."""
        return self.rules if self.world is None else self.world

    @property
    def asked(self) -> Literal["test", "train"]:
        """The split whose prompts a policy is measured on: held-out ones where there are any."""
        return "test" if len(self.prompts["test"]) else "train"

    def labelled(self) -> set[str]:
        """The objectives that a training row labels or rates; no more rows are read than tell."""
        found: set[str] = set()
        for kind in (self.pairs, self.scored):
            for row in kind["train"]:
                found |= {name for name, value in row.labels.items() if value is not None}
                found |= {name for name, rated in row.ratings.items() if any(rated)}
                if found.issuperset(self.objectives):
                    return found
        return found

    def tokenizer_texts(self) -> Iterator[str]:
        """The texts that a tokenizer is made from: train; word-level: test too, so that no word is unknown."""
        yield from self.vocabulary
        seen: set[str] = set()
        for split in SPLITS if self.tokens != "bytes" else ("train",):
            for row in (*self.prompts[split], *self.supervised[split], *self.pairs[split], *self.scored[split]):
                for text in (row.prompt, *row.responses):
                    if text not in seen:
                        seen.add(text)
                        yield text

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """The encoder with this corpus' limits.  Raises InputError as ``Encoder`` does."""
        return Encoder(tokenizer, self.max_prompt, self.max_response, self.overlong)


def fingerprint(objectives: Sequence[str], *kinds: Mapping[str, Sequence[Row]]) -> str:
    """SHA-256 of what the rows say and of their order; file names and places do not count."""
    digest = hashlib.sha256(json.dumps(list(objectives)).encode())
    for kind in kinds:
        for split in SPLITS:
            digest.update(content(kind[split]).encode())
    return digest.hexdigest()
