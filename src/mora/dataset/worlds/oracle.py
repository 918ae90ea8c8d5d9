"""The oracle world: so few responses that all of them can be enumerated, and every optimum computed.

A prompt is two words, a response up to ``max_response - 1`` words of the same vocabulary; a token is a word or the end.
The first word of the prompt turns the roles of the words: after word i word j plays role (i + j) mod W.  The second one
is one of the last K words and says how much of each objective can be reached: after the k-th of these the score of
objective m is multiplied by ``reach[(k + m) mod K]``.  Scores depend on how many words of each role a response holds,
not on their order.  What a policy can expect is a convex set; ``power`` bends what a single response can reach below,
onto or above the line between the best of each objective.

Both words of a held-out prompt occur in training, only not together: a policy that reads either word right knows what
to do with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from string import ascii_lowercase
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from scipy.special import gammaincinv

from mora import bounds
from mora.bounds import AtLeastTwo, Count, Natural, Number, Positive, PositiveShare
from mora.dataset.cache import DatasetCache
from mora.dataset.corpus import Corpus, fingerprint
from mora.dataset.worlds.draws import Draws
from mora.dataset.worlds.judged import Judged
from mora.errors import InputError
from mora.functional.pareto import non_dominated
from mora.types import Row

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
COUNTED = ("r1", "r2", "r3", "r4", "r5", "r6")
CONSTRAINED = ("help", "safe")
LEAST_TASTE = 0.01  # below it Gamma draws underflow
OUTSIDE = -1  # where a text holds a word that is none, or too many


@dataclass(kw_only=True)
class OracleWorld(Judged):
    """Gold scores of the oracle, in [0, 1]; a `mora.dataset.worlds.World`.  Before the prompt's ``reach``:

    ``counts``: each of r1..rM, two at least, owns (W - 1) // M roles, the other roles are idle, and with n_i of the L
    words allowed in its roles it scores ``(n_i / L)^power``.  ``constraint``: a third of the roles is mild, a third is
    bold; ``help = ((mild + 2 bold) / 2L)^power`` and ``safe = 1 - bold / L``.  Other texts score 0 on everything.
    """

    name: str
    objectives: tuple[str, ...]
    scores: Literal["counts", "constraint"]
    words: int  # W
    turns: int  # T, first words of prompts
    reach: tuple[float, ...]  # (K,) in (0, 1], as many as second words of prompts
    longest: int  # L, words of the longest response
    power: float
    slope: float
    floors: Mapping[str, float]  # least expected score asked of an objective

    floor: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = COUNTED if self.scores == "counts" else CONSTRAINED
        for name in self.objectives:
            if name not in known:
                raise InputError(f"objectives: {name} is not scored by this world; choose among {[*known]}")
        for name in self.floors:
            if name not in self.objectives:
                raise InputError(f"dataset.floors: {name} is no objective of this run; it has {[*self.objectives]}")
        if not all(self.families):
            raise InputError(f"dataset.words={self.words}: {', '.join(self.objectives)} need more words")
        self.floor = (0.0,) * len(self.objectives)
        self._index = {word: code for code, word in enumerate(self.vocabulary)}
        pairs = product(range(self.turns), range(len(self.reach)))
        self._prompts = {self.prompt(*pair): pair for pair in pairs}

    @property
    def vocabulary(self) -> str:
        """The words: the first letters of the alphabet."""
        return ascii_lowercase[: self.words]

    def prompt(self, turn: int, second: int) -> str:
        """The prompt that turns by ``turn`` and has the ``second``-th of the second words."""
        return f"{self.vocabulary[turn]} {self.vocabulary[self.words - len(self.reach) + second]}"

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None) -> Floats:
        """True scores (B, M) of any strings; 0 for a response that did not end (``ended`` None: all did)."""
        read = self._all_read(prompts, responses, ended)
        codes = np.array(read, dtype=np.int64).reshape(len(read), self.longest + 2)
        inside = codes[:, 0] != OUTSIDE
        roles = np.where(codes[:, 2:] >= 0, (codes[:, 2:] + codes[:, :1]) % self.words, OUTSIDE)
        return np.where(inside[:, None], self._scored(roles) * self._reached(codes[:, 1]), 0.0)

    def _reached(self, seconds: Codes) -> Floats:
        """What the best response scores on each objective (B, M), in shares of 1, by the second word of the prompt."""
        known = COUNTED if self.scores == "counts" else CONSTRAINED
        places = np.array([known.index(name) for name in self.objectives])
        return np.asarray(self.reach)[(seconds[:, None] + places) % len(self.reach)]

    @property
    def families(self) -> list[range]:
        """The roles that belong together: those of each objective r1..rM, or mild and bold; then the idle ones."""
        owners = 2 if self.scores == "constraint" else max(2, 1 + max(map(COUNTED.index, self.objectives)))
        each = self.words // 3 if self.scores == "constraint" else (self.words - 1) // owners
        edges = [each * i for i in range(owners + 1)] + [self.words]
        return [range(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]

    def _scored(self, roles: Codes) -> Floats:
        """Scores (B, M) of responses given by the role of each word (B, L), -1 where there is none."""
        share = [np.isin(roles, family).sum(1) / self.longest for family in self.families]
        if self.scores == "counts":
            return np.stack([share[COUNTED.index(name)] ** self.power for name in self.objectives], axis=1)
        mild, bold, _ = share
        table = {"help": (mild / 2 + bold) ** self.power, "safe": 1 - bold}
        return np.stack([table[name] for name in self.objectives], axis=1)

    def _all_read(
        self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None
    ) -> list[list[int]]:
        whole = (True,) * len(responses) if ended is None else ended
        outside = [OUTSIDE] * (self.longest + 2)
        return [self._read(p, r) if e else outside for p, r, e in zip(prompts, responses, whole, strict=True)]

    def _read(self, prompt: str, response: str) -> list[int]:
        """Turn and second word of the prompt and the code of each word; OUTSIDE in the first place for other texts."""
        words = response.split()
        asked = self._prompts.get(prompt)
        if asked is None or len(words) > self.longest or not self._index.keys() >= set(words):
            return [OUTSIDE] * (self.longest + 2)
        return [*asked, *(self._index[word] for word in words), *[OUTSIDE] * (self.longest - len(words))]

    def seen(self, prompts: Sequence[str], responses: Sequence[str]) -> tuple[Floats, Floats]:
        """Gold scores (B, M); all annotators feel alike."""
        gold = self.gold(prompts, responses)
        return gold, np.zeros_like(gold)

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Zeros (B, M): all annotators feel alike."""
        return np.zeros((len(responses), len(self.objectives)))

    def valid(
        self, prompts: Sequence[str], responses: Sequence[str], ended: Sequence[bool] | None = None
    ) -> NDArray[np.bool_]:
        """Whether each response is a text of the oracle, and ended (B,)."""
        found = [read[0] != OUTSIDE for read in self._all_read(prompts, responses, ended)]
        return np.array(found, dtype=np.bool_)

    def responses(self) -> list[str]:
        """Every text of the oracle: the sequences of 0 to L words, shorter ones first."""
        return [" ".join(words) for n in range(self.longest + 1) for words in product(self.vocabulary, repeat=n)]

    def pure(self, second: int = 0) -> Floats:
        """Score vectors (P, M) that a single response can have, each once; the same for every first word."""
        texts = self.responses()
        return np.unique(self.gold([self.prompt(0, second)] * len(texts), texts), axis=0)

    def front(self) -> Floats:
        """Every non-dominated score vector (P, M) of one response to each prompt, ascending in the first objective.

        A mean over prompts whose second words are equally frequent; prompts that reach the same have the same response.
        """
        limits = [tuple(row) for row in self._reached(np.arange(len(self.reach)))]
        sums = np.zeros((1, len(self.objectives)))
        for found in dict.fromkeys(limits):
            pure = self.pure(limits.index(found)) * (limits.count(found) / len(limits))
            sums = (sums[:, None] + pure[non_dominated(pure)]).reshape(-1, len(self.objectives))
            sums = np.unique(sums[non_dominated(sums)], axis=0)
        return sums


