from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mora.dataset import collate
from mora.functional.margins import label_loss
from mora.functional.risk import mean
from mora.reward.categorical import Categorical
from mora.reward.gaussian import Gaussian
from mora.reward.quantile import Quantile
from mora.reward.rating import Rated
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.types import Row

OBJECTIVES = ("many_a", "many_b")
STEPS, LR = 80, 5e-3


def pairs(world: Any, count: int, seed: int) -> list[Row]:
    """Random answers over four words; the label says which has more `a` (`b`), and is absent for equal counts.

    The counts are the ratings.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        both = [" ".join(generator.choice(list("abcd"), generator.integers(2, 8))) for _ in (0, 1)]
        gold = world.gold(["e"] * 2, both)
        gap = np.diff(gold, axis=0)[0]
        labels = {name: None if g == 0 else float(g > 0) for name, g in zip(OBJECTIVES, gap, strict=True)}
        ratings = {name: tuple((float(g),) for g in gold[:, m]) for m, name in enumerate(OBJECTIVES)}
        prompt = f"e {'fghij'[number % 5]}"
        rows.append(Row(prompt=prompt, responses=(both[0], both[1]), labels=labels, ratings=ratings))
    return rows


QUANTILE = Quantile(atoms=9, at=None, coupling="independent", initial_gap=0.1, centering=0.01)
GAUSSIAN = Gaussian(
    link="logistic", atoms=9, initial_scale=1.0, scale_penalty=0.01, centering=0.01, anchors=0.0, anchor_ratings=None
)
KINDS = {
    "scalar": Scalar(strength="ignore", margin=0.0, centering=0.01, l2=0.0),
    "independent": QUANTILE,
    "comonotone": dataclasses.replace(QUANTILE, coupling="comonotone"),
    "probit": dataclasses.replace(GAUSSIAN, link="probit"),
    "logistic": GAUSSIAN,
    "anchored": dataclasses.replace(GAUSSIAN, link="probit", scale_penalty=0.0, anchors=0.1, anchor_ratings=[0.5, 1.5]),
    "categorical": Categorical(atoms=10, entropy=0.1),
    "rating": Rated(source="data", atoms=9, initial_location=1.0, initial_gap=0.1, noise=0.3),
}


def quality(scorer: ModelScorer, rows: list[Row]) -> tuple[list[float], list[float]]:
    """Accuracy of the means and log-loss of the kind's own probabilities, per objective."""
    prompts, *sides = zip(*((row.prompt, *row.responses) for row in rows), strict=True)
    belief, log_wins_0, log_wins_1 = scorer.pairs(prompts, *sides)
    lead = mean(belief)[len(rows) :] - mean(belief)[: len(rows)]
    accuracy, log_loss = [], []
    for number, name in enumerate(OBJECTIVES):
        kept = [i for i, row in enumerate(rows) if row.labels[name] is not None]
        label = torch.tensor([rows[i].labels[name] for i in kept])
        accuracy.append(((lead[kept, number] > 0) == (label > 0.5)).float().mean().item())
        log_loss.append(label_loss(log_wins_1[kept, number], log_wins_0[kept, number], label).mean().item())
    return accuracy, log_loss


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_reward_model_learns_two_objectives_at_once(
    make_scorer: Callable[..., ModelScorer], world: Any, kind: Any
) -> None:
    scorer = make_scorer(kind, batch_size=64)
    train, test = pairs(world, 320, seed=1), pairs(world, 80, seed=2)
    before = quality(scorer, test)
    optimizer = torch.optim.AdamW(scorer.model.parameters(), lr=LR)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR * (1 - step / STEPS)
        batch = collate.pairs([train[(32 * step + i) % 320] for i in range(32)], scorer.encoder, OBJECTIVES)
        raw = scorer.model(batch.ids, batch.mask)
        losses = kind.loss(raw[:32], raw[32:], batch.judgments)
        optimizer.zero_grad()
        (losses.sum() / batch.judgments.labelled.sum()).backward()
        torch.nn.utils.clip_grad_norm_(scorer.model.parameters(), 1.0)
        optimizer.step()
    after = quality(scorer, test)
    for number in range(len(OBJECTIVES)):
        assert before[0][number] < 0.7 and after[0][number] > 0.8
        assert after[1][number] < 0.45 < before[1][number]
