"""From text to token ids: prompts through the model's chat template, answers with one end token, both within limits."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mora.dataset.chat import Chat
from mora.dataset.control import SafeTokenizer
from mora.dataset.ends import ends_of
from mora.dataset.store import take
from mora.dataset.token_cache import Ids, TokenCache
from mora.errors import InputError
from mora.types import Row, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Overlong = Literal["cut_answer", "drop", "error"]
OVERLONG = ("cut_answer", "drop", "error")
ANY_LENGTH = 1 << 30  # tokens
SHOWN = 10  # overlong rows that one message lists
REMEMBERED = 2**27  # bytes of prompts, and as many of answers, that are not tokenized again


class EncodedRows(Sequence[Row]):
    """Rows that were tokenized beforehand, under the limits of an encoder with this ``key``."""

    key: str

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each prompt with its longest answer, both cut to their limits (rows,)."""

    @property
    @abstractmethod
    def longest(self) -> NDArray[np.int32]:
        """Tokens of each row's longest answer before it is cut (rows,)."""

    @abstractmethod
    def counts(self, overlong: Overlong) -> Mapping[str, int]:
        """What encoding the rows that ``overlong`` admits adds to ``Encoder.counts``, ``rows_dropped`` aside."""


class Encoder:
    """Encodes prompts and answers; remembers what it encoded last, so that small data is not tokenized again.

    A prompt is one user turn, or several turns (``turns.py``), in the chat template of the tokenizer, up to
    where the answer starts.  An answer is tokenized apart and ends with exactly one end token, ``eos``, the first of
    the ``ends`` with which a model may end one (``ends.py``).  Neither can write a control token (``control.py``).

    ``max_prompt`` and ``max_response`` are limits in tokens, template and end token included.  A longer prompt loses
    its oldest exchanges and then the beginning of its last turn, so that what stands before and after it stays.  A
    longer answer goes by ``overlong``: ``cut_answer`` cuts it before its end token, ``drop`` leaves its row out
    (``admit``), ``error`` refuses it.  Rows that carry their tokens are not encoded again.
    Raises InputError where the tokenizer has no chat template, or as ``ends_of`` does.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_prompt: int, max_response: int, overlong: Overlong
    ) -> None:
        if overlong not in OVERLONG:
            raise InputError(f"dataset.overlong={overlong}: must be one of {', '.join(OVERLONG)}")
        if max_prompt < 1 or max_response < 2:
            limits = f"dataset.max_prompt={max_prompt}, dataset.max_response={max_response}"
            raise InputError(f"{limits}: must be at least 1 and 2 tokens")
        name = tokenizer.name_or_path or "the model"
        if not tokenizer.chat_template:
            advice = "name one to copy: model.chat_template=<model folder, hub id or .jinja file>"
            raise InputError(f"the tokenizer of {name} has no chat template; {advice}")
        self.tokenizer = tokenizer
        self.max_prompt, self.max_response, self.overlong = max_prompt, max_response, overlong
        self.safe = SafeTokenizer(tokenizer)
        self.chat = Chat(self.safe, max_prompt)
        self.ends = ends_of(self.safe, name)
        self.eos = self.ends[0]  # what answers are written with
        self.pad: int = self.eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        # prompts, prompts_cut, answers, answers_cut: distinct texts, as long as they are remembered; rows_dropped
        self.counts: Counter[str] = Counter()
        self._prompts = TokenCache(REMEMBERED)
        self._answers = TokenCache(REMEMBERED)  # whole, end token included

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that token ids depend on beside the texts: the tokenizer, its chat template, the limits."""
        tokenizer = self.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        known = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
        covered = [
            {name: value for name, value in known.items() if name not in ("truncation", "padding")},  # set by each call
            [type(tokenizer).__name__, tokenizers.__version__],
            tokenizer.chat_template,
            {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
            [self.eos, self.safe.control],
            [self.max_prompt, self.max_response],
        ]
        return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt in the chat template, at most ``max_prompt``.  Raises InputError where nothing fits."""
        return list(self._prompt(text).tolist())

    def response(self, text: str) -> list[int]:
        """Token ids of an answer with its end token; a longer one is cut, or with ``error`` raises InputError."""
        return list(self._response(text).tolist())

    @cached_property
    def vocabulary(self) -> str:
        """SHA-256 of the tokenizer's vocabulary: encoders that share it read each other's token ids."""
        return vocabulary(self.tokenizer)

    def scored(self, text: str, *, ended: bool = True) -> list[int]:
        """Token ids of an answer that is only to be scored: cut to the limit, whatever ``overlong``; not remembered.

        It has an end token where it ``ended``, and none where it was cut off when it was written.
        """
        (ids,) = self.whole([text])
        return self.fitted(ids if ended else ids[:-1], ended=ended)

    def fitted(self, ids: Sequence[int], *, ended: bool) -> list[int]:
        """Token ids of an answer, cut to the limit; one that ``ended``, with whatever token, ends with ``eos``."""
        kept = [*ids[:-1], self.eos] if ended else list(ids)
        if len(kept) <= self.max_response:
            return kept
        return [*kept[: self.max_response - 1], self.eos if ended else kept[self.max_response - 1]]

    def prompt_of(self, row: Row) -> Ids:
        """Token ids of a row's prompt (P,)."""
        tokens = self._given(row)
        return self._prompt(row.prompt) if tokens is None else tokens.prompt

    def response_of(self, row: Row, side: int = 0) -> Ids:
        """Token ids of one of a row's responses (T,); raises as ``response`` does."""
        tokens = self._given(row)
        if tokens is None or self.overlong == "error" and tokens.longest > self.max_response:
            return self._response(row.responses[side])
        return tokens.responses[side]

    def length(self, row: Row) -> int:
        """Tokens of a row's prompt with its longest response, both cut to their limits."""
        longest = max((len(self.response_of(row, side)) for side in range(len(row.responses))), default=0)
        return len(self.prompt_of(row)) + longest

    def lengths(self, rows: Sequence[Row]) -> NDArray[np.int32]:
        """``length`` of each row (rows,); of tokenized rows memory-mapped."""
        if isinstance(rows, EncodedRows) and rows.key == self.key:
            return rows.lengths
        return np.fromiter((self.length(row) for row in rows), np.int32, len(rows))

    def admit(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows to train on: all, or with ``drop`` those whose answers fit.

        Raises InputError about all rows that do not fit where ``overlong`` is error, and where no row is left.
        """
        kept = rows
        if self.overlong != "cut_answer":
            longest = self._longest(rows)
            longer = np.flatnonzero(longest > self.max_response)
            self.counts["rows_dropped"] += len(longer)
            if len(longer) and (self.overlong == "error" or len(longer) == len(rows)):
                raise InputError(self._too_long(rows, longer, longest))
            if len(longer):
                kept = take(rows, np.flatnonzero(longest <= self.max_response))
        if isinstance(rows, EncodedRows):
            self.counts.update(rows.counts(self.overlong))
        return kept

    def notes(self) -> list[str]:
        """What to tell the user about texts that did not fit."""
        said = {
            "prompts_cut": f"prompts cut from the left to dataset.max_prompt={self.max_prompt} tokens",
            "answers_cut": f"answers cut to dataset.max_response={self.max_response} tokens, end token kept",
            "rows_dropped": f"rows left out: an answer is longer than dataset.max_response={self.max_response} tokens",
        }
        of = {"prompts_cut": "prompts", "answers_cut": "answers"}
        lines = []
        for name, text in said.items():
            if self.counts[name]:
                total = f" of {self.counts[of[name]]}" if name in of else ""
                lines.append(f"{self.counts[name]}{total} {text}")
        return lines

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers with their end tokens, uncut.

        Raises InputError for an answer that the tokenizer knows no tokens for.
        """
        return [[*ids, self.eos] for ids in self.safe.plain(texts)]

    def _prompt(self, text: str) -> Ids:
        known = self._prompts.get(text)
        if known is None:
            ids, cut = self.chat(text)
            self.counts["prompts"] += 1
            self.counts["prompts_cut"] += cut
            known = self._prompts.put(text, ids)
        return known

    def _response(self, text: str) -> Ids:
        ids = self._whole(text)
        if len(ids) <= self.max_response:
            return ids
        if self.overlong == "error":
            raise InputError(f"an answer has {len(ids)} tokens: {text[:60]!r}...; {self._advice()}")
        return np.append(ids[: self.max_response - 1], np.int32(self.eos))

    def _whole(self, text: str) -> Ids:
        known = self._answers.get(text)
        if known is None:
            (ids,) = self.whole([text])
            self.counts["answers"] += 1
            self.counts["answers_cut"] += self.overlong == "cut_answer" and len(ids) > self.max_response
            known = self._answers.put(text, ids)
        return known

    def _given(self, row: Row) -> Tokens | None:
        """The tokens that a row carries, where they are those of its texts by this encoder."""
        tokens = row.tokens
        if tokens is None or tokens.key != self.key or tokens.texts != (row.prompt, row.responses):
            return None
        return tokens

    def _longest(self, rows: Sequence[Row]) -> NDArray[np.int32]:
        if isinstance(rows, EncodedRows) and rows.key == self.key:
            return rows.longest
        longest = (max((len(self._whole(text)) for text in row.responses), default=0) for row in rows)
        return np.fromiter(longest, np.int32, len(rows))

    def _too_long(self, rows: Sequence[Row], longer: NDArray[np.int64], longest: NDArray[np.int32]) -> str:
        lines = [f"{len(longer)} of {len(rows)} rows have an answer that is too long:"]
        for i in longer[:SHOWN].tolist():
            lines.append(f"  {rows[i].where or repr(rows[i].prompt[:60])}: {longest[i]} tokens")
        return "\n".join([*lines, self._advice()])

    def _advice(self) -> str:
        return f"dataset.max_response={self.max_response}: raise it, or set dataset.overlong=cut_answer or drop"


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of every token with its id, and of the end token: tokenizers that share it read each other's tokens."""
    covered = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps(covered).encode()).hexdigest()


def beyond(encoder: Encoder, prompts: Iterable[str], answers: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """How many distinct ``prompts`` and ``answers`` are longer than ``encoder`` takes, with its limits; and in words.

    Scores of such texts are those of what is left of them.
    """
    whole = Encoder(encoder.tokenizer, ANY_LENGTH, ANY_LENGTH, "cut_answer")
    lengths = {
        "prompts": [len(whole.prompt(text)) for text in set(prompts)],
        "answers": [len(whole.scored(text)) for text in set(answers)],
    }
    limits = {"prompts": encoder.max_prompt, "answers": encoder.max_response}
    kept = {"prompts": "end", "answers": "beginning"}
    found = {name: sum(length > limits[name] for length in own) for name, own in lengths.items()}
    said = [
        f"{count} of {len(lengths[name])} {name} are longer than the {limits[name]} tokens that the model takes, and "
        f"were scored by their {kept[name]}"
        for name, count in found.items()
        if count
    ]
    return found | {"max_prompt": encoder.max_prompt, "max_response": encoder.max_response}, said
