"""Conversations in the forms of chat data: messages, explicit and implicit pairs, dialogues in one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora.dataset.cells import items, typed
from mora.dataset.messages import messages as read
from mora.dataset.schema import BadRow, given, text
from mora.turns import Turn, joined, transcript

Fields = Mapping[str, Any]
_SPEAKER = {"system": "System", "user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True, kw_only=True)
class ChosenRejected:
    """A prompt of one or several turns, the answer that was preferred and the one that was not."""

    turns: tuple[Turn, ...]
    chosen: str
    rejected: str


def messages(fields: Fields, column: str) -> list[Turn]:
    """The turns in a column, as ``dataset=messages`` reads them.  Raises BadRow where it holds none."""
    value = typed(fields.get(column))
    if not isinstance(value, list) or not value:
        hint = "; task.dialogues=true reads texts of the form 'Human: ... Assistant: ...'" if value else ""
        raise BadRow("wrong_type", f"{column!r} must be a list of messages, not {type(value).__name__}{hint}")
    return read(fields, column)


def dialogue(text: str) -> list[Turn]:
    """The turns of a text as ``mora.turns.transcript`` reads it.  Raises BadRow for one that begins with no speaker."""
    try:
        return transcript(text)
    except ValueError:
        reason = f"the dialogue does not begin with 'Human:', but with {_shown(text)}"
        raise BadRow("broken_conversation", reason) from None


def spoken(turns: Sequence[Turn]) -> str:
    """The turns as such a text, which ends with ``Assistant:``.

    Raises BadRow where the text would be read as other turns, since one of them holds what looks like a speaker.
    """
    text = "\n\n".join([*(f"{_SPEAKER[turn['role']]}: {turn['content'].strip()}" for turn in turns), "Assistant:"])
    if dialogue(text) != [{"role": turn["role"], "content": turn["content"].strip()} for turn in turns]:
        raise BadRow("broken_conversation", "a turn holds a paragraph that begins like a turn of its own")
    return text


def checked(turns: Sequence[Turn]) -> str:
    """The prompt of the turns, in one text.  Raises BadRow where they are none."""
    try:
        return joined(turns)
    except ValueError as error:
        raise BadRow("broken_conversation", str(error)) from None


def answered(turns: Sequence[Turn], column: str) -> tuple[list[Turn], str]:
    """The turns before the final answer, and the answer.

    Raises BadRow where the last turn is not the assistant's or is empty, or what comes before it is no prompt.
    """
    if turns[-1]["role"] != "assistant":
        raise BadRow(
            "broken_conversation",
            f"{column!r} ends with a message of {turns[-1]['role']}; the last one must be the answer",
        )
    if not turns[-1]["content"].strip():
        raise BadRow("empty_text", f"{column!r}: the answer is empty")
    before = list(turns[:-1])
    try:
        joined(before)
    except ValueError as error:
        raise BadRow("broken_conversation", f"{column!r}: {error}") from None
    return before, turns[-1]["content"]


def explicit(fields: Fields) -> ChosenRejected:
    """A pair with its prompt in ``messages`` (or ``prompt``, which may be a text) and two final answers.

    The answers stand in ``chosen`` and ``rejected``.
    Raises BadRow where the prompt is none, or an answer is more than one message of the assistant.
    """
    whole = given(fields, "messages")
    if not whole and isinstance(items(fields.get("prompt"), dict), str):
        turns: list[Turn] = [{"role": "user", "content": text(fields, "prompt")}]
    else:
        turns = messages(fields, "messages" if whole else "prompt")
    checked(turns)
    answers = []
    for column in ("chosen", "rejected"):
        found = messages(fields, column)
        if len(found) != 1 or found[0]["role"] != "assistant" or not found[0]["content"].strip():
            roles = ", ".join(turn["role"] for turn in found)
            raise BadRow(
                "wrong_type", f"{column!r} must be one message of the assistant with a text, not {len(found)}: {roles}"
            )
        answers.append(found[0]["content"])
    return ChosenRejected(turns=tuple(turns), chosen=answers[0], rejected=answers[1])


def implicit(fields: Fields, dialogues: bool) -> ChosenRejected:
    """A pair of two whole conversations that differ in their final answers alone.

    ``dialogues``: a conversation may be written in one text.

    Raises BadRow where they differ before, with the place of the first difference.
    """
    both = []
    for column in ("chosen", "rejected"):
        value = fields.get(column)
        turns = dialogue(value) if dialogues and isinstance(value, str) else messages(fields, column)
        both.append(answered(turns, column))
    (first, chosen), (second, rejected) = both
    for number, (one, other) in enumerate(zip(first, second, strict=False), start=1):
        if one != other:
            raise BadRow(
                "broken_conversation",
                f"chosen and rejected differ before the final answer, in message {number}: {one['role']} "
                f"{_shown(one['content'])} and {other['role']} {_shown(other['content'])}",
            )
    if len(first) != len(second):
        reason = f"chosen has {len(first)} messages before the final answer, rejected {len(second)}"
        raise BadRow("broken_conversation", reason)
    return ChosenRejected(turns=tuple(first), chosen=chosen, rejected=rejected)


def prompt_of(fields: Fields) -> str:
    """The prompt of a record with messages, in one text.  Raises BadRow where there is none."""
    for column in ("messages", "conversations", "prompt"):
        if given(fields, column):
            turns = messages(fields, column)
            return checked(turns[:-1] if turns[-1]["role"] == "assistant" else turns)
    return checked(implicit(fields, dialogues=False).turns)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
