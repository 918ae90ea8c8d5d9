from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mora.evaluation.reward_model import Quality
from mora.reward.quality import held_out, quick_quality
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.types import Row

QUANTILE = Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.0)
FULL = Quality(level=0.95, calibration_bins=15, spread_bins=10, points=0, examples=0)


def rows(count: int) -> list[Row]:
    generator = np.random.default_rng(0)
    words = np.array("a b c d e f g h i j".split())
    said = [" ".join(generator.choice(words, generator.integers(1, 6))) for _ in range(3 * count)]
    return [
        Row(
            prompt=said[3 * i],
            responses=(said[3 * i + 1], said[3 * i + 2]),
            labels={"many_a": float(generator.choice([0, 1, 0.5, 0.2])), "many_b": float(i % 2) if i % 3 else None},
        )
        for i in range(count)
    ]


def test_the_quick_numbers_are_those_of_the_full_table(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer, pairs = make_scorer(QUANTILE), rows(60)
    found = quick_quality(scorer, pairs)
    table, _, _ = FULL.measure(scorer, pairs, None, kind="quantile")
    assert set(found) == {"many_a", "many_b"}
    for name, quality in found.items():
        assert quality["accuracy"] == pytest.approx(table["accuracy"][name]["value"])
        assert quality["log_loss"] == pytest.approx(table["log_loss"][name], rel=1e-6)
        assert quality["ece"] == pytest.approx(table["calibration"][name]["ece"], rel=1e-6)
    assert found["many_a"]["n"] == 60 and found["many_b"]["n"] == 40


def test_looking_changes_nothing_of_the_training(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0))
    scorer.model.train()
    before = torch.get_rng_state(), [p.clone() for p in scorer.model.parameters()]
    quick_quality(scorer, rows(8))
    assert scorer.model.training and torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(new, old) for new, old in zip(scorer.model.parameters(), before[1], strict=True))
    assert all(p.grad is None for p in scorer.model.parameters())


def test_nothing_labelled_says_nothing(make_scorer: Callable[..., ModelScorer]) -> None:
    scorer = make_scorer(QUANTILE)
    assert quick_quality(scorer, []) == {}
    tied = [Row(prompt="a", responses=("b", "c"), labels={"many_a": 0.5, "many_b": None})]
    found = quick_quality(scorer, tied)
    assert set(found) == {"many_a"} and math.isnan(found["many_a"]["accuracy"])
    assert math.isfinite(found["many_a"]["log_loss"])


def test_held_out_pairs_are_labelled_few_and_always_the_same() -> None:
    given = [Row(prompt=str(i), labels={"x": 1.0 if i % 2 else None, "y": None}) for i in range(40)]
    kept = held_out(given, ["x", "y"], 5)
    assert [row.prompt for row in kept] == ["1", "9", "17", "25", "33"]  # every fourth of the odd ones
    assert held_out(given, ["y"], 5) == [] and len(held_out(given, ["x"], 100)) == 20
