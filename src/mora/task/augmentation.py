"""Pairs across prompts, after Liu et al. 2024 (RRM, arXiv 2409.13156): what a reward model must not learn from form.

For a pair and two pairs of other prompts there are 8 non-contextual pairs (either own answer against each of the four
foreign ones: the own answer is better) and 6 neutral ones (any two of the foreign answers: a tie).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mora.task.prompts import normalized
from mora.types import Row, content_id

NON_CONTEXTUAL, NEUTRAL, ORIGINAL = "non_contextual", "neutral", "original"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Two answers to a prompt, in the order of their texts; ``better`` is the index of the better one, None: a tie."""

    prompt: str
    responses: tuple[str, str]
    kind: str
    better: int | None


def key(pair: Row | Candidate) -> int:
    """The content of a pair, whichever way round it stands."""
    return content_id("pair", pair.prompt, *sorted(pair.responses))


def foreign(pairs: Sequence[Row], seed: int) -> Iterator[tuple[Row, Row, Row]]:
    """Each pair with two pairs of other prompts, equal wording up to case and punctuation counting as the same.

    All pairs stand in a ring, in the order of a hash of ``seed`` and their texts; the two are the next ones along it,
    so the choice follows from what the pairs are, not from where they stand.  A pair for which there are no two such
    prompts is left out.
    """
    ring = sorted(pairs, key=lambda pair: (content_id(str(seed), "ring", str(key(pair))), key(pair)))
    names = [normalized(pair.prompt) for pair in ring]
    for place, pair in enumerate(ring):
        found: list[int] = []
        for step in range(1, len(ring)):
            other = (place + step) % len(ring)
            if names[other] not in (names[place], *(names[one] for one in found)):
                found.append(other)
                if len(found) == 2:
                    yield pair, ring[found[0]], ring[found[1]]
                    break


def candidates(pair: Row, first: Row, second: Row) -> Iterator[Candidate]:
    """The 14 pairs that ``pair`` gives with two pairs of other prompts; fewer where two texts are the same."""
    others = (*first.responses, *second.responses)
    for own in pair.responses:
        for other in others:
            if other not in pair.responses:
                texts = _sorted(own, other)
                yield Candidate(prompt=pair.prompt, responses=texts, kind=NON_CONTEXTUAL, better=texts.index(own))
    for one, other in itertools.combinations(others, 2):
        if one != other and not {one, other} & set(pair.responses):
            yield Candidate(prompt=pair.prompt, responses=_sorted(one, other), kind=NEUTRAL, better=None)


def common_answers(pairs: Iterable[Row]) -> set[str]:
    """Answers that stand under more than one prompt, such as refusals: they fit any prompt."""
    prompts: dict[str, str] = {}
    common = set()
    for pair in pairs:
        name = normalized(pair.prompt)
        for text in pair.responses:
            if prompts.setdefault(text, name) != name:
                common.add(text)
    return common


def drawn(found: Iterable[Candidate], most: int, seed: int) -> list[Candidate]:
    """At most ``most`` of the candidates, in the order of a hash of ``seed`` and their texts."""
    return sorted(found, key=lambda one: (content_id(str(seed), "draw", str(key(one))), key(one)))[:most]


def _sorted(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)
