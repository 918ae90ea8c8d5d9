"""`dataset=messages`: conversations as lists of messages, each with a role and a content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mora.dataset import answers, jsonl, schema
from mora.dataset.schema import BadRow, Fields, form
from mora.turns import Turn
from mora.types import Row


@form("prompt", "messages", label="{}_response_id")
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A prompt, a supervised or scored answer, or a pair, by the fields that a record has and that are not null.

    ``messages`` that end with the user are a prompt, that end with the assistant an answer; a ``prompt`` in place of
    ``messages`` is a text or a list.  ``chosen`` and ``rejected`` are whole conversations, or answers to the prompt: a
    text, or a list of one message.  They are labelled for the one objective that is asked for, else for that which the
    field ``objective`` names; where that is not asked for, there is no row.  ``completion`` is an answer beside its
    prompt in the same ways.  An answer may be rated, or marked by ``label`` (`answers`).  ``response_0`` and
    ``response_1`` go with ids, ratings and strengths as in `jsonl`.
    """
    fields = values[""]
    if schema.given(fields, "chosen", "rejected"):
        yield from _ranked(fields, names)
    elif schema.given(fields, "response_0", "response_1"):
        yield jsonl.pair(_prompt(fields), fields, names)
    elif schema.given(fields, "completion"):
        prompt, answer = _conversation(fields, "completion")
        yield from answers.rows(prompt, answer, fields, names)
    else:
        turns = _given(fields)
        if turns[-1]["role"] != "assistant":
            yield Row(prompt=schema.conversation(turns))
            return
        *before, last = turns
        yield from answers.rows(schema.conversation(before), _answer(last, "messages"), fields, names)


def _ranked(fields: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    (prompt, chosen), (other, rejected) = (_conversation(fields, column) for column in ("chosen", "rejected"))
    if prompt != other:
        raise BadRow("broken_conversation", "'chosen' and 'rejected' differ before their last answers")
    labelled = answers.judged(fields, names)
    row = schema.ranked(prompt, chosen, rejected, labelled)
    if labelled:
        yield row


def _conversation(fields: Fields, column: str) -> tuple[str, str]:
    """Prompt and last answer of a whole conversation, or of an answer beside the prompt."""
    if isinstance(fields.get(column), str):
        return _prompt(fields), schema.text(fields, column)
    *before, last = messages(fields, column)
    return schema.conversation(before) if before else _prompt(fields), _answer(last, column)


def _prompt(fields: Fields) -> str:
    return schema.conversation(_given(fields))


def _given(fields: Fields) -> list[Turn]:
    """The messages that a record begins with."""
    if isinstance(fields.get("prompt"), list):
        return messages(fields, "prompt")
    if schema.given(fields, "messages") or "prompt" not in fields:
        return messages(fields, "messages")
    return [{"role": "user", "content": schema.text(fields, "prompt")}]


def _answer(turn: Turn, column: str) -> str:
    if turn["role"] != "assistant":
        raise BadRow("broken_conversation", f"{column!r} does not end with a message of the assistant")
    return schema.text({f"the answer of {column}": turn["content"]}, f"the answer of {column}")


def messages(fields: Fields, column: str) -> list[Turn]:
    """A list of at least one message.  Raises BadRow where it is none."""
    found: list[Turn] = []
    for number, message in enumerate(schema.items(fields, column), start=1):
        place = f"{column}[{number}]"
        if not isinstance(message, dict):
            raise BadRow("wrong_type", f"{place} must be an object, not {type(message).__name__}")
        role, content = (_part(message, key, place) for key in ("role", "content"))
        found.append({"role": role, "content": content})
    if not found:
        raise BadRow("empty_text", f"{column!r} holds no message")
    return found


def _part(message: Fields, key: str, place: str) -> Any:
    name = f"{place}.{key}"
    return schema.any_text({name: message[key]} if key in message else {}, name)
