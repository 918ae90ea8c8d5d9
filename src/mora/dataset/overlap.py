"""Prompts that occur on two sides: between training and test, between runs, between training and a benchmark.

Two prompts are *near* each other where they differ in nothing but case, spaces and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora.dataset.corpus import SPLITS, Corpus
from mora.dataset.store import prompt_ids
from mora.types import Row, content_id

SHOWN = 3  # prompts that a note quotes
_NO_WORD = re.compile(r"[\W_]+")


def normalized(prompt: str) -> str:
    """A prompt without what near prompts differ in; a text of nothing but punctuation stays as it is."""
    return _NO_WORD.sub(" ", prompt.casefold()).strip() or prompt


def near_id(prompt: str) -> int:
    """The same number for near prompts, 63 bits."""
    return content_id("near", normalized(prompt))


def shared(prompts: Iterable[str], others: Iterable[str]) -> list[str]:
    """The ``prompts``, each once and in order, that are near one of ``others``."""
    known = {near_id(prompt) for prompt in others}
    return [prompt for prompt in dict.fromkeys(prompts) if near_id(prompt) in known]


def within(corpus: Corpus) -> dict[str, Any]:
    """What a corpus' own sets share: test prompts near a training prompt, and policy prompts that rewards train on."""
    asked = {side: [corpus.prompts[side], corpus.supervised[side]] for side in SPLITS}  # every prompt is in one
    near = {side: np.concatenate([_near_ids(rows) for rows in asked[side]]) for side in SPLITS}
    test = np.concatenate([prompt_ids(rows) for rows in asked["test"]])
    _, first = np.unique(test, return_index=True)
    leaked = np.sort(first)[np.isin(near["test"][np.sort(first)], near["train"])]
    judged = np.concatenate([prompt_ids(corpus.pairs["train"]), prompt_ids(corpus.scored["train"])])
    policy = prompt_ids(corpus.prompts["train"])
    own = len(asked["test"][0])
    examples = [asked["test"][int(i >= own)][int(i - own * (i >= own))].prompt for i in leaked[:SHOWN]]
    return {
        "test_near_train": {"prompts": len(leaked), "of": len(first), "examples": examples},
        "policy_in_reward_training": {"prompts": int(np.isin(policy, judged).sum()), "of": len(policy)},
    }


def _near_ids(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.fromiter((near_id(row.prompt) for row in rows), np.int64, len(rows))


def against(corpus: Corpus, prompts: Sequence[str]) -> dict[str, Any]:
    """The ``prompts`` near a training prompt of a corpus: how many, of how many, and examples."""
    trained = np.concatenate([_near_ids(rows["train"]) for rows in (corpus.prompts, corpus.supervised)])
    distinct = list(dict.fromkeys(prompts))
    known = np.isin(np.fromiter(map(near_id, distinct), np.int64, len(distinct)), trained)
    examples = [distinct[i] for i in np.flatnonzero(known)[:SHOWN]]
    return {"prompts": int(known.sum()), "of": len(distinct), "examples": examples}


def between(corpus: Corpus, reward: Corpus) -> dict[str, Any]:
    """The prompts of a run near one that its reward model was trained on: those of the policy, and held-out ones."""
    return {
        "policy_near_reward_training": against(reward, [row.prompt for row in corpus.prompts["train"]]),
        "test_near_reward_training": against(reward, [row.prompt for row in corpus.prompts["test"]]),
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
    return [
        f"{leaked['prompts']} of {leaked['of']} test prompts differ from a training prompt in nothing but case, spaces "
        f"and punctuation: {_quoted(leaked['examples'])}"
    ]


def _quoted(prompts: Sequence[str]) -> str:
    return ", ".join(repr(prompt if len(prompt) <= 60 else prompt[:57] + "...") for prompt in prompts)
