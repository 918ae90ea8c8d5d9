"""The pieces of a policy algorithm as its ``fit`` makes them, for tests that look at one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mora.dataset.encode import Encoder
from mora.model.policy import Policy
from mora.model.score_model import ScoreModel
from mora.reward.scorer import Scorer
from mora.runtime.actor import standardized_scorer, trainable
from mora.runtime.collector import RolloutCollector
from mora.runtime.pair_reader import PairReader
from mora.runtime.reward_start import new_score_model
from mora.runtime.rollout import Rollout
from mora.types import PairBatch, Row

REWARD_MODEL = (  # a few steps of algo=reward_model
    "algo.epochs=null",
    "algo.steps=4",
    "algo.batch_size=12",
    "algo.reference_prompts=8",
    "algo.reference_samples=2",
)


def scorer_of(algo: Any, model: Any, encoder: Encoder) -> Scorer:
    prompts, samples, shift = algo.reference_prompts, algo.reference_samples, algo.rollout.shift_rewards
    return standardized_scorer(algo.context, model, encoder, prompts=prompts, samples=samples, shift=shift)


def policy_of(algo: Any, model: Any) -> Policy:
    return trainable(algo.context, model, critic_width=getattr(algo, "critic_width", None))


def collector_of(algo: Any, scorer: Scorer, encoder: Encoder) -> RolloutCollector:
    return RolloutCollector(algo.context, algo.rollout, scorer, encoder, minibatches=algo.minibatches)


def credited(algo: Any, rollout: Rollout) -> Rollout:
    algo.credit(rollout)
    return rollout


def score_model_of(algo: Any, encoder: Encoder) -> ScoreModel:
    return new_score_model(algo.context, encoder, trunk=algo.trunk, layout=algo._layout, frozen=algo.freeze_trunk)


def batch_of(algo: Any, rows: Sequence[Row], index: Sequence[int], encoder: Encoder) -> PairBatch:
    return PairReader(context=algo.context, encoder=encoder, rows=rows).batch(index)
