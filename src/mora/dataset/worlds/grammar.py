"""The language of the garden: what a prompt and an answer look like.

Prompt: ``<pest> eat my <plant> near the <animal>``, always seven words.  Answer: clauses of two words, a verb and a
noun, joined by ``,`` or ``then`` and ended by ``.``; any verb goes with any noun.  A verb belongs to one family: it
acts against the pest, for the animal or for the plant; and it is mild or bold.  Words are coded by their place: family
f holds verbs 8 f to 8 f + 7, the first four mild and the last four bold, and nouns 8 f to 8 f + 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

PEST, ANIMAL, PLANT = range(3)
FAMILIES = 3
SIZE = 8  # verbs, and nouns, of a family
HALF = 4  # mild verbs, and bold ones, of a family
NOUNS = (
    *("ants", "aphids", "beetles", "mites", "moths", "slugs", "snails", "weevils"),
    *("cat", "dog", "duck", "goat", "hen", "pony", "rabbit", "toad"),
    *("bean", "fern", "kale", "lily", "mint", "plum", "rose", "vine"),
)
VERBS = (
    *("brush", "pick", "rinse", "trap", "burn", "gas", "poison", "spray"),
    *("calm", "feed", "guard", "shelter", "cage", "fence", "leash", "move"),
    *("mulch", "shade", "stake", "water", "prune", "split", "strip", "trim"),
)
JOINS = (",", "then")
END = "."
FRAME = ("{}", "eat", "my", "{}", "near", "the", "{}")  # pest, plant, animal
VOCABULARY = (*NOUNS, *VERBS, *JOINS, END, *(word for word in FRAME if word != "{}"))
PROMPT_WORDS = len(FRAME)
LONGEST = 5  # clauses of the longest answer that anyone writes

_NOUN = {word: code for code, word in enumerate(NOUNS)}
_VERB = {word: code for code, word in enumerate(VERBS)}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Prompts and answers as codes; a row that is not ``valid`` holds -1 only."""

    valid: NDArray[np.bool_]  # (B,)
    topics: Codes  # (B, 3) noun of each family in the prompt
    verbs: Codes  # (B, C) in the order written, -1 after the last clause
    nouns: Codes  # (B, C)


def write_prompt(pest: int, animal: int, plant: int) -> str:
    """The prompt with these nouns, each counted from 0 within its family."""
    nouns = NOUNS[PEST * SIZE + pest], NOUNS[PLANT * SIZE + plant], NOUNS[ANIMAL * SIZE + animal]
    return " ".join(FRAME).format(*nouns)


def write_answer(verbs: Sequence[int], nouns: Sequence[int], joins: Sequence[int]) -> str:
    """The answer with these clauses; ``joins[i]`` stands between clauses i and i + 1."""
    last = len(verbs) - 1
    words: list[str] = []
    for place, (verb, noun) in enumerate(zip(verbs, nouns, strict=True)):
        words += VERBS[verb], NOUNS[noun], END if place == last else JOINS[joins[place]]
    return " ".join(words)


def read_prompt(prompt: str) -> tuple[int, ...] | None:
    """The codes of pest, animal and plant, or None where the text is no prompt of the garden."""
    words = prompt.split()
    if len(words) != PROMPT_WORDS or any(f not in ("{}", word) for f, word in zip(FRAME, words, strict=True)):
        return None
    topics = tuple(_NOUN.get(words[place], -1) for place in (0, 6, 3))
    return topics if all(code // SIZE == family for family, code in enumerate(topics)) else None


def read_answer(response: str) -> tuple[list[int], list[int]] | None:
    """The codes of its verbs and nouns, or None where the text is no answer of the garden."""
    words = response.split()
    if not words or len(words) % 3 or words[-1] != END or any(word not in JOINS for word in words[2:-1:3]):
        return None
    try:
        return [_VERB[word] for word in words[::3]], [_NOUN[word] for word in words[1::3]]
    except KeyError:
        return None


def read(prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None) -> Reading:
    """Prompts and answers (B each) as codes; an answer that did not end is none (``ended`` None: all did).

    Raises ValueError when their numbers differ.
    """
    known = {prompt: read_prompt(prompt) for prompt in dict.fromkeys(prompts)}
    whole = (True,) * len(responses) if ended is None else ended
    plans = [(known[p], read_answer(r) if e else None) for p, r, e in zip(prompts, responses, whole, strict=True)]
    clauses = max((len(answer[0]) for _, answer in plans if answer), default=0)
    topics = np.full((len(plans), FAMILIES), -1)
    verbs, nouns = np.full((2, len(plans), clauses), -1)
    for row, (topic, answer) in enumerate(plans):
        if topic and answer:
            topics[row] = topic
            verbs[row, : len(answer[0])], nouns[row, : len(answer[1])] = answer
    return Reading(valid=topics[:, 0] >= 0, topics=topics, verbs=verbs, nouns=nouns)
