"""Prompts in the chat template of a tokenizer, up to where the answer starts, within a limit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jinja2

from mora.dataset.control import SafeTokenizer
from mora.errors import InputError
from mora.turns import Turn, turns_of, without_oldest

_WORD_START = re.compile(r"(?<=\s)\S")
_SNAP = 32  # characters within which a cut moves on to the start of a word


def _unknown(error: Exception) -> bool:
    """Whether a tokenizer met a word that it lacks: the tokenizers library raises nothing more particular."""
    return "UNK" in str(error)


class Chat:
    """Token ids of prompts of one or several turns, at most ``limit``, and whether they had to be cut for that.

    A conversation that is too long loses its oldest exchanges, a user's and an assistant's turn together; its system
    message stays.  When only the last turn is left, that one is cut from the left.
    Raises InputError where the template refuses the turns, the tokenizer lacks a word, or not one character fits.
    """

    def __init__(self, safe: SafeTokenizer, limit: int) -> None:
        self.safe, self.limit = safe, limit

    def __call__(self, prompt: str) -> tuple[list[int], bool]:
        """Ids of one prompt."""
        turns = turns_of(prompt)
        return self._within(turns, self._ids(turns))

    def many(self, prompts: Sequence[str]) -> list[tuple[list[int], bool]]:
        """The same of many prompts, tokenized together."""
        turns = [turns_of(prompt) for prompt in prompts]
        try:
            found = self._templated(turns) if turns else []
        except Exception as error:  # one by one, so that the one that it is about is named
            if not isinstance(error, jinja2.TemplateError) and not _unknown(error):
                raise
            return [self(prompt) for prompt in prompts]
        return [self._within(of, list(ids)) for of, ids in zip(turns, found, strict=True)]

    def _within(self, turns: list[Turn], ids: list[int]) -> tuple[list[int], bool]:
        if len(ids) <= self.limit:
            return ids, False
        for shorter in without_oldest(turns):
            turns = shorter
            ids = self._ids(turns)
            if len(ids) <= self.limit:
                return ids, True
        return self._cut(turns[:-1], turns[-1]["content"], len(ids) - self.limit), True

    def _ids(self, turns: list[Turn]) -> list[int]:
        try:
            (ids,) = self._templated([turns])
        except jinja2.TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            on = "a single user turn" if len(turns) == 1 else f"the turns {roles}"
            advice = "name another: model.chat_template=<model folder, hub id or .jinja file>"
            raise InputError(f"the chat template fails on {on}: {error}; {advice}") from error
        except Exception as error:
            if not _unknown(error):
                raise
            said = turns[-1]["content"][:60]
            raise InputError(f"prompt: the tokenizer knows no token for a word of {said!r}") from error
        return list(ids)

    def _templated(self, conversations: list[list[Turn]]) -> list[list[int]]:
        return self.safe.chat(conversations, generate=True)

    def _cut(self, before: list[Turn], text: str, excess: int) -> list[int]:
        """Ids with the longest end of the last turn that fits, moved on to the start of a word where one is near."""

        def ids(start: int) -> list[int]:
            return self._ids([*before, {"role": "user", "content": text[start:]}])

        low, high = 0, len(text)  # text[low:] does not fit; text[high:] is the next candidate that may
        tried, step = self._after(text, excess), 1
        while high - low > 1:  # from a good guess in steps that double, then by halves
            fits = len(ids(tried)) <= self.limit
            low, high = (low, tried) if fits else (tried, high)
            step *= 2
            ahead = high - step if fits else low + step
            tried = ahead if low < ahead < high else (low + high) // 2
        near = _WORD_START.search(text, high, high + _SNAP)
        for start in ([near.start()] if near else []) + list(range(high, min(high + _SNAP, len(text)))):
            found = ids(start)
            if len(found) <= self.limit:
                return found
        needed = len(ids(len(text) - 1))
        beside = " beside the system message" if before else ""
        raise InputError(
            f"dataset.max_prompt={self.limit}: one character in the chat template takes {needed} tokens{beside}"
        )

    def _after(self, text: str, tokens: int) -> int:
        """Where the text goes on after so many tokens, or its middle, where the tokenizer does not say."""
        tokenizer = self.safe.tokenizer
        if not tokenizer.is_fast or len(text) < 2:
            return len(text) // 2
        places: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        start = places[tokens][0] if tokens < len(places) else len(text) - 1
        return min(max(int(start), 1), len(text) - 1)
