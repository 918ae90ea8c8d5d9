"""Whatever a folder ``reward/`` holds, as a scorer: a model that was trained, or the card of classifiers."""

from __future__ import annotations

from pathlib import Path

import torch

from mora.errors import InputError
from mora.model.score_model import read_card
from mora.reward.hub import Hub
from mora.reward.hub_scorer import HubScorer
from mora.reward.scorer import ModelScorer


def load_scorer(
    folder: Path | str, device: torch.device | str, *, batch_size: int | None = None
) -> ModelScorer | HubScorer:
    """The scorer of a reward folder, checked.  Raises InputError for a damaged folder, and for one that holds none."""
    size = {} if batch_size is None else {"batch_size": batch_size}
    if read_card(folder)["kind"] == Hub.name:
        return HubScorer.load(folder, device, **size)
    return ModelScorer.load(folder, device, **size)


def load_trained(folder: Path | str, device: torch.device | str) -> ModelScorer:
    """The scorer of a model that was trained.  Raises InputError for classifiers of others, which are elsewhere."""
    scorer = load_scorer(folder, device)
    if not isinstance(scorer, ModelScorer):
        places = ", ".join(dict.fromkeys(path for path, _ in scorer.facts))
        raise InputError(f"{folder} holds no trained model: its scores are those of {places}, which are classifiers")
    return scorer
