"""Control tokens of a tokenizer under secret names, for texts of others that hold the names that everybody knows."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from mora.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ControlAliases:
    """Control tokens under names that no text of others can hold: they are drawn anew by every process."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, control: Mapping[str, int]) -> None:
        drawn = str(secrets.randbits(64))  # of digits: no filter of a template changes them
        self.tokenizer, self.control = tokenizer, dict(control)
        self.aliases = {name: f"\ue000{drawn}:{number}\ue001" for name, number in control.items()}
        self._marks = {name: f"\ue002{drawn}:{number}\ue002" for name, number in control.items()}
        self._named, self._marked = any_of(self.aliases), any_of(self._marks.values())
        self._meant = {mark: name for name, mark in self._marks.items()}

    def marked(self, text: str) -> str:
        """``text`` of others with a mark in place of every name of a control token."""
        return self._named.sub(lambda found: self._marks[found[0]], text)

    def renamed(self, text: str) -> str:
        """A text in which marked ones were put: control tokens under their secret names, and the marks' own text."""
        text = self._named.sub(lambda found: self.aliases[found[0]], text)
        return self._marked.sub(lambda found: self._meant[found[0]], text)

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text in which marked ones were put, with ``special`` those too that the tokenizer adds."""
        raise NotImplementedError

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Tokens and types of two texts of others, joined by the tokenizer."""
        raise NotImplementedError


class FastAliases(ControlAliases):
    """By a copy of a fast tokenizer in which control tokens are renamed, also in its vocabulary."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, control: Mapping[str, int]) -> None:
        super().__init__(tokenizer, control)
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        state |= {"truncation": None, "padding": None}
        for token in state["added_tokens"]:
            if token["content"] in self.aliases:
                token |= {"content": self.aliases[token["content"]], "normalized": False}
        _rename(state["model"], self.aliases)
        self._backend = Tokenizer.from_str(json.dumps(state))
        moved = [n for n, number in control.items() if self._backend.token_to_id(self.aliases[n]) != number]
        if moved:
            raise InputError(f"the tokenizer cannot keep {moved[0]} out of texts: its tokenizer.json is inconsistent")

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Tokens by the copy, whose ids are those of the tokenizer."""
        return list(self._backend.encode(self.renamed(text), add_special_tokens=special).ids)

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Tokens and types by the copy, special tokens included."""
        found = self._backend.encode(first, second, add_special_tokens=True)
        return list(found.ids), list(found.type_ids)


def _rename(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename tokens in the vocabulary of any of the tokenizers library's models, so that no text spells them."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): number for token, number in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [[a, b] for a, b in pairs if not {a, b, a + b} & names.keys()]


class SlowAliases(ControlAliases):
    """By a slow tokenizer, which has no copy: what reads like a control token is cut after its first character."""

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Tokens of the pieces between control tokens.  Raises InputError where a piece cannot do without one."""
        numbers = {alias: self.control[name] for name, alias in self.aliases.items()}
        found: list[int] = []
        for piece in re.split(f"({any_of(numbers).pattern})", self.renamed(text)):
            if piece:
                found += [numbers[piece]] if piece in numbers else self._text(piece)
        return list(self.tokenizer.build_inputs_with_special_tokens(found)) if special else found

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Tokens and types of both texts, special tokens included.  Raises InputError as ``ids`` does."""
        parts = self._text(first), self._text(second)
        ids = self.tokenizer.build_inputs_with_special_tokens(*parts)
        return list(ids), list(self.tokenizer.create_token_type_ids_from_sequences(*parts))

    def _text(self, text: str) -> list[int]:
        def tokens(piece: str) -> list[int]:
            return list(self.tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"])

        ids, known = tokens(text), {*self.control.values()}
        if known.intersection(ids):
            places = [0, *(found.start() + 1 for found in self._named.finditer(text)), len(text)]
            ids = [token for a, b in zip(places, places[1:], strict=False) for token in tokens(text[a:b])]
        if known.intersection(ids):
            raise InputError(f"{text[:60]!r}: the tokenizer can write it only with a control token; write it otherwise")
        return ids


def any_of(names: Iterable[str]) -> re.Pattern[str]:
    """One of some names, the longest that stands at a place; where there is none, nothing."""
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)")
