"""A new head on the trunk of a trained reward model: which trunks take one, and what it changes on held-out pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mora.errors import InputError
from mora.functional import risk
from mora.model.backbones import Layout
from mora.model.score_model import read_card
from mora.reward.scorer import ModelScorer
from mora.reward.stored import load_trained
from mora.runtime.context import Context
from mora.types import RewardBelief


def check_convertible(folder: Path) -> None:
    """Raises InputError for classifiers of others, and for a reward model of several trunks, members or adapters."""
    card = read_card(folder)
    if "layout" not in card:
        raise InputError(f"start.trunk={folder}: holds no model that was trained here (kind {card['kind']})")
    layout = Layout.read(card["layout"])
    trunks, _ = layout.counts(len(card["objectives"]), card["members"])
    if layout.adapted or trunks > 1 or card["members"] > 1:
        raise InputError(
            f"start.trunk={folder}: that reward model has several models, members or adapters, and algo.trunk=reward "
            "converts one trunk with one head; name a run with algo.sharing=trunk that is no ensemble"
        )


def compared_heads(context: Context, folder: Path, converted: ModelScorer) -> dict[str, dict[str, Any]]:
    """Per objective that both score: cosine of the two heads' weights, both accuracies, correlation of their margins.

    On the labelled test pairs, ties left out; accuracies and the correlation are None where there are fewer than two.
    """
    old = load_trained(folder, context.runtime.device)
    rows = context.corpus.pairs["test"]
    found: dict[str, dict[str, Any]] = {}
    for name in converted.objectives:
        if name not in old.objectives:
            continue
        decided = [row for row in rows if row.labels.get(name) not in (None, 0.5)]
        facts: dict[str, Any] = {"cosine": _cosine(old, converted, name), "n": len(decided)}
        facts |= {"accuracy_before": None, "accuracy_after": None, "margin_correlation": None}
        if len(decided) > 1:
            signs = torch.tensor([2.0 * float(row.labels[name] or 0.0) - 1.0 for row in decided])
            prompts = [row.prompt for row in decided]
            sides = [[row.responses[side] for row in decided] for side in (0, 1)]
            before, after = (
                _margins(scorer.pairs(prompts, *sides)[0], scorer.objectives.index(name)) for scorer in (old, converted)
            )
            for key, margins in (("accuracy_before", before), ("accuracy_after", after)):
                right = margins * signs
                facts[key] = float(((right > 0).double() + 0.5 * (right == 0).double()).mean())
            facts["margin_correlation"] = float(torch.corrcoef(torch.stack([before, after]))[0, 1])
        found[name] = facts
    return found


def _margins(belief: RewardBelief, column: int) -> Tensor:
    """Mean reward of answer 1 less that of answer 0 (B,)."""
    means = risk.mean(belief)[:, column].double().cpu()
    half = len(means) // 2
    return means[half:] - means[:half]


def _cosine(old: ModelScorer, new: ModelScorer, name: str) -> float:
    rows = [
        scorer.model.head.linear.weight[scorer.objectives.index(name) * scorer.model.head.width].detach().double().cpu()
        for scorer in (old, new)
    ]
    return float(cosine_similarity(rows[0], rows[1], dim=0))
