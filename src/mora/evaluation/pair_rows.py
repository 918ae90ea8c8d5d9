"""What a reward model says of single pairs and answers: the rows of ``pairs.csv``, and its extreme answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora.evaluation.labelled import Pairs
from mora.turns import readable


def extreme_answers(name: str, pairs: Pairs, count: int) -> list[dict[str, Any]]:
    """The answers that score highest and lowest, each answer once: at most ``count`` of both."""
    scores: dict[tuple[str, str], float] = {}
    for row, both in zip(pairs.rows, pairs.units.tolist(), strict=True):
        scores |= {(row.prompt, response): score for response, score in zip(row.responses, both, strict=True)}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    count = min(count, len(ranked) // 2)
    ends = [("best", ranked[:count]), ("worst", ranked[::-1][:count])]
    return [
        {"objective": name, "end": end, "rank": rank, "score": score, "prompt": prompt, "response": response}
        for end, found in ends
        for rank, ((prompt, response), score) in enumerate(found, 1)
    ]


def readable_examples(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Extreme answers as lines of text, best and worst of each objective under a heading."""
    lines: list[str] = []
    for row in rows:
        if row["rank"] == 1:
            lines += [f"== {row['objective']}, {row['end']} ==", ""]
        lines += [
            f"{row['rank']}. score {row['score']:.3f}",
            f"   {readable(row['prompt'])}",
            f"   -> {row['response']}",
            "",
        ]
    return lines


def pair_rows(name: str, pairs: Pairs) -> list[dict[str, Any]]:
    """A row per pair that has a label on the objective ``name``; what no world knows is NaN."""
    nothing = np.full((len(pairs.rows), 2), np.nan)
    gold = nothing if pairs.gold is None else pairs.gold
    chance = nothing[:, 0] if pairs.true_probability is None else pairs.true_probability
    return [
        {
            "prompt_id": row.prompt_id,
            "objective": name,
            "label": pairs.label[i],
            "score_0": pairs.score_0[i],
            "score_1": pairs.score_1[i],
            "probability": np.exp(pairs.log_wins_1[i]),
            "log_odds": pairs.log_wins_1[i] - pairs.log_wins_0[i],
            "spread": pairs.spread[i],
            "gold_0": gold[i, 0],
            "gold_1": gold[i, 1],
            "true_probability": chance[i],
        }
        for i, row in enumerate(pairs.rows)
    ]
