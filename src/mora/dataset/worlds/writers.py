"""Who writes the answers of the garden: authors of all skills, experts, editors and damaged keyboards.

All arrays hold one answer per row, and row i of whatever is drawn depends on (seed, part, i) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora.dataset.worlds.draws import Draws
from mora.dataset.worlds.grammar import FAMILIES, HALF, LONGEST, SIZE, VERBS, Codes, write_answer

Floats = NDArray[np.float64]
SLIPS = SIZE - 1  # wrong nouns of a family


@dataclass(frozen=True, kw_only=True)
class Style:
    """How each of B answers is written."""

    focus: Floats  # (B, 3) probability of each family, clause by clause
    skill: Floats  # (B,) probability that a clause names the right thing
    taste: Floats  # (B,) weight of bold verbs against 1 - taste of mild ones
    length: Codes  # (B,) clauses


@dataclass(frozen=True, kw_only=True)
class Plan:
    """B answers as codes."""

    verbs: Codes  # (B, LONGEST)
    nouns: Codes  # (B, LONGEST)
    joins: Codes  # (B, LONGEST)
    length: Codes  # (B,) clauses that count; what stands after them is not written

    def texts(self) -> list[str]:
        """The B answers as written."""
        columns = (self.verbs.tolist(), self.nouns.tolist(), self.joins.tolist(), self.length.tolist())
        return [write_answer(v[:n], k[:n], j) for v, k, j, n in zip(*columns, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Authors:
    """The population that supervised rows are written by: each answer has a focus, a skill and a taste of its own."""

    families: tuple[int, ...]  # what the authors write about
    idle: float  # share of clauses about the other families
    skill: tuple[float, float]  # range of the skill, uniform
    lengths: tuple[float, ...]  # probability of 1, 2, ... LONGEST clauses

    def styles(self, draws: Draws) -> Style:
        """The mixture: focus uniform on the simplex, skill and taste uniform."""
        low, high = self.skill
        steps = np.cumsum(self.lengths)[:-1]
        return Style(
            focus=self._focus(-np.log(draws.uniform(FAMILIES))),
            skill=low + (high - low) * draws.uniform(),
            taste=draws.uniform(),
            length=1 + np.searchsorted(steps, draws.uniform()),
        )

    def experts(self, draws: Draws, length: int) -> Style:
        """Near the front: no slip, ``length`` clauses, and focus and taste that tend to the extremes."""
        lean = 2 * draws.uniform() - 1
        return Style(
            focus=self._focus(np.log(draws.uniform(FAMILIES)) ** 2),
            skill=np.ones(draws.rows),
            taste=0.5 + 0.5 * np.sign(lean) * np.sqrt(np.abs(lean)),
            length=np.full(draws.rows, length),
        )

    def _focus(self, weights: Floats) -> Floats:
        others = [family for family in range(FAMILIES) if family not in self.families]
        focus = np.zeros_like(weights)
        chosen = weights[:, self.families]
        focus[:, self.families] = chosen / chosen.sum(1, keepdims=True) * (1 - self.idle if others else 1)
        focus[:, others] = self.idle / max(len(others), 1)
        return focus


def choose(mask: NDArray[np.bool_], first: Style, second: Style) -> Style:
    """``first`` where ``mask`` (B,) holds, ``second`` elsewhere."""
    return Style(
        focus=np.where(mask[:, None], first.focus, second.focus),
        skill=np.where(mask, first.skill, second.skill),
        taste=np.where(mask, first.taste, second.taste),
        length=np.where(mask, first.length, second.length),
    )


def write(topics: Codes, style: Style, draws: Draws) -> Plan:
    """Answers to prompts with nouns ``topics`` (B, 3); none says the same clause twice."""
    rows = np.arange(len(topics))
    bounds = np.cumsum(style.focus, 1)[:, None, :-1]
    family = (draws.uniform(LONGEST)[:, :, None] > bounds).sum(2)  # (B, LONGEST)
    weights = np.repeat(np.stack([1 - style.taste, style.taste], 1), HALF, 1).clip(1e-3)  # (B, SIZE)
    # Verbs of each family in an order drawn without replacement, by weight (Efraimidis and Spirakis, 2006).
    order = np.argsort(-np.log(draws.uniform(FAMILIES, SIZE)) / weights[:, None], axis=2)
    used = np.zeros((len(topics), FAMILIES), dtype=np.int64)
    verbs = np.empty_like(family)
    for place in range(LONGEST):
        now = family[:, place]
        verbs[:, place] = now * SIZE + order[rows, now, used[rows, now]]
        used[rows, now] += 1
    slips = draws.uniform(LONGEST) > style.skill[:, None]
    nouns = _wrong(topics[rows[:, None], family], draws.uniform(LONGEST), slips)
    joins = (draws.uniform(LONGEST) < 0.5).astype(np.int64)
    return Plan(verbs=verbs, nouns=nouns, joins=joins, length=style.length)


def _wrong(nouns: Codes, uniform: Floats, where: NDArray[np.bool_]) -> Codes:
    shift = np.where(where, 1 + (uniform * SLIPS).astype(np.int64), 0)
    return nouns // SIZE * SIZE + (nouns % SIZE + shift) % SIZE


def edit(plan: Plan, topics: Codes, draws: Draws) -> Plan:
    """Each answer with one clause changed: 3 in 5 another verb, on topic; 1 another noun; 1 a clause said twice."""
    rows = np.arange(len(topics))
    place = draws.below(plan.length)
    other = (place + 1 + draws.below(np.maximum(plan.length - 1, 1))) % plan.length
    kind = draws.below(5)
    verb, noun = plan.verbs[rows, place], plan.nouns[rows, place]
    fresh = (verb + 1 + draws.below(len(VERBS) - 1)) % len(VERBS)
    repeat = (kind == 4) & (plan.length > 1)
    wrong = kind == 3
    new_verb = np.where(repeat, plan.verbs[rows, other], np.where(wrong, verb, fresh))
    new_noun = np.where(wrong, _wrong(noun, draws.uniform(), wrong), topics[rows, new_verb // SIZE])
    new_noun = np.where(repeat, plan.nouns[rows, other], new_noun)
    verbs, nouns = plan.verbs.copy(), plan.nouns.copy()
    verbs[rows, place], nouns[rows, place] = new_verb, new_noun
    return Plan(verbs=verbs, nouns=nouns, joins=plan.joins, length=plan.length)


def same(first: Plan, second: Plan) -> NDArray[np.bool_]:
    """Where the two answers are one and the same (B,)."""
    written = np.arange(LONGEST) < first.length[:, None]
    joined = np.arange(LONGEST) < first.length[:, None] - 1
    equal = (first.verbs == second.verbs) & (first.nouns == second.nouns) | ~written
    alike = (equal & ((first.joins == second.joins) | ~joined)).all(1)
    return np.asarray(alike & (first.length == second.length))


def damage(text: str, kind: float, place: float) -> str:
    """The text with a word dropped, overwritten by its neighbor, exchanged with it, or with its end cut off.

    ``kind`` and ``place`` are uniform on [0, 1).  A word of the answer stands where its class cannot stand, or the end
    is missing: the result is never in the language.
    """
    words = text.split()
    here = int(place * len(words))
    there = (here + 1) % len(words)
    match int(kind * 4):
        case 0:
            del words[here]
        case 1:
            words[there] = words[here]
        case 2:
            words[here], words[there] = words[there], words[here]
        case _:
            words = words[: max(here, 1)]
    return " ".join(words)


def damage_some(texts: Sequence[str], where: NDArray[np.bool_], draws: Draws) -> list[str]:
    """Each text of ``texts``, damaged where ``where`` holds."""
    noise = draws.uniform(2).tolist()
    return [damage(t, *n) if w else t for t, n, w in zip(texts, noise, where.tolist(), strict=True)]
