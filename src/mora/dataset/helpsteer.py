"""HelpSteer and HelpSteer2: answers rated on five attributes, and pairs with a strength (Wang et al., 2023, 2024)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mora.dataset import schema
from mora.dataset.pairs import make_pair
from mora.dataset.schema import BadRow, Fields, record_schema
from mora.turns import Turn
from mora.types import Row

KNOWN = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
LIMITS = (0, 4)  # of a rating
_MARK = "<extra_id_1>"
_SPEAKER = re.compile(f"\r?\n{_MARK}(User|Assistant)\r?\n")


@record_schema(
    known=KNOWN,
    label="{}",
    prompt=schema.text,
    response=schema.text,
    **dict.fromkeys(KNOWN, schema.present(schema.rating(*LIMITS))),
)
def rows(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """An answer with its ratings: a number, or a list with one per annotator.

    An answer that is rated on none of the objectives gives no row.
    """
    prompt = prompt_of(values["prompt"])
    ratings = {objective: (values[name],) for objective, name in names.items() if values[name]}
    if ratings:
        yield Row(prompt=prompt, responses=(values["response"],), ratings=ratings)


@record_schema(
    known=("better",),
    label="preference_strength",
    split=schema.present(schema.one_of("train", "val")),
    prompt=schema.text,
    response_1=schema.text,
    response_2=schema.text,
    preference_strength=schema.whole(-3, 3),
)
def preference(values: Fields, names: Mapping[str, str]) -> Iterator[Row]:
    """A pair; a negative strength calls ``response_1`` the better one, 0 is a tie."""
    strength = values["preference_strength"]
    label = 0.5 if strength == 0 else float(strength > 0)
    yield make_pair(
        prompt_of(values["prompt"]),
        (values["response_1"], values["response_2"]),
        dict.fromkeys(names, label),
        strengths=dict.fromkeys(names, float(abs(strength))),
    )


def prompt_of(text: str) -> str:
    """A prompt whose further turns each stand under a line ``<extra_id_1>Assistant`` or ``<extra_id_1>User``."""
    first, *parts = _SPEAKER.split(text)
    turns: list[Turn] = [{"role": "user", "content": first}]
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        turns.append({"role": "user" if speaker == "User" else "assistant", "content": content})
    if any(_MARK in turn["content"] for turn in turns):
        raise BadRow("broken_conversation", f"'prompt' holds {_MARK} that does not begin a turn of User or Assistant")
    return schema.conversation(turns)
