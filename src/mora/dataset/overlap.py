"""Prompts that occur on two sides: between training and test, between runs, between training and a benchmark.

Two prompts are *near* each other in one of three ways:

- ``wording``: they differ in nothing but case, spaces and punctuation;
- ``conversation``: the conversation of one begins with all of the other's, up to such differences;
- ``similar``: the Jaccard similarity of their runs of five characters is at least ``near.SIMILAR``.

A system message does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.dataset.corpus import SPLITS, Corpus
from mora.dataset.near import SIMILAR, Similar
from mora.dataset.store import prompt_ids, take
from mora.turns import said
from mora.types import Row, content_id

SHOWN = 3  # prompts that a note quotes
WAYS = ("wording", "conversation", "similar")  # in which prompts are near each other; the first that holds counts
_NO_WORD = re.compile(r"[\W_]+")


def normalized(text: str) -> str:
    """A text without what near texts differ in; one of nothing but punctuation stays as it is."""
    return _NO_WORD.sub(" ", text.casefold()).strip() or text


def spoken(prompt: str) -> list[str]:
    """What the turns of a prompt say, normalized, without a system message."""
    return [normalized(turn["content"]) for turn in said(prompt) if turn["role"] != "system"] or [normalized(prompt)]


def _beginnings(turns: Sequence[str]) -> list[int]:
    """A number for the prompt up to each of its user turns; the last one is that of the whole prompt."""
    return [content_id("near", *turns[:end]) for end in range(1, len(turns) + 1, 2)]


class Known:
    """The prompts of rows, to hold others against: each is read once, and numbers are kept."""

    def __init__(self, rows: Sequence[Sequence[Row]]) -> None:
        self._rows = [take(some, np.sort(np.unique(prompt_ids(some), return_index=True)[1])) for some in rows]
        self._starts = np.cumsum([0, *map(len, self._rows)])
        self._wholes: set[int] = set()
        self._begun: set[int] = set()
        self._similar = Similar(self._texts(), self._reread)

    def _texts(self) -> Iterator[str]:
        for rows in self._rows:
            for row in rows:
                turns = spoken(row.prompt)
                numbers = _beginnings(turns)
                self._wholes.add(numbers[-1])
                self._begun.update(numbers[:-1])
                yield " ".join(turns)

    def _reread(self, numbers: Sequence[int]) -> Iterator[str]:
        for number in numbers:
            part = int(np.searchsorted(self._starts, number, side="right")) - 1
            yield " ".join(spoken(self._rows[part][number - int(self._starts[part])].prompt))

    def ways(self, prompts: Sequence[str]) -> NDArray[np.int8]:
        """In which of WAYS each prompt is near a known one (prompts,); -1: in none."""
        found = np.full(len(prompts), -1, np.int8)
        rest: list[int] = []
        for place, prompt in enumerate(prompts):
            numbers = _beginnings(spoken(prompt))
            if numbers[-1] in self._wholes:
                found[place] = 0
            elif numbers[-1] in self._begun or not self._wholes.isdisjoint(numbers):
                found[place] = 1
            else:
                rest.append(place)
        alike = self._similar.near([" ".join(spoken(prompts[place])) for place in rest])
        found[np.array(rest, np.int64)[alike]] = 2
        return found

    def against(self, prompts: Sequence[str]) -> dict[str, Any]:
        """How many of ``prompts``, each once, are near a known one, in which way, and examples."""
        distinct = list(dict.fromkeys(prompts))
        ways = self.ways(distinct)
        near = np.flatnonzero(ways >= 0)
        counts = {name: int((ways == number).sum()) for number, name in enumerate(WAYS)}
        return {
            "prompts": len(near),
            "of": len(distinct),
            "by": counts,
            "examples": [distinct[i] for i in near[:SHOWN]],
        }


def _asked(corpus: Corpus, side: str) -> list[Sequence[Row]]:
    """Rows among which every prompt of a side is."""
    return [corpus.prompts[side], corpus.supervised[side]]


def within(corpus: Corpus) -> dict[str, Any]:
    """What a corpus' own sets share: test prompts near a training prompt, and policy prompts that rewards train on."""
    train, test = (_asked(corpus, side) for side in SPLITS)
    judged = np.concatenate([prompt_ids(corpus.pairs["train"]), prompt_ids(corpus.scored["train"])])
    policy = prompt_ids(corpus.prompts["train"])
    return {
        "similar_from": SIMILAR,
        "test_near_train": Known(train).against([row.prompt for rows in test for row in rows]),
        "policy_in_reward_training": {"prompts": int(np.isin(policy, judged).sum()), "of": len(policy)},
    }


def against(corpus: Corpus, prompts: Sequence[str]) -> dict[str, Any]:
    """The ``prompts`` near a training prompt of a corpus: how many, of how many, in which way, and examples."""
    return Known(_asked(corpus, "train")).against(prompts)


def between(corpus: Corpus, reward: Corpus) -> dict[str, Any]:
    """The prompts of a run near one that its reward model was trained on: those of the policy, and held-out ones."""
    known = Known(_asked(reward, "train"))
    return {
        "policy_near_reward_training": known.against([row.prompt for row in corpus.prompts["train"]]),
        "test_near_reward_training": known.against([row.prompt for row in corpus.prompts["test"]]),
    }


def notes_between(found: Mapping[str, Any], run: str) -> list[str]:
    """What to tell the user about prompts shared with the data of a reward run."""
    policy, test = found["policy_near_reward_training"], found["test_near_reward_training"]
    lines = [f"{policy['prompts']} of {policy['of']} training prompts are near one that {run} was trained on"]
    if test["prompts"]:
        lines.append(
            f"{test['prompts']} of {test['of']} test prompts are near one that {run} was trained on: its scores of "
            f"answers to them are not held out ({_quoted(test['examples'])})"
        )
    return lines


def notes(found: Mapping[str, Any]) -> list[str]:
    """What to tell the user about leakage from test to training."""
    leaked = found["test_near_train"]
    if not leaked["prompts"]:
        return []
    by = leaked["by"]
    return [
        f"{leaked['prompts']} of {leaked['of']} test prompts are near a training prompt ({by['wording']} differ in "
        f"nothing but case, spaces and punctuation, {by['conversation']} continue or begin its conversation, "
        f"{by['similar']} are similar): {_quoted(leaked['examples'])}"
    ]


def _quoted(prompts: Sequence[str]) -> str:
    return ", ".join(repr(prompt if len(prompt) <= 60 else prompt[:57] + "...") for prompt in prompts)
