"""The nouns of mora, and the axis legend.  Plain dataclasses; importing this module imports no torch.

Axes, always in this order:

====  =============================================================
B     sequences (or pairs) of a batch
T     response tokens
L     prompt and response tokens
M     objectives
S     atoms of a reward belief (1 scalar, K quantiles, E members)
H     hidden width
V     vocabulary
P     points of a front
N     samples per prompt
R     absolute ratings of one answer on one objective
====  =============================================================

Every objective is maximized inside.  ``*_loss`` and ``*_error`` go down, ``*_gain`` and ``*_score`` go up.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")
BeliefKind = Literal["point", "quantile", "member", "category"]
TokenKind = Literal["bytes", "words", "closed"]  # byte-level BPE; a token per word; nothing but the words and an end


def content_id(*texts: str) -> int:
    """A 63-bit content hash: the identity of a row or a prompt, whatever its place in a file or a batch."""
    digest = hashlib.blake2b("\x1f".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of a row's texts, made beforehand; whoever reads them checks that they are of its texts and limits."""

    key: str  # of the encoder that made them
    texts: tuple[str, tuple[str, ...]]  # prompt and responses
    prompt: NDArray[np.int32]
    responses: tuple[NDArray[np.int32], ...]  # end token included, cut to the limit
    longest: int  # tokens of the longest response before it was cut


@dataclass(frozen=True, kw_only=True)
class Row:
    """One canonical row of any dataset.

    ``responses`` has no text (a prompt), one (a supervised row) or two (a pair).  ``labels[objective]`` is the
    probability that ``responses[1]`` is the better one: 0.0 or 1.0 for a hard label, 0.5 for a tie, ``None`` where
    the objective is not labelled (masked in every loss, never read as 0).  ``ratings[objective][i]`` are the absolute
    scores that annotators gave ``responses[i]``, higher is better, none or several.  ``strengths[objective]`` says by
    how much the better response is better, at least 0, in the source's own unit.
    """

    prompt: str
    responses: tuple[str, ...] = ()
    labels: Mapping[str, float | None] = field(default_factory=dict)
    ratings: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)
    where: str = ""  # file and line, for messages
    tokens: Tokens | None = field(default=None, compare=False, repr=False)

    @property
    def prompt_id(self) -> int:
        """Content hash of the prompt: groups, splits and noise are keyed by it."""
        return content_id(self.prompt)

    @property
    def id(self) -> int:
        """Content hash of prompt and responses."""
        return content_id(self.prompt, *self.responses)


def _moved(batch: T, device: torch.device | str) -> T:
    values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}  # type: ignore[arg-type]
    return type(batch)(**{k: v.to(device) if hasattr(v, "to") else v for k, v in values.items()})


@dataclass(kw_only=True)
class Sequences:
    """Prompts with their answers, padded; each row at its own preference, where there are any."""

    ids: Tensor  # (B, L) int64
    mask: Tensor  # (B, L) bool, True on real tokens
    response: Tensor  # (B, T) bool, of the last T columns: True on tokens of the answer, its end token included
    preference: Tensor | None = None  # (B, M)

    @property
    def length(self) -> int:
        """Columns T that answers stand in."""
        return self.response.shape[1]

    def to(self, device: torch.device | str) -> Sequences:
        """The same batch on ``device``."""
        return _moved(self, device)

    def trimmed(self) -> Sequences:
        """The same without the leading columns in which every row is padding; one column stays before the answers."""
        columns = self.mask[:, : -self.length - 1].any(0).tolist()
        first = columns.index(True) if True in columns else len(columns)
        return (
            self
            if first == 0
            else Sequences(
                ids=self.ids[:, first:], mask=self.mask[:, first:], response=self.response, preference=self.preference
            )
        )

    def rows(self, some: slice) -> Sequences:
        """Some consecutive rows, with the padding of the whole batch."""
        weights = None if self.preference is None else self.preference[some]
        return Sequences(ids=self.ids[some], mask=self.mask[some], response=self.response[some], preference=weights)


