"""The readable world: what to do when slugs eat my rose near the cat.

Answers are short lists of things to do.  Fighting the pest (`cure`), keeping the animal (`care`) and tending the plant
(`bloom`) compete for four clauses, and bold acts against the pest harm the animal.  The gold scores of every string,
the exact front and the annotators' disagreement are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mora import bounds
from mora.bounds import AtLeastTwo, Count, Natural, NonNegative, Positive, Share
from mora.dataset.cache import DatasetCache
from mora.dataset.corpus import Corpus, fingerprint
from mora.dataset.encode import Overlong
from mora.dataset.worlds import grammar, scores, writers
from mora.dataset.worlds.draws import Draws
from mora.dataset.worlds.grammar import SIZE, Codes
from mora.dataset.worlds.judged import Judged
from mora.errors import InputError
from mora.types import Row

Floats = NDArray[np.float64]
FLOOR = 0.0  # the score of a text outside the grammar, which is the worst there is


@dataclass(kw_only=True)
class GardenWorld(Judged):
    """Gold scores of the garden, its front and its annotators; a `mora.dataset.worlds.World`."""

    name: str
    objectives: tuple[str, ...]
    slope: float  # utility units per unit of gold score
    spread_base: float  # std of utility among annotators of any answer, utility units
    spread_bold: float  # how much each bold clause of the objective's family adds to it

    floor: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.floor = (FLOOR,) * len(self.objectives)
        for name in self.objectives:
            if name not in scores.OBJECTIVES:
                raise InputError(f"objectives: {name} is not scored by this world; choose among {[*scores.OBJECTIVES]}")

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None) -> Floats:
        """True scores (B, M) in [0, 1] of any strings.

        The floor where prompt or answer is outside the grammar, and where the answer did not end.
        """
        return self._gold(grammar.read(prompts, responses, ended))

    def seen(self, prompts: Sequence[str], responses: Sequence[str]) -> tuple[Floats, Floats]:
        """Gold scores and annotators' disagreement (B, M), from one reading."""
        reading = grammar.read(prompts, responses)
        return self._gold(reading), self._spread(reading)

    def valid(
        self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None
    ) -> NDArray[np.bool_]:
        """Whether prompt and answer are inside the grammar, and the answer ended (B,)."""
        return grammar.read(prompts, responses, ended).valid

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Standard deviation of an answer's utility among annotators (B, M), in utility units."""
        return self._spread(grammar.read(prompts, responses))

    def _gold(self, reading: grammar.Reading) -> Floats:
        inside = scores.score(scores.count(reading), self.objectives)
        return np.asarray(np.where(reading.valid[:, None], inside, FLOOR))

    def _spread(self, reading: grammar.Reading) -> Floats:
        acts = [scores.bold_acts(reading, scores.OBJECTIVES[name].family) for name in self.objectives]
        return self.spread_base + self.spread_bold * np.stack(acts, axis=1)

    def front(self) -> Floats:
        """Every non-dominated score vector (P, M), ascending in the first objective; the same for all prompts."""
        return scores.front(self.objectives)


