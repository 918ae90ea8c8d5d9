"""Reward models in name only, which judge the same pairs: scores are read off the answers, plus noise of their own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mora.evaluation.judgement import Judgement, RewardMethod
from mora.evaluation.pairing import Origin
from mora.evaluation.reward_comparison import CompareRewards
from mora.evaluation.reward_model import Quality
from mora.reward.point import point_belief
from mora.reward.quantile import Quantile
from mora.reward.scorer import Scorer
from mora.types import RewardBelief, Row

NAMES = ("cure", "care", "brief", "warm", "exact", "plain")
QUANTILE = Quantile(atoms=3, at=None, coupling="independent", initial_gap=0.1, centering=0.0)


class NoisyScorer(Scorer):
    """Scores are the true values (``value,value,...`` is an answer) times ``skill``, plus noise drawn for each text."""

    def __init__(self, objectives: Sequence[str], *, seed: int, skill: float, noise: float, spread: bool) -> None:
        super().__init__(objectives, None)
        self.seed, self.skill, self.noise, self.spread = seed, skill, noise, spread

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> RewardBelief:
        true = torch.tensor([[float(value) for value in r.split(",")] for r in responses])[:, : len(self.objectives)]
        draws = [
            np.random.default_rng([self.seed, zlib.crc32(r.encode())]).normal(size=true.shape[1]) for r in responses
        ]
        raw = (self.skill * true + self.noise * torch.tensor(np.array(draws), dtype=torch.float32))[..., None]
        if not self.spread:
            return point_belief(raw)
        return QUANTILE.belief(torch.cat([raw, true.abs()[..., None].expand(-1, -1, 2)], -1))


class PlainWorld:
    """Gold is the true value."""

    name = "plain"

    def __init__(self, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> np.ndarray[Any, Any]:
        return np.array([[float(value) for value in r.split(",")] for r in responses])[:, : len(self.objectives)]

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.ones((len(responses), len(self.objectives)))

    def bayes_probabilities(self, rows: Sequence[Row]) -> np.ndarray[Any, Any]:
        sides = [self.gold([], [row.responses[side] for row in rows]) for side in (0, 1)]
        return np.asarray(1 / (1 + np.exp(-2 * (sides[1] - sides[0]))))


def rows(count: int, *, prompts: int = 24, objectives: int = 2, seed: int = 0) -> list[Row]:
    """Pairs with labels drawn from the logit of the difference of their true values."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        values = generator.normal(size=(2, objectives))
        wins = generator.random(objectives) < 1 / (1 + np.exp(-2 * (values[1] - values[0])))
        texts = tuple(",".join(f"{v:.4f}" for v in side) for side in values)
        labels: dict[str, float | None] = dict(zip(NAMES, wins.astype(float).tolist(), strict=False))
        found.append(Row(prompt=f"p{generator.integers(prompts)}", responses=texts, labels=labels))
    return found


def judgement(run: str, given: Sequence[Row], *, seed: int = 0, world: bool = True, **own: Any) -> Judgement:
    """What one model says of the pairs; ``own`` are ``skill``, ``noise`` and ``spread``."""
    names = list(given[0].labels)
    settings = {"skill": 2.0, "noise": 1.0, "spread": False} | own
    known: Any = PlainWorld(names) if world else None
    scorer = NoisyScorer(names, seed=seed, **settings)
    table, lines, examples = QUALITY.measure(scorer, given, known, kind="plain")
    return Judgement(run=run, table=table, lines=lines, examples=examples)


def method(name: str, *seeds: Judgement, **facts: Any) -> RewardMethod:
    """A method with the facts that the page shows."""
    known = {
        "runs": [one.run for one in seeds],
        "seeds": list(range(len(seeds))),
        "algo": "reward_model",
        "kind": "plain",
        "model": "tiny",
        "smoke": True,
        "settings": {"reward": name},
    }
    origins = [Origin(seed=s, stands_on={"run": one.run}) for s, one in enumerate(seeds)]
    return RewardMethod(name=name, seeds=seeds, origins=origins, facts=known | facts)


QUALITY = Quality(level=0.95, calibration_bins=6, spread_bins=4, points=60, examples=2)
EVALUATOR = CompareRewards(quality=QUALITY, resamples=100, curve_points=21, density_points=41, histogram_bins=12)


def head(held_out: int) -> dict[str, Any]:
    """What the command puts before the table."""
    return {
        "comparison": "compare_rewards-plain-1a2b3c4d",
        "dataset": {"name": "plain", "run": "reward_model-tiny-plain-0", "pairs": "0badc0de"},
        "held_out": held_out,
        "seed": 0,
    }


def compared(
    count: int, *, objectives: int = 2, seeds: int = 1, pairs: int = 160
) -> tuple[Any, Any, list[RewardMethod]]:
    """The tables of ``count`` methods of falling skill, and the methods."""
    given = rows(pairs, objectives=objectives)
    methods = [
        method(
            f"method {i}",
            *(judgement(f"run-{i}-{s}", given, seed=10 * i + s, noise=0.5 + 0.5 * i, spread=i % 2 == 1)
              for s in range(seeds)),
        )
        for i in range(count)
    ]  # fmt: skip
    table, curves = EVALUATOR.compare(methods, seed=3)
    return head(pairs) | table, curves, methods
