"""Prompts of several turns, in one text.

A prompt is a text everywhere: it is hashed, split, written into tables and passed to judges as such.  One user turn is
that turn's own text.  A conversation, or a system message before it, is written turn by turn as the control character
U+001E (record separator), the role, a line feed and the content; no source may hold that character in a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict, cast

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")
MARK = "\x1e"
_HEADER = re.compile(f"{MARK}({'|'.join(ROLES)})\n")
_SPEAKER = re.compile(r"\A\s*(?:System|Human|Assistant):|(?:\r?\n){2}(?:Human|Assistant):")
_SPOKEN: dict[str, Role] = {"System": "system", "Human": "user", "Assistant": "assistant"}


class Turn(TypedDict):
    """A turn as chat templates take it."""

    role: Role
    content: str


def joined(turns: Sequence[Turn]) -> str:
    """The prompt of these turns, the last of which must be the user's.

    Raises ValueError with the reason where the turns are no prompt: none, an unknown role, an empty content, a system
    message after the start, the same role twice in a row, or another end than a user turn.
    """
    if not turns:
        raise ValueError("there is no turn")
    for number, turn in enumerate(turns, start=1):
        _check(turn, f"turn {number}")
    roles = [turn["role"] for turn in turns]
    start = int(roles[0] == "system")
    for number, role in enumerate(roles[start:], start=start):
        due = ("user", "assistant")[(number - start) % 2]
        if role != due:
            raise ValueError(f"turn {number + 1}: {role} where {due} is due (turns alternate)")
    if roles[-1] != "user":
        raise ValueError(f"the last turn is {roles[-1]}: a prompt ends with the user, whom the answer answers")
    if len(turns) == 1:
        return turns[0]["content"]
    return "".join(f"{MARK}{turn['role']}\n{turn['content']}" for turn in turns)


def _check(turn: Turn, place: str) -> None:
    if turn["role"] not in ROLES:
        raise ValueError(f"{place}: the role {turn['role']!r} is none of {', '.join(ROLES)}")
    if not turn["content"].strip():
        raise ValueError(f"{place} ({turn['role']}) is empty")
    if MARK in turn["content"]:
        raise ValueError(f"{place} ({turn['role']}) holds the control character U+001E")


def turns_of(prompt: str) -> list[Turn]:
    """The turns of a prompt; a text without marks, or with marks that ``joined`` does not make, is one user turn."""
    before, *parts = _HEADER.split(prompt)
    if before or parts[-2:-1] != ["user"]:
        return [{"role": "user", "content": prompt}]
    return [
        {"role": cast(Role, role), "content": content} for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def transcript(text: str) -> list[Turn]:
    """The turns of a text written as ``Human: ... Assistant: ...`` with blank lines between; an open end is no turn.

    The text may begin with ``System:``.  Raises ValueError for one that begins with no speaker.
    """
    marks = list(_SPEAKER.finditer(text))
    if not marks or marks[0].start():
        raise ValueError("the text does not begin with 'Human:'")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns: list[Turn] = [
        {"role": _SPOKEN[mark.group().strip(" \n\t\r:")], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    return turns


def said(prompt: str) -> list[Turn]:
    """The turns of a prompt, whether they are marked or written as a ``transcript``; of any other text, one."""
    turns = turns_of(prompt)
    if len(turns) == 1 and _SPEAKER.match(prompt):
        turns = transcript(prompt) or turns
    return turns


def opening(prompt: str) -> str:
    """The first user turn of a prompt: what all prompts of one conversation begin with, whatever their length.

    A system message before it does not count.  A text without turns is its own opening.
    """
    return next((turn["content"] for turn in said(prompt) if turn["role"] == "user"), prompt)


def without_oldest(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """The turns without their oldest exchange (a user's and an assistant's turn), without the two oldest, and so on.

    The system message and the last turn stay.
    """
    system = 1 if turns[0]["role"] == "system" else 0
    for first in range(system + 2, len(turns), 2):
        yield [*turns[:system], *turns[first:]]


def readable(prompt: str) -> str:
    """A prompt as a person reads it: with several turns, each under its role."""
    turns = turns_of(prompt)
    if len(turns) == 1:
        return prompt
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns)
