from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mora.dataset import collate
from mora.evaluation.reward_model import measure
from mora.reward.panel import ModelPanel
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.types import Row

OBJECTIVES = ("many_a", "many_b")


def pairs(world: Any, count: int, seed: int) -> list[Row]:
    """Random answers over four words; the label says which has more `a` (`b`), and is absent for equal counts."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        both = [" ".join(generator.choice(list("abcd"), generator.integers(2, 8))) for _ in (0, 1)]
        gap = np.diff(world.gold(["e"] * 2, both), axis=0)[0]
        labels = {name: None if g == 0 else float(g > 0) for name, g in zip(OBJECTIVES, gap, strict=True)}
        rows.append(Row(prompt=f"e {'fghij'[number % 5]}", responses=(both[0], both[1]), labels=labels))
    return rows


@pytest.mark.parametrize(
    "kind",
    [Scalar(margin=0.0, centering=0.01, l2=0.0), Quantile(atoms=9, initial_gap=0.1, centering=0.01)],
    ids=lambda kind: kind.name,
)
def test_a_reward_model_learns_two_objectives_at_once(
    make_panel: Callable[..., ModelPanel], world: Any, kind: Any
) -> None:
    panel = make_panel(kind, batch_size=64)
    train, test = pairs(world, 320, seed=1), pairs(world, 80, seed=2)
    before, _ = measure(panel, test, None, kind=kind.name)
    optimizer = torch.optim.AdamW(panel.model.parameters(), lr=5e-3)
    for step in range(100):
        batch = collate.preference([train[(32 * step + i) % 320] for i in range(32)], panel.encoder, OBJECTIVES)
        raw = panel.model(batch.ids, batch.mask)
        losses = kind.loss(raw[:32], raw[32:], batch.labels, batch.labelled)
        optimizer.zero_grad()
        (losses.sum() / batch.labelled.sum()).backward()
        optimizer.step()
    after, _ = measure(panel, test, None, kind=kind.name)
    for name in OBJECTIVES:
        assert before["accuracy"][name]["value"] < 0.75
        assert after["accuracy"][name]["value"] > 0.85
        assert after["log_loss"][name] < 0.45 < before["log_loss"][name]