@dataclass(kw_only=True)
class Garden:
    """A corpus of the garden; the fields are the keys of conf/dataset/garden.yaml."""

    name: str
    supervised: Mapping[str, Natural]
    pairs: Mapping[str, Natural]
    held_out: Count
    skill: tuple[Share, Share]
    lengths: Sequence[Share]
    idle: Share
    expert: Share
    edited: Share
    damaged: Share
    slope: Positive
    spread_base: NonNegative
    spread_bold: NonNegative
    max_prompt: Count
    max_response: AtLeastTwo
    overlong: Overlong

    def __post_init__(self) -> None:
        bounds.check(self, "dataset")
        if self.held_out >= SIZE:
            raise InputError(f"dataset.held_out={self.held_out}: must be from 1 to {SIZE - 1}")
        if len(self.lengths) != grammar.LONGEST or abs(sum(self.lengths) - 1) > 1e-6:
            raise InputError(f"dataset.lengths={[*self.lengths]}: give {grammar.LONGEST} probabilities that sum to 1")

    def load(self, objectives: tuple[str, ...], seed: int, cache: DatasetCache | None = None) -> Corpus:
        """All rows, written and judged from ``seed``, at once and in memory; held-out prompts are those of every seed.

        Raises InputError on an objective that the world does not score.
        """
        world = GardenWorld(
            name=self.name,
            objectives=tuple(objectives),
            slope=self.slope,
            spread_base=self.spread_base,
            spread_bold=self.spread_bold,
        )
        families = sorted({f for name in objectives if (f := scores.OBJECTIVES[name].family) is not None})
        authors = writers.Authors(
            families=tuple(families or range(grammar.FAMILIES)),
            idle=self.idle,
            skill=(self.skill[0], self.skill[1]),
            lengths=tuple(self.lengths),
        )
        topics = self._topics()
        supervised, pairs = {}, {}
        for part, (split, codes) in enumerate(topics.items()):
            draws = Draws(seed, 2 * part, self.supervised[split])
            supervised[split] = self._supervised(authors, codes, draws, f"{self.name}/supervised/{split}")
            draws = Draws(seed, 2 * part + 1, self.pairs[split])
            pairs[split] = self._pairs(authors, world, codes, draws, f"{self.name}/pairs/{split}")
        prompts = {
            split: [Row(prompt=text, where=f"{self.name}/prompts/{split}:{i}") for i, text in enumerate(_texts(codes))]
            for split, codes in topics.items()
        }
        return Corpus(
            name=self.name,
            objectives=world.objectives,
            supervised=supervised,
            pairs=pairs,
            prompts=prompts,
            fingerprint=fingerprint(world.objectives, supervised, pairs, prompts),
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            overlong=self.overlong,
            tokens="words",
            world=world,
        )

    def _topics(self) -> dict[str, Codes]:
        """Nouns (N, 3) of the prompts; each pest is held out with ``held_out`` of the animals, on every plant."""
        nouns = np.indices((SIZE,) * grammar.FAMILIES).reshape(grammar.FAMILIES, -1).T
        test = (nouns[:, grammar.ANIMAL] - nouns[:, grammar.PEST]) % SIZE < self.held_out
        codes = nouns + SIZE * np.arange(grammar.FAMILIES)
        return {"train": codes[~test], "test": codes[test]}

    def _supervised(self, authors: writers.Authors, codes: Codes, draws: Draws, where: str) -> list[Row]:
        topics = codes[draws.below(len(codes))]
        texts = writers.write(topics, authors.styles(draws), draws).texts()
        rows = zip(_texts(topics), texts, strict=True)
        return [Row(prompt=p, responses=(text,), where=f"{where}:{i}") for i, (p, text) in enumerate(rows)]

    def _pairs(self, authors: writers.Authors, world: GardenWorld, codes: Codes, draws: Draws, where: str) -> list[Row]:
        topics = codes[draws.below(len(codes))]
        first, second = (self._mixed(authors, topics, draws) for _ in range(2))
        neighbor = writers.edit(first, topics, draws)
        edited = (draws.uniform() < self.edited) | writers.same(first, second)
        broken = np.where(draws.uniform() < self.damaged, draws.below(2), -1)
        sides = [
            first.texts(),
            [n if e else s for n, s, e in zip(neighbor.texts(), second.texts(), edited, strict=True)],
        ]
        sides = [writers.damage_some(texts, broken == side, draws) for side, texts in enumerate(sides)]
        swap = draws.uniform() < 0.5
        rows = [
            Row(prompt=p, responses=(b, a) if s else (a, b), where=f"{where}:{i}")
            for i, (p, a, b, s) in enumerate(zip(_texts(topics), *sides, swap, strict=True))
        ]
        return world.label(rows, np.moveaxis(draws.uniform(3, len(world.objectives)), 0, 1))

    def _mixed(self, authors: writers.Authors, topics: Codes, draws: Draws) -> writers.Plan:
        experts = authors.experts(draws, scores.CARRIED)
        style = writers.choose(draws.uniform() < self.expert, experts, authors.styles(draws))
        return writers.write(topics, style, draws)


def _texts(topics: Codes) -> list[str]:
    return [grammar.write_prompt(*nouns) for nouns in (topics % SIZE).tolist()]
