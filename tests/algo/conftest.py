"""A world of word counts, small parts of a run on it, and one of two simulated processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.composed import composed
from torch import Tensor

from mora.dataset.corpus import Corpus
from mora.run.build import build
from mora.runtime.context import Context
from mora.runtime.devices import Runtime
from mora.runtime.folder import RunFolder
from mora.types import Row

WORDS = [f"w{i:02d}" for i in range(24)]
TINY = (
    "model.config.hidden_size=32",
    "model.config.intermediate_size=48",
    "model.config.num_hidden_layers=1",
    "model.config.num_attention_heads=2",
    "model.config.num_key_value_heads=2",
    "algo.optimizer.warmup=0",
)


@dataclass
class Counting:
    """Gold of objective i: how many words of the answer are of its kind, a fourth of all words each."""

    objectives: tuple[str, ...]
    name: str = "counting"
    slope: float = 1.0

    @property
    def floor(self) -> tuple[float, ...]:
        return (0.0,) * len(self.objectives)

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> NDArray[np.float64]:
        kinds = range(len(self.objectives))
        return np.array([[sum(int(w[1:]) % 4 == k for w in r.split()) for k in kinds] for r in responses], dtype=float)


def _texts(generator: np.random.Generator, count: int, longest: int) -> list[str]:
    return [" ".join(generator.choice(WORDS, generator.integers(1, longest + 1))) for _ in range(count)]


def corpus(objectives: int, max_response: int) -> Corpus:
    """Prompts of 1 to 6 words, answers of 1 to ``max_response - 1``; some labels are missing."""
    generator = np.random.default_rng(0)
    names = tuple(f"kind{i}" for i in range(objectives))
    prompts = sorted({*_texts(generator, 90, 6)})
    generator.shuffle(prompts)
    split = {"train": prompts[:64], "test": prompts[64:76]}
    answers = {s: _texts(generator, 64, max_response - 1) for s in split}
    others = {s: _texts(generator, 64, max_response - 1) for s in split}
    world = Counting(names)
    gold = {s: world.gold([], others[s]) - world.gold([], answers[s]) for s in split}
    pairs = {
        s: [
            Row(
                prompt=split[s][i % len(split[s])],
                responses=(answers[s][i], others[s][i]),
                labels={n: float(gold[s][i, k] > 0) if (i + k) % 3 else None for k, n in enumerate(names)},
            )
            for i in range(48)
        ]
        for s in split
    }
    return Corpus(
        name="counting",
        objectives=names,
        supervised={
            s: [Row(prompt=p, responses=(a,)) for p, a in zip(split[s], answers[s], strict=False)] for s in split
        },
        pairs=pairs,
        prompts={s: [Row(prompt=p) for p in split[s]] for s in split},
        fingerprint="0",
        max_prompt=8,
        max_response=max_response,
        tokens="words",
        world=world,  # type: ignore[arg-type]
    )


@dataclass(kw_only=True, eq=False)
class OneOfTwo(Runtime):
    """Process ``number`` of two that never hears of the other: sums and gathers give its own share."""

    number: int

    @property
    def rank(self) -> int:
        return self.number

    @property
    def world_size(self) -> int:
        return 2

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """An algorithm with its parts: ``make("panacea", "algo.steps=1", objectives=2, process=None)``."""
    made = 0

    def maker(
        algo: str, *overrides: str, objectives: int = 2, max_response: int = 8, process: int | None = None
    ) -> Any:
        nonlocal made
        made += 1
        beside = ["dataset=oracle"] if algo == "exact" else []  # the settings of one whose responses can be enumerated
        beside += [] if algo in ("sft", "reward_model") else ["reward=gold"]  # there is no reward run
        config = composed(f"algo={algo}", *TINY, *beside, *overrides)
        runtime = build(config["runtime"])
        if process is not None:
            fields = {name: vars(runtime)[name] for name in config["runtime"] if name != "_target_"}
            runtime = OneOfTwo(**fields, number=process)
        folder = RunFolder.open(tmp_path, f"run-{made}", {"made": made}, config="{}", overrides="{}", diff="{}")
        context = Context(
            seed=config["seed"],
            folder=folder,
            runtime=runtime,
            tracker=build(config["tracker"]),
            corpus=corpus(objectives, max_response),
            model=build(config["model"]),
            policy=None,
            reward_folder=None,
            trunk_folder=None,
            teacher_folder=None,
            provenance={},
            **{name: build(config[name]) for name in ("reward", "risk", "scalarize", "preference", "adapter")},
        )
        return build(config["algo"], _partial_=True)(context=context)

    return maker
