"""A prompt and its answer as the tokens that a classifier reads, in the form that it was trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from transformers import PreTrainedTokenizerBase

from mora.dataset.control import SafeTokenizer
from mora.dataset.encode import vocabulary
from mora.dataset.ends import ends_of
from mora.errors import InputError
from mora.turns import Turn, readable, turns_of, without_oldest
from mora.types import Sampled

TEMPLATED = ("template", "answer")
FORMS = (*TEMPLATED, "pair")
_FIELD = re.compile(r"\{(\w*)\}")
FIELDS = ("prompt", "response", "bos", "eos")
SNAP = 32  # characters by which a cut may move on until the text fits
HERE = "\u2063end\u2063"  # marks where an answer stops that was cut off


def check_form(chat: str, where: str) -> None:
    """Raises InputError unless ``chat`` is a form that texts can take."""
    fields = _FIELD.findall(chat)
    unknown = [name for name in fields if name not in FIELDS]
    if chat not in FORMS and ("response" not in fields or unknown):
        raise InputError(
            f"{where}={chat}: use {', '.join(FORMS)}, or a text with {{response}} in it, such as "
            '"USER: {prompt} ASSISTANT: {response}{eos}" (fields: ' + ", ".join(FIELDS) + ")"
        )


class Answer(NamedTuple):
    """An answer to be read: its text, whether it ended or was cut off, and its tokens as sampled, where they fit."""

    text: str
    ended: bool
    tokens: tuple[int, ...] | None


class Texts:
    """Tokens of prompts with answers, at most ``limit``; counts what was cut.

    ``chat``: "template" is the turns of the prompt and an assistant turn by the tokenizer's chat template; "answer" the
    turns of the prompt up to where an answer starts, then the answer and the end token that answers are written with
    (``dataset/ends.py``), as mora's own reward models read; "pair" prompt and answer as the two texts of an
    encoder; any other text has the fields prompt, response, bos and eos in braces, and the tokenizer adds the special
    tokens that it always adds.  In the last two forms a prompt of several turns is written as a person reads it.

    An answer that was cut off is the last of its text: nothing that stands behind answers in the form, an end token or
    the end of a turn, is written behind it ("pair" has no such thing).  In the form "answer" sampled answers are the
    tokens that were sampled where the tokenizer has their vocabulary.

    A longer text loses the oldest exchanges of its prompt (in templates; the system message stays), then the beginning
    of its prompt, and when that is gone, of its answer.  Neither can write a control token (``dataset/control.py``).
    Raises InputError where the form asks of the tokenizer what it lacks.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: str, limit: int, name: str) -> None:
        check_form(chat, "reward.chat")
        self.tokenizer, self.chat, self.limit, self.name = tokenizer, chat, limit, name
        self.counts: Counter[str] = Counter()  # texts, prompts_cut, answers_cut
        self.safe = SafeTokenizer(tokenizer)
        if chat in TEMPLATED and not tokenizer.chat_template:
            raise InputError(
                f"{name}: its tokenizer has no chat template; say how prompt and answer become one text, as in "
                'reward.chat="USER: {prompt} ASSISTANT: {response}{eos}"'
            )
        needs_eos = chat == "answer" or "eos" in _FIELD.findall(chat)
        needs_bos = "bos" in _FIELD.findall(chat)
        for needed, token, name_of in (
            (needs_eos, tokenizer.eos_token, "eos"),
            (needs_bos, tokenizer.bos_token, "bos"),
        ):
            if needed and token is None:
                raise InputError(f"{name}: its tokenizer has no {name_of} token; leave it out of reward.chat")
        self.end = ends_of(self.safe, name)[0] if chat == "answer" else tokenizer.eos_token_id

    def answers(self, responses: Sequence[str], sampled: Sampled | None) -> list[Answer]:
        """The answers as they are to be read; whole ones where nothing is known of them."""
        if sampled is None:
            return [Answer(response, True, None) for response in responses]
        tokens = sampled.tokens_for(vocabulary(self.tokenizer)) if self.chat == "answer" else None
        known = tokens or (None,) * len(responses)
        return [Answer(*parts) for parts in zip(responses, sampled.ended, known, strict=True)]

    def __call__(
        self, prompt: str, response: str, ended: bool = True, tokens: tuple[int, ...] | None = None
    ) -> tuple[list[int], list[int] | None]:
        """Token ids and, of pairs, token types.  Raises InputError where not even an empty text fits."""
        self.counts["texts"] += 1
        answer = Answer(response, ended, tokens)
        turns = turns_of(prompt)
        if self.chat not in TEMPLATED:
            turns = [{"role": "user", "content": readable(prompt)}]
        whole = self._encoded(turns, answer)
        if len(whole[0]) <= self.limit:
            return whole
        for shorter in without_oldest(turns):
            turns = shorter
            kept = self._encoded(turns, answer)
            if len(kept[0]) <= self.limit:
                self.counts["prompts_cut"] += 1
                return kept
        return self._cut(turns[:-1], turns[-1]["content"], answer)

    def _cut(self, before: list[Turn], prompt: str, answer: Answer) -> tuple[list[int], list[int] | None]:
        """Without the beginning of the last turn, and when that is gone, of the answer."""

        def dropped(count: int) -> tuple[list[int], list[int] | None]:
            last: Turn = {"role": "user", "content": prompt[count:]}
            rest = answer
            if count > len(prompt):
                rest = Answer(answer.text[count - len(prompt) :], answer.ended, None)
            return self._encoded([*before, last], rest)

        total = len(prompt) + len(answer.text)
        low, high = 0, total  # characters dropped from the left: low does not fit, high is the next that may
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if len(dropped(middle)[0]) <= self.limit else (middle, high)
        for drop in range(high, min(high + SNAP, total) + 1):
            kept = dropped(drop)
            if len(kept[0]) <= self.limit:
                self.counts["answers_cut" if drop > len(prompt) else "prompts_cut"] += 1
                return kept
        needed = f"{len(dropped(total)[0])} tokens without any text{' but its system message' if before else ''}"
        raise InputError(f"reward.max_length={self.limit}: {self.name} takes {needed}")

    def notes(self) -> list[str]:
        """What to tell the user about texts that were changed."""
        said = {
            "prompts_cut": f"texts lost the beginning of their prompt to fit into {self.limit} tokens",
            "answers_cut": f"texts lost their prompt and the beginning of their answer to fit into {self.limit} tokens",
        }
        total = self.counts["texts"]
        return [f"{self.name}: {self.counts[key]} of {total} {text}" for key, text in said.items() if self.counts[key]]

    def _encoded(self, turns: list[Turn], answer: Answer) -> tuple[list[int], list[int] | None]:
        try:
            return self._read(turns, answer)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    def _read(self, turns: list[Turn], answer: Answer) -> tuple[list[int], list[int] | None]:
        if self.chat == "answer":
            said = self.safe.plain([answer.text])[0]
            if answer.tokens:
                said = [*answer.tokens[:-1]] if answer.ended else [*answer.tokens]
            end = [self.end] if answer.ended else []
            return self._templated(turns, generate=True) + said + end, None
        if self.chat == "template":
            until = None if answer.ended else HERE
            answered: list[Turn] = [*turns, {"role": "assistant", "content": answer.text + (until or "")}]
            return self._templated(answered, generate=False, until=until), None
        prompt = turns[-1]["content"]
        if self.chat == "pair":
            return self.safe.pair(prompt, answer.text)
        own = {"bos": self.tokenizer.bos_token, "eos": self.tokenizer.eos_token}
        form = self.chat if answer.ended else self._open_form
        ids = self._once(self.safe.filled(form, {"prompt": prompt, "response": answer.text}, own))
        ends = not answer.ended and ids[-1:] == [self.tokenizer.eos_token_id]  # that the tokenizer adds to any text
        return ids[:-1] if ends else ids, None

    @property
    def _open_form(self) -> str:
        """The form of an answer that was cut off: nothing behind it, but for a prompt that stands there."""
        before, field, behind = self.chat.rpartition("{response}")
        return before + field + (behind.replace("{eos}", "") if "{prompt}" in behind else "")

    def _once(self, ids: list[int]) -> list[int]:
        """Without the second of two first or last tokens: one that the text has and one that the tokenizer adds."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        ids = ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids
        return ids[:-1] if eos is not None and ids[-2:] == [eos, eos] else ids

    def _templated(self, turns: list[Turn], *, generate: bool, until: str | None = None) -> list[int]:
        try:
            (found,) = self.safe.chat([turns], generate=generate, until=until)
            return found
        except jinja2.TemplateError as error:
            asked = [turn["role"] for turn in (turns if generate else turns[:-1])]
            on = "one user turn" if asked == ["user"] else f"the turns {', '.join(asked)}"
            raise InputError(
                f"its chat template fails on {on}{'' if generate else ' and its answer'} ({error}); write the text out "
                "in reward.chat"
            ) from error
