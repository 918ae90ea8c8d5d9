"""The labelled pairs of each objective as a reward model judges them, in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mora.dataset.worlds import World
from mora.errors import InputError
from mora.functional import pairs, risk
from mora.reward.scorer import Scorer
from mora.types import Row

Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Pairs:
    """The labelled pairs of one objective, as arrays (n,).  Scores are in the reward model's raw units, logits."""

    rows: list[Row]
    index: NDArray[np.int64]  # places among all pairs
    label: Floats
    score_0: Floats
    score_1: Floats
    log_wins_0: Floats  # log-probability that answer 0 is better
    log_wins_1: Floats
    spread: Floats  # of the difference, under independent beliefs
    units: Floats  # (n, 2) means in standard units for agreement; raw where the scorer has none
    gold: Floats | None  # (n, 2)
    true_spread: Floats | None
    true_probability: Floats | None  # that answer 1 is called better, where a world knows

    @property
    def prompts(self) -> NDArray[np.int64]:
        """Which prompt each pair belongs to."""
        return np.array([row.prompt_id for row in self.rows])

    @property
    def margin(self) -> Floats:
        """Absolute log-odds: how sure the model is by its own likelihood, in logits."""
        return np.abs(self.log_wins_1 - self.log_wins_0)

    @property
    def credit(self) -> Floats:
        """Right 1, wrong 0, equal scores 1/2, tied label NaN."""
        return pairs.credits(self.score_1 - self.score_0, self.label)


def labelled_pairs(scorer: Scorer, rows: Sequence[Row], world: World | None) -> dict[str, Pairs]:
    """The pairs of each objective that has labels, scored; ``world`` adds gold scores and annotators' spread.

    Raises InputError when there is no pair, or no labelled one.
    """
    if not rows:
        raise InputError("no held-out pair to measure the reward model on; set aside a test split of the dataset")
    prompts = [row.prompt for row in rows]
    sides = [[row.responses[side] for row in rows] for side in (0, 1)]
    raw, *wins = scorer.pairs(prompts, *sides)
    scaled = raw if scorer.standardization is None else scorer.standardization(raw)
    half = len(rows)
    logs = [_numbers(side) for side in wins]
    means, units = _sides(risk.mean(raw), half), _sides(risk.mean(scaled), half)
    spreads = _sides(risk.spread(raw), half)
    prompts, responses = prompts * 2, [*sides[0], *sides[1]]
    gold = None if world is None else _sides(world.gold(prompts, responses), half)
    noise = None if world is None else _sides(world.spread(prompts, responses), half)
    chance = None if world is None else _numbers(world.bayes_probabilities(rows))
    found = {}
    for column, name in enumerate(scorer.objectives):
        kept = [i for i, row in enumerate(rows) if row.labels.get(name) is not None]
        if not kept:
            continue
        place = None if world is None or name not in world.objectives else world.objectives.index(name)
        found[name] = Pairs(
            rows=[rows[i] for i in kept],
            index=np.array(kept),
            label=np.array([rows[i].labels[name] for i in kept], dtype=np.float64),
            score_0=means[kept, 0, column],
            score_1=means[kept, 1, column],
            log_wins_0=logs[0][kept, column],
            log_wins_1=logs[1][kept, column],
            spread=np.hypot(spreads[kept, 0, column], spreads[kept, 1, column]),
            units=units[kept, :, column],
            gold=None if place is None or gold is None else gold[kept, :, place],
            true_spread=None
            if place is None or noise is None
            else np.hypot(noise[kept, 0, place], noise[kept, 1, place]),
            true_probability=None if place is None or chance is None else chance[kept, place],
        )
    if not found:
        raise InputError(
            f"no held-out pair has a label on {', '.join(scorer.objectives)}; check dataset and objectives"
        )
    return found


def _numbers(values: torch.Tensor | Floats) -> Floats:
    return values.double().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=np.float64)


def _sides(values: torch.Tensor | Floats, half: int) -> Floats:
    """(2n, M), first answers then second ones, as (n, 2, M)."""
    numbers = _numbers(values)
    return np.stack([numbers[:half], numbers[half:]], axis=1)