@dataclass(kw_only=True)
class Judgments:
    """What annotators said of B pairs on M objectives."""

    objectives: tuple[str, ...]
    labels: Tensor  # (B, M) float32 in [0, 1]: probability that responses[1] is better; 0 where unlabelled
    labelled: Tensor  # (B, M) bool
    strengths: Tensor  # (B, M) float32, at least 0: by how much; 1 where nothing is known of it
    ratings: Tensor  # (2, B, M, R) float32: absolute scores of responses[0] and responses[1]; 0 where there is none
    rated: Tensor  # (2, B, M, R) bool
    row_ids: Tensor  # (B,) int64: the identity that random draws are keyed by

    def to(self, device: torch.device | str) -> Judgments:
        """The same judgments on ``device``."""
        return _moved(self, device)

    def take(self, rows: Tensor) -> Judgments:
        """Those of some pairs (B',), in the order given; a pair may be asked for several times."""
        return Judgments(
            objectives=self.objectives,
            labels=self.labels[rows],
            labelled=self.labelled[rows],
            strengths=self.strengths[rows],
            ratings=self.ratings[:, rows],
            rated=self.rated[:, rows],
            row_ids=self.row_ids[rows],
        )


@dataclass(kw_only=True)
class PairBatch:
    """Pairs of answers, right-padded: sequences 0..B-1 are ``responses[0]``, B..2B-1 are ``responses[1]``."""

    ids: Tensor  # (2B, L) int64
    mask: Tensor  # (2B, L) bool
    judgments: Judgments
    features: Tensor | None = None  # (2B, H) of a trunk that stays as it is

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on ``device``."""
        return _moved(self, device)


@dataclass(kw_only=True)
class Prompts:
    """Prompts to be answered, left-padded."""

    ids: Tensor  # (B, L) int64
    mask: Tensor  # (B, L) bool
    row_ids: Tensor  # (B,) int64: the identity that random draws are keyed by
    texts: list[str]  # the B prompts as written

    def to(self, device: torch.device | str) -> Prompts:
        """The same batch on ``device``."""
        return _moved(self, device)

    def take(self, rows: slice) -> Prompts:
        """Some consecutive rows, with the padding of the whole batch."""
        return Prompts(ids=self.ids[rows], mask=self.mask[rows], row_ids=self.row_ids[rows], texts=self.texts[rows])


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What is known of B sampled answers beyond their texts.

    An answer without an end token was cut off at its policy's limit, and is scored as it stands: nobody appends an end.
    ``tokens`` are the ids as sampled, end tokens included, of a tokenizer whose ``Encoder.vocabulary`` is
    ``vocabulary``; None where only texts are known.
    """

    ended: tuple[bool, ...]  # (B,)
    tokens: tuple[tuple[int, ...], ...] | None = None  # (B,)
    vocabulary: str = ""

    @classmethod
    def joined(cls, parts: Sequence[Sampled]) -> Sampled:
        """Several batches as one; they are of one tokenizer."""
        return cls(
            ended=tuple(ended for part in parts for ended in part.ended),
            tokens=tuple(ids for part in parts for ids in part.tokens or ()),
            vocabulary=parts[0].vocabulary,
        )

    def take(self, rows: Sequence[int]) -> Sampled:
        """What is known of some answers, in the order given; one may be asked for several times."""
        tokens = None if self.tokens is None else tuple(self.tokens[row] for row in rows)
        return dataclasses.replace(self, ended=tuple(self.ended[row] for row in rows), tokens=tokens)

    def tokens_for(self, vocabulary: str) -> tuple[tuple[int, ...], ...] | None:
        """The ids, for a reader with this ``vocabulary``; None where the texts must be tokenized again."""
        return self.tokens if self.vocabulary == vocabulary else None


class BeliefShape(NamedTuple):
    """What the beliefs of a reward kind look like, before there is one: arguments of ``functional.risk.check``."""

    kind: BeliefKind
    atoms: int  # S, those of all members
    levels: tuple[float, ...] | None = None  # quantile levels of the atoms; None unless kind is "quantile"
    members: int = 1  # models E that a like share of the atoms belongs to


@dataclass(kw_only=True)
class RewardBelief:
    """What a reward model believes about the reward of each sequence on each objective.

    ``atoms`` are support points of a distribution over reward, in units of the reference policy's standard deviation
    once standardized; ``weights`` sum to 1 over S.  ``kind`` says what an atom is: a point estimate, a quantile
    (ascending in S, at ``levels``), an ensemble member (paired across sequences) or a category (the support is the same
    for all sequences, the weights are not).
    """

    atoms: Tensor  # (B, M, S)
    weights: Tensor  # (B, M, S)
    kind: BeliefKind
    levels: Tensor | None = None  # (S,) quantile levels in (0, 1); None unless kind == "quantile"


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics as one flat mapping with ``/`` between the parts of a name."""
    flat: dict[str, float] = {}
    for key, value in metrics.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{name}/")
        else:
            flat[name] = float(value)
    return flat
