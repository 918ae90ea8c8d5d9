from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel

from mora.dataset.encode import Encoder
from mora.model.score_model import ScoreModel
from mora.model.tokenizer import train_words
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.types import Row

WORDS = "a b c d e f g h i j".split()


class CountingWorld:
    """Gold by hand: the number of ``a`` and the number of ``b`` in the answer; annotators differ by 1 utility unit."""

    name = "counting"
    objectives = ("many_a", "many_b")
    floor = (0.0, 0.0)
    slope = 1.0

    def gold(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> NDArray[np.float64]:
        return np.array([[r.split().count("a"), r.split().count("b")] for r in responses], dtype=np.float64)

    def valid(self, prompts: Sequence[str], responses: Sequence[str], ended: Any = None) -> NDArray[np.bool_]:
        return np.ones(len(responses), dtype=bool)

    def front(self) -> NDArray[np.float64]:
        raise NotImplementedError

    def best(self, preferences: object) -> NDArray[np.float64]:
        raise NotImplementedError

    def spread(self, prompts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
        return np.ones((len(responses), 2))

    def bayes_probability(self, row: Row) -> NDArray[np.float64]:
        return np.array([0.8, 0.9])

    def bayes_probabilities(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        return np.tile([0.8, 0.9], (len(rows), 1))

    def bayes_accuracy(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        return np.array([0.8, 0.9])


@pytest.fixture
def world() -> CountingWorld:
    return CountingWorld()


@pytest.fixture
def make_scorer() -> Callable[..., ModelScorer]:
    def make(kind: Scalar | Quantile, batch_size: int = 4) -> ModelScorer:
        tokenizer = train_words([" ".join(WORDS)], closed=False)
        config = AutoConfig.for_model(
            "llama",
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
        torch.manual_seed(0)
        backbone = AutoModel.from_config(config)
        for parameter in backbone.parameters():
            parameter.data.mul_(5.0)
        model = ScoreModel.new(lambda: backbone, tokenizer, kind, objectives=("many_a", "many_b"), seed=0)
        return ModelScorer(model, Encoder(tokenizer, 16, 12, "error"), kind, batch_size=batch_size)

    return make


@pytest.fixture
def texts() -> tuple[list[str], list[str]]:
    """Twelve prompts and answers of one to nine words."""
    generator = np.random.default_rng(0)
    prompts = [" ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(12)]
    responses = [" ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(12)]
    return prompts, responses
