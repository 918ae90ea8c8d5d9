"""Texts of others as tokens, among which no control token can be: not in prompts, not in answers, for no model.

Control tokens are the special tokens of a tokenizer (the end of a turn, padding, ...), save the one that stands for
unknown words, and those of its added tokens that end answers, or that its chat template writes around turns.  Only
the template and the tokenizer itself write them.  What reads like one in a text of others is text, and its tokens
decode to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jinja2

from mora.dataset.control_aliases import ControlAliases, FastAliases, SlowAliases, any_of
from mora.dataset.template import rendered
from mora.ends import named_ends
from mora.errors import InputError
from mora.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "\ue003"  # stands for what a turn says where only the template's own text is wanted
_PROBES: tuple[tuple[str, ...], ...] = (("user",), ("user", "assistant", "user"), ("system", "user"))
Types = list[int] | None  # token types of a pair


class SafeTokenizer:
    """A tokenizer for texts of others.

    A text without the name of a control token has the tokens that ``tokenizer`` gives it.  Any other is tokenized
    by a copy in which control tokens have secret names, so that the names that everybody knows mean nothing
    (``control_aliases.py``).
    Raises InputError where a text has a word that the tokenizer knows no token for.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.control = control_tokens(tokenizer)
        self._ids = frozenset(self.control.values())
        self._names = any_of(self.control)
        self._own: dict[Any, int] = {}  # control tokens that a template, a form or the tokenizer itself writes

    def chat(
        self, conversations: Sequence[Sequence[Turn]], *, generate: bool, until: str | None = None
    ) -> list[list[int]]:
        """Tokens of each conversation in the chat template, with ``generate`` up to where the next answer starts.

        Only what stands before the last ``until``, where it is given.  Raises ``jinja2.TemplateError`` as ``rendered``
        does, and InputError where the template leaves ``until`` out, or makes a control token of what a turn says, as
        one that lowers its letters can.
        """
        if not conversations:
            return []
        texts = [self._written(turns, generate, until) for turns in conversations]
        found = self._encoded(texts, add_special_tokens=False)
        for number, (turns, text) in enumerate(zip(conversations, texts, strict=True)):
            named = any(self._names.search(turn["content"]) for turn in turns)
            if named or self._count(found[number]) > len(self._names.findall(text)):
                marked: list[Turn] = [{**turn, "content": self._aliases.marked(turn["content"])} for turn in turns]
                text = self._written(marked, generate, until)
                found[number] = self._guarded(text, lambda w=text: self._aliases.ids(w, special=False))  # type: ignore[misc]
            self._check_made(turns, text, generate, until)
        return found

    def _check_made(self, turns: Sequence[Turn], text: str, generate: bool, until: str | None) -> None:
        """Raises InputError where a rendering has more names of control tokens than the template itself writes."""
        names = self._names.findall(text)
        if not names:
            return
        shape = (tuple((t["role"], bool(until and t["content"].endswith(until))) for t in turns), generate, until)
        if shape not in self._own:
            said: Any = [
                {"role": role, "content": PROBE + until if ends and until else PROBE} for role, ends in shape[0]
            ]
            self._own[shape] = len(self._names.findall(self._written(said, generate, until)))
        if len(names) > self._own[shape]:
            raise InputError(
                f"the chat template makes a control token ({', '.join(dict.fromkeys(names))}) of what a turn of this "
                f"conversation says: {turns[-1]['content'][:60]!r}; leave it out, or name another model.chat_template"
            )

    def _written(self, turns: Sequence[Turn], generate: bool, until: str | None) -> str:
        text = rendered(self.tokenizer, turns, generate=generate)
        if until is None:
            return text
        before, found, _ = text.rpartition(until)
        if not found:
            raise InputError(
                "its chat template does not write answers as they are, so one that was cut off cannot be left open; "
                "write the text out in reward.chat"
            )
        return before

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text by itself, without any that the tokenizer adds."""
        if not texts:
            return []
        found = self._encoded(texts, add_special_tokens=False, split_special_tokens=True)
        return [self._alone(text) if self._count(ids) else ids for text, ids in zip(texts, found, strict=True)]

    def filled(self, form: str, values: Mapping[str, str], own: Mapping[str, str]) -> list[int]:
        """Tokens of ``form``, its fields in braces filled with ``values`` of others and with texts of one's ``own``.

        The tokenizer adds the special tokens that it always adds.
        """
        whole = _filled(form, {**values, **own})
        ids: list[int] = self._guarded(whole, lambda: list(self.tokenizer(whole)["input_ids"]))
        empty = _filled(form, {**dict.fromkeys(values, ""), **own})
        if empty not in self._own:
            self._own[empty] = self._count(self.tokenizer(empty)["input_ids"])
        if self._count(ids) > self._own[empty] or any(self._names.search(value) for value in values.values()):
            marked = _filled(form, {**{key: self._aliases.marked(value) for key, value in values.items()}, **own})
            ids = self._guarded(whole, lambda: self._aliases.ids(marked, special=True))
            if self._count(ids) > self._own[empty]:
                raise InputError(f"a text makes a control token with what the form writes around it: {whole[:60]!r}")
        return ids

    def pair(self, first: str, second: str) -> tuple[list[int], Types]:
        """Tokens of two texts as the tokenizer joins them, and their types where the model has such."""
        found = self._guarded(first + second, lambda: self.tokenizer(first, second))
        types = found.get("token_type_ids")  # where the tokenizer gives them, the model was trained with them
        if "" not in self._own:
            self._own[""] = self._count(self.tokenizer("", "")["input_ids"])
        made = self._count(found["input_ids"]) > self._own[""]  # of what reads like one only when it is normalized
        if made or self._names.search(first) or self._names.search(second):
            ids, own = self._guarded(first + second, lambda: self._aliases.pair(first, second))
            return ids, None if types is None else own
        return list(found["input_ids"]), None if types is None else list(types)

    @cached_property
    def _aliases(self) -> ControlAliases:
        """Made when the first text asks for it: it reads the whole vocabulary."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None) is not None
        return (FastAliases if fast else SlowAliases)(self.tokenizer, self.control)

    def _alone(self, text: str) -> list[int]:
        return self._guarded(text, lambda: self._aliases.ids(self._aliases.marked(text), special=False))

    def _count(self, ids: Sequence[int]) -> int:
        return sum(map(self._ids.__contains__, ids))

    def _encoded(self, texts: Sequence[str], **options: bool) -> list[list[int]]:
        try:
            return list(self.tokenizer(list(texts), **options)["input_ids"])
        except Exception as error:  # the tokenizers library raises nothing more particular
            if "UNK" not in str(error):
                raise
            if len(texts) > 1:  # one by one, so that the one that it is about is named
                return [ids for text in texts for ids in self._encoded([text], **options)]
            raise _unknown(texts[0]) from error

    def _guarded(self, text: str, encode: Callable[[], Any]) -> Any:
        try:
            return encode()
        except Exception as error:  # as above
            if "UNK" not in str(error):
                raise
            raise _unknown(text) from error


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The control tokens of a tokenizer and its chat template (see above), from their names to their ids."""
    added = {token.content: (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    named = {token for key, token in tokenizer.special_tokens_map.items() if key != "unk_token"}
    special = {token for token in tokenizer.all_special_tokens if token != tokenizer.unk_token} | named
    special |= {token for token, (_, is_special) in added.items() if is_special and token != tokenizer.unk_token}
    own = _template_text(tokenizer) if tokenizer.chat_template else ""
    # a token of white space alone, as some vocabularies have them, controls nothing
    special |= {token for token in added if token.strip() and token in own and token != tokenizer.unk_token}
    special |= {token for token, (number, _) in added.items() if number in named_ends(tokenizer)}
    known: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in special if token}
    return dict(sorted(known.items()))


def _template_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes itself, in conversations of several shapes; those that it refuses left out."""
    found = []
    for roles in _PROBES:
        turns: Any = [{"role": role, "content": PROBE} for role in roles]
        try:
            found.append(rendered(tokenizer, turns, generate=True))
        except jinja2.TemplateError:
            continue  # said where a prompt of this shape is read
    return "\n".join(found)


def _filled(form: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w*)\}", lambda found: str(values[found[1]]), form)


def _unknown(text: str) -> InputError:
    return InputError(f"the tokenizer knows no token for a word of {text[:60]!r}")
