"""From text to token ids: prompts through the model's chat template, answers with one end token, both within limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import jinja2
import numpy as np

from mora.errors import InputError
from mora.types import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Overlong = Literal["cut_answer", "drop", "error"]
OVERLONG = ("cut_answer", "drop", "error")
ANY_LENGTH = 1 << 30  # tokens
SHOWN = 10  # overlong rows that one message lists
_WORD_START = re.compile(r"(?<=\s)\S")
_SNAP = 32  # characters within which a cut moves on to the start of a word


class Encoder:
    """Encodes prompts and answers; remembers what it encoded, so that an epoch does not tokenize again.

    A prompt is one user turn in the chat template of the tokenizer, up to where the answer starts.  An answer is
    tokenized apart, as plain text (no special token can be written in it), and ends with exactly one end token.
    ``max_prompt`` and ``max_response`` are limits in tokens, template and end token included.  The content of a longer
    prompt is cut from the left, so that what stands before and after it stays.  A longer answer goes by ``overlong``:
    ``cut_answer`` cuts it before its end token, ``drop`` leaves its row out (``admit``), ``error`` refuses it.
    Raises InputError where the tokenizer has no chat template or no end token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_prompt: int, max_response: int, overlong: Overlong
    ) -> None:
        if overlong not in OVERLONG:
            raise InputError(f"dataset.overlong={overlong}: must be one of {', '.join(OVERLONG)}")
        if max_prompt < 1 or max_response < 2:
            limits = f"dataset.max_prompt={max_prompt}, dataset.max_response={max_response}"
            raise InputError(f"{limits}: must be at least 1 and 2 tokens")
        if not tokenizer.chat_template:
            advice = "name one to copy: model.chat_template=<model folder, hub id or .jinja file>"
            raise InputError(f"the tokenizer of {tokenizer.name_or_path or 'the model'} has no chat template; {advice}")
        if tokenizer.eos_token_id is None:
            raise InputError(f"the tokenizer of {tokenizer.name_or_path or 'the model'} has no end token (eos_token)")
        self.tokenizer = tokenizer
        self.max_prompt, self.max_response, self.overlong = max_prompt, max_response, overlong
        self.eos: int = tokenizer.eos_token_id
        self.pad: int = self.eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.counts: Counter[str] = (
            Counter()
        )  # distinct texts: prompts, prompts_cut, answers, answers_cut; rows_dropped
        self._special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
        self._prompts: dict[str, np.ndarray] = {}
        self._answers: dict[str, np.ndarray] = {}  # whole, end token included

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt in the chat template, at most ``max_prompt``.  Raises InputError where nothing fits."""
        if text not in self._prompts:
            ids = self._chat(text)
            self.counts["prompts"] += 1
            if len(ids) > self.max_prompt:
                ids = self._cut(text)
                self.counts["prompts_cut"] += 1
            self._prompts[text] = np.array(ids, dtype=np.int32)
        return list(self._prompts[text].tolist())

    def response(self, text: str) -> list[int]:
        """Token ids of an answer with its end token; a longer one is cut, or with ``error`` raises InputError."""
        ids = self._whole(text).tolist()
        if self.overlong == "error" and len(ids) > self.max_response:
            raise InputError(f"an answer has {len(ids)} tokens: {text[:60]!r}...; {self._advice()}")
        return self._within(ids)

    def scored(self, text: str) -> list[int]:
        """Token ids of an answer that is only to be scored: cut to the limit, whatever ``overlong``; not remembered."""
        return self._within(self._answer(text))

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """The rows to train on: all, or with ``drop`` those whose answers fit.

        Raises InputError about all rows that do not fit where ``overlong`` is error, and where no row is left.
        """
        if self.overlong == "cut_answer":
            return list(rows)
        kept: list[Row] = []
        longer: list[Row] = []
        for row in rows:
            length = max((len(self._whole(text)) for text in row.responses), default=0)
            (longer if length > self.max_response else kept).append(row)
        self.counts["rows_dropped"] += len(longer)
        if longer and (self.overlong == "error" or not kept):
            raise InputError(self._too_long(longer, len(rows)))
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

    def _whole(self, text: str) -> np.ndarray:
        if text not in self._answers:
            ids = self._answer(text)
            self.counts["answers"] += 1
            self.counts["answers_cut"] += self.overlong == "cut_answer" and len(ids) > self.max_response
            self._answers[text] = np.array(ids, dtype=np.int32)
        return self._answers[text]

    def _too_long(self, longer: Sequence[Row], total: int) -> str:
        lines = [f"{len(longer)} of {total} rows have an answer that is too long:"]
        for row in longer[:SHOWN]:
            tokens = max(len(self._whole(text)) for text in row.responses)
            lines.append(f"  {row.where or repr(row.prompt[:60])}: {tokens} tokens")
        return "\n".join([*lines, self._advice()])

    def _advice(self) -> str:
        return f"dataset.max_response={self.max_response}: raise it, or set dataset.overlong=cut_answer or drop"

    def _within(self, ids: list[int]) -> list[int]:
        return ids if len(ids) <= self.max_response else [*ids[: self.max_response - 1], self.eos]

    def _answer(self, text: str) -> list[int]:
        ids = self._tokens(text)
        written = self._special.intersection(ids)
        if written:  # a tokenizer of whole words knows the name of a special token as a word
            name = self.tokenizer.convert_ids_to_tokens(min(written))
            raise InputError(f"an answer holds {name}, which is a special token: {text[:60]!r}; write it otherwise")
        return [*ids, self.eos]

    def _tokens(self, text: str) -> list[int]:
        try:
            return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        except Exception as error:  # the tokenizers library raises nothing more particular
            if "UNK" not in str(error):
                raise
            raise InputError(f"the tokenizer knows no token for a word of {text[:60]!r}") from error

    def _chat(self, text: str) -> list[int]:
        turns = [{"role": "user", "content": text}]
        try:
            ids = self.tokenizer.apply_chat_template(
                turns, tokenize=True, add_generation_prompt=True, return_dict=False
            )
        except jinja2.TemplateError as error:
            advice = "name another: model.chat_template=<model folder, hub id or .jinja file>"
            raise InputError(f"the chat template fails on a single user turn: {error}; {advice}") from error
        return list(ids)

    def _cut(self, text: str) -> list[int]:
        """Ids of the longest end of ``text`` that fits, moved on to the start of a word where one is near."""
        low, high = 0, len(text)  # text[low:] does not fit; text[high:] is the next candidate that may
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if len(self._chat(text[middle:])) <= self.max_prompt else (middle, high)
        near = _WORD_START.search(text, high, high + _SNAP)
        for start in ([near.start()] if near else []) + list(range(high, min(high + _SNAP, len(text)))):
            ids = self._chat(text[start:])
            if len(ids) <= self.max_prompt:
                return ids
        needed = len(self._chat(text[-1:]))
        raise InputError(
            f"dataset.max_prompt={self.max_prompt}: one character in the chat template takes {needed} tokens"
        )


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
