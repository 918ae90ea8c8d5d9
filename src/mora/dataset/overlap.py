"""Prompts that occur on two sides: between training and test, between runs, between training and a benchmark.

Two prompts are *near* each other where they differ in nothing but case, spaces and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mora.types import content_id

if TYPE_CHECKING:
    from mora.dataset.corpus import Corpus

SHOWN = 3  # prompts that a note quotes
KINDS = ("supervised", "pairs", "scored", "prompts")
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
    sets = {side: _prompts(corpus, side) for side in ("train", "test")}
    leaked = shared(sets["test"], sets["train"])
    policy = dict.fromkeys(row.prompt for row in corpus.prompts["train"])
    judged = {row.prompt for kind in (corpus.pairs, corpus.scored) for row in kind["train"]}
    return {
        "test_near_train": {"prompts": len(leaked), "of": len(sets["test"]), "examples": leaked[:SHOWN]},
        "policy_in_reward_training": {"prompts": sum(prompt in judged for prompt in policy), "of": len(policy)},
    }


def notes(found: Mapping[str, Any]) -> list[str]:
    """What to tell the user about leakage from test to training."""
    leaked = found["test_near_train"]
    if not leaked["prompts"]:
        return []
    shown = ", ".join(repr(prompt if len(prompt) <= 60 else prompt[:57] + "...") for prompt in leaked["examples"])
    return [
        f"{leaked['prompts']} of {leaked['of']} test prompts differ from a training prompt in nothing but case, spaces "
        f"and punctuation: {shown}"
    ]


def _prompts(corpus: Corpus, side: str) -> dict[str, None]:
    kinds: Sequence[Mapping[str, Sequence[Any]]] = [getattr(corpus, kind) for kind in KINDS]
    return dict.fromkeys(row.prompt for kind in kinds for row in kind[side])
