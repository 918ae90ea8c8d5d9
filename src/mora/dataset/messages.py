"""`dataset=messages`: conversations as lists of messages, each with a role and a content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from mora.dataset import answers, jsonl, schema
from mora.dataset.cells import items, typed
from mora.dataset.pairs import ranked_pair
from mora.dataset.schema import BadRow, Fields, Remark, record_schema
from mora.turns import ROLES, Role, Turn
from mora.types import Row

SPEAKERS = {"human": "user", "gpt": "assistant"}  # of ShareGPT


@record_schema("prompt", "messages", "conversations", label="{}_response_id")
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row | Remark]:
    """A prompt, a supervised or scored answer, or a pair, by the fields that a record has and that are not null.

    ``messages`` (or ``conversations``) that end with the user are a prompt, that end with the assistant an answer; a
    ``prompt`` in place of ``messages`` is a text or a list.  ``chosen`` and ``rejected`` are whole conversations, or
    answers to the prompt: a text, or a list of one message.  They are labelled for the objective that the field
    ``objective`` names, else for the one that is asked for; where none of them is, there is no row.  ``completion`` is
    an answer beside its prompt in the same ways.  An answer may be rated, or marked by ``label`` (`answers`).
    ``response_0`` and ``response_1`` go with ids, ratings and strengths as in `jsonl`.
    """
    fields = values[""]
    yield from remarks(fields)
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
    row = ranked_pair(prompt, chosen, rejected, labelled)
    if labelled:
        yield row


def _conversation(fields: Fields, column: str) -> tuple[str, str]:
    """Prompt and last answer of a whole conversation, or of an answer beside the prompt."""
    if isinstance(items(fields.get(column), dict), str):
        return _prompt(fields), schema.text(fields, column)
    *before, last = messages(fields, column)
    return schema.conversation(before) if before else _prompt(fields), _answer(last, column)


def _prompt(fields: Fields) -> str:
    return schema.conversation(_given(fields))


def _given(fields: Fields) -> list[Turn]:
    """The messages that a record begins with."""
    if isinstance(items(fields.get("prompt"), dict), list):
        return messages(fields, "prompt")
    if schema.given(fields, "conversations") and not schema.given(fields, "messages"):
        return messages(fields, "conversations")
    if not schema.given(fields, "prompt") or schema.given(fields, "messages"):
        return messages(fields, "messages")
    return [{"role": "user", "content": schema.text(fields, "prompt")}]


def _answer(turn: Turn, column: str) -> str:
    if turn["role"] != "assistant":
        raise BadRow("broken_conversation", f"{column!r} does not end with a message of the assistant")
    return schema.text({f"the answer of {column}": turn["content"]}, f"the answer of {column}")


def messages(fields: Fields, column: str) -> list[Turn]:
    """A list of at least one message, without system messages that say nothing.  Raises BadRow where it is none.

    A message has a ``role`` and a ``content``, which is a text or a list of parts with texts, or as ShareGPT has it
    ``from`` and ``value``.
    """
    found: list[Turn] = []
    for number, message in enumerate(schema.items(fields, column), start=1):
        place = f"{column}[{number}]"
        if not isinstance(message, dict):
            raise BadRow("wrong_type", f"{place} must be an object, not {type(message).__name__}")
        shared = schema.given(message, "from") and not schema.given(message, "role")
        said, spoken = ("from", "value") if shared else ("role", "content")
        role = _part(message, said, place)
        role = SPEAKERS.get(role, role)
        if role not in ROLES:
            raise BadRow("broken_conversation", f"{place}: the role {role!r} is none of {', '.join(ROLES)}")
        content = _content(message, spoken, place)
        if role != "system" or content.strip():
            found.append({"role": cast(Role, role), "content": content})
    if not found:
        raise BadRow("empty_text", f"{column!r} holds no message")
    return found


def remarks(fields: Fields) -> Iterator[Remark]:
    """What is left out of a record with messages, to be counted."""
    for column in ("messages", "conversations", "prompt", "chosen", "rejected", "completion"):
        value = typed(fields.get(column))
        turns = [turn for turn in value if isinstance(turn, dict)] if isinstance(value, list) else []
        if any("system" in (turn.get("role"), turn.get("from")) and not _says(turn) for turn in turns):
            yield Remark("with a system message that says nothing, which is left out")
            return


def _says(turn: Fields) -> bool:
    content = turn["content"] if schema.given(turn, "content") else turn.get("value")
    return bool(content.strip()) if isinstance(content, str) else bool(content)


def _content(message: Fields, key: str, place: str) -> str:
    parts = message.get(key)
    if not isinstance(parts, list):
        return _part(message, key, place)
    texts = []
    for number, part in enumerate(parts, start=1):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise BadRow("wrong_type", f"{place}.{key}[{number}] is no text but {kind}; only texts are read")
        texts.append(_part(part, "text", f"{place}.{key}[{number}]"))
    return "".join(texts)


def _part(message: Fields, key: str, place: str) -> str:
    name = f"{place}.{key}"
    return schema.any_text({name: message[key]} if key in message else {}, name)