@dataclass(kw_only=True)
class Oracle:
    """A corpus of the oracle; the fields are the keys of conf/dataset/oracle.yaml.

    Its few prompts are all there are.  With the first word i, the second words k with ``(i + k) mod K < held_out`` are
    held out; where nothing is, test rows are fresh answers to the prompts that are trained on.
    """

    name: str
    scores: Literal["counts", "constraint"]
    words: AtLeastTwo
    topics: Count
    reach: Sequence[PositiveShare]
    held_out: Natural
    power: Positive
    floors: Mapping[str, Number]
    taste: Annotated[float, Ge(LEAST_TASTE)]
    supervised: Mapping[str, Natural]
    pairs: Mapping[str, Natural]
    slope: Positive
    max_prompt: Count
    max_response: AtLeastTwo

    def __post_init__(self) -> None:
        bounds.check(self, "dataset")
        if self.words > len(ascii_lowercase):
            raise InputError(f"dataset.words={self.words}: must be from 2 to {len(ascii_lowercase)}")
        if not self.reach:
            raise InputError("dataset.reach=[]: one number per second word of prompts")
        if self.topics > self.words - len(self.reach):
            raise InputError(
                f"dataset.topics={self.topics}: with the {len(self.reach)} second words of dataset.reach there must be "
                f"no more than dataset.words={self.words}"
            )
        trained = self._prompts()["train"]
        left = [len({pair[place] for pair in trained}) for place in (0, 1)]
        if left != [self.topics, len(self.reach)]:
            raise InputError(
                f"dataset.held_out={self.held_out}: must leave each of {self.topics} first words and of "
                f"{len(self.reach)} second words in a prompt of training; {left[0]} and {left[1]} are left"
            )
        if self.scores not in ("counts", "constraint"):
            raise InputError(f"dataset.scores={self.scores}: must be counts or constraint")

    def load(self, objectives: tuple[str, ...], seed: int, cache: DatasetCache | None = None) -> Corpus:
        """All rows, drawn from ``seed`` in memory.  Raises InputError on an objective that the world does not score."""
        world = OracleWorld(
            name=self.name,
            objectives=tuple(objectives),
            scores=self.scores,
            words=self.words,
            turns=self.topics,
            reach=tuple(self.reach),
            longest=self.max_response - 1,
            power=self.power,
            slope=self.slope,
            floors=dict(self.floors),
        )
        supervised, pairs, codes = {}, {}, self._prompts()
        for part, split in enumerate(("train", "test")):
            asked = np.array(codes[split] or codes["train"])
            supervised[split] = self._supervised(world, asked, Draws(seed, 2 * part, self.supervised[split]))
            pairs[split] = self._pairs(world, asked, Draws(seed, 2 * part + 1, self.pairs[split]))
        prompts = {split: [Row(prompt=world.prompt(*pair)) for pair in found] for split, found in codes.items()}
        return Corpus(
            name=self.name,
            objectives=world.objectives,
            supervised=supervised,
            pairs=pairs,
            prompts=prompts,
            fingerprint=fingerprint(world.objectives, supervised, pairs, prompts),
            max_prompt=self.max_prompt,
            max_response=self.max_response,
            tokens="closed",
            vocabulary=tuple(world.vocabulary),
            world=world,
        )

    def _prompts(self) -> dict[str, list[tuple[int, int]]]:
        """Codes of the prompts of each split."""
        found: dict[str, list[tuple[int, int]]] = {"train": [], "test": []}
        count = len(self.reach)
        for turn, second in product(range(self.topics), range(count)):
            found["test" if (turn + second) % count < self.held_out else "train"].append((turn, second))
        return found

    def _supervised(self, world: OracleWorld, prompts: Codes, draws: Draws) -> list[Row]:
        asked = prompts[draws.below(len(prompts))]
        written = zip(asked.tolist(), self._answers(world, asked[:, 0], draws), strict=True)
        return [Row(prompt=world.prompt(*pair), responses=(text,)) for pair, text in written]

    def _pairs(self, world: OracleWorld, prompts: Codes, draws: Draws) -> list[Row]:
        asked = prompts[draws.below(len(prompts))]
        sides = [self._answers(world, asked[:, 0], draws) for _ in range(2)]
        written = zip(asked.tolist(), *sides, strict=True)
        rows = [Row(prompt=world.prompt(*pair), responses=tuple(texts)) for pair, *texts in written]
        return world.label(rows, np.moveaxis(draws.uniform(3, len(world.objectives)), 0, 1))

    def _answers(self, world: OracleWorld, turns: Codes, draws: Draws) -> list[str]:
        """Answers of 1 to L words; each author has a taste of his own for the families, Dirichlet(``taste``)."""
        length = 1 + draws.below(world.longest)
        families = world.families
        edges = _dirichlet(draws, self.taste, len(families)).cumsum(1)[:, :-1]
        family = (draws.uniform(world.longest)[:, :, None] > edges[:, None]).sum(-1)  # (B, L)
        start = np.array([roles.start for roles in families])[family]
        size = np.array([len(roles) for roles in families])[family]
        roles = start + (draws.uniform(world.longest) * size).astype(np.int64)
        words = (roles - turns[:, None]) % self.words
        return [" ".join(world.vocabulary[w] for w in row[:n]) for row, n in zip(words.tolist(), length, strict=True)]


def _dirichlet(draws: Draws, concentration: float, count: int) -> Floats:
    """Dirichlet(c, ..., c) draws (B, K): independent Gamma(c) numbers, by inversion, divided by their sum."""
    gamma = gammaincinv(concentration, draws.uniform(count))
    return np.asarray(gamma / gamma.sum(1, keepdims=True))
