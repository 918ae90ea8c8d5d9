"""Which tokens end an answer: the one that answers are written with, and all that a model may end one with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jinja2

from mora.dataset.control import PROBE, SafeTokenizer
from mora.dataset.template import rendered
from mora.ends import named_ends
from mora.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mora.turns import Turn

_ANSWER = "\ue004"  # stands for an answer


def ends_of(safe: SafeTokenizer, name: str) -> tuple[int, ...]:
    """The tokens that end an answer; the first is the one that answers are written with.

    That is the control token which the chat template writes behind an assistant's turn (``<|im_end|>``,
    ``<end_of_turn>``), or, where it writes none, the tokenizer's end token.  The others are the tokenizer's end token
    and those that the model's configuration names (``generation_config.json``).
    Raises InputError, which begins with ``name``, where there is none, where the template ends a turn with words, and
    where a word of texts would end an answer.
    """
    tokenizer = safe.tokenizer
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {name} has no end token (eos_token)")
    own: int = tokenizer.eos_token_id
    found = dict.fromkeys([_of_template(safe, name), own, *named_ends(tokenizer)])
    ends = tuple(number for number in found if number is not None)
    for number in ends:
        if number not in safe.control.values():
            word = tokenizer.convert_ids_to_tokens(number) if number < len(tokenizer) else None
            what = "a token that its tokenizer lacks" if word is None else f"{word!r}, a word of texts"
            raise InputError(
                f"{name}: eos_token_id names {number}, {what}, which would end answers in their middle; correct "
                "eos_token_id in its generation_config.json"
            )
    return ends


def _of_template(safe: SafeTokenizer, name: str) -> int | None:
    """The control token that the template writes behind an answer, None where it writes nothing there."""
    text = _behind_answer(safe.tokenizer)
    ids: list[int] = safe.tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else []
    end = next((number for number in ids if number in safe.control.values()), None)
    if end is None and text.strip():
        raise InputError(
            f"{name}: its chat template ends an assistant's turn with {text.strip()[:40]!r}, which is no token of the "
            "tokenizer, so nobody could tell where an answer ends; name another: model.chat_template=<model folder, "
            "hub id or .jinja file>"
        )
    return end


def _behind_answer(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes behind an answer; nothing where it does not show the answer, or refuses the turns."""
    user: Turn = {"role": "user", "content": PROBE}
    turns: list[Turn] = [user, {"role": "assistant", "content": _ANSWER}]
    texts = [_rendered(tokenizer, turns, generate=False)]
    if _rendered(tokenizer, turns, generate=True) == texts[0]:
        # a template that does not heed `generate` may open the next turn behind any: its end is what both texts have
        texts.append(_rendered(tokenizer, [*turns, user], generate=False) or texts[0])
    return os.path.commonprefix([text.partition(_ANSWER)[2] for text in texts])


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, generate: bool) -> str:
    try:
        return rendered(tokenizer, turns, generate=generate)
    except jinja2.TemplateError:  # said where such a conversation is read
        return ""
