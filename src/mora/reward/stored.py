"""Whatever a folder ``reward/`` holds, as a panel: a model that was trained, or the card of classifiers."""

from __future__ import annotations

from pathlib import Path

import torch

from mora.errors import InputError
from mora.model.score_model import read_card
from mora.reward.hub import Hub
from mora.reward.hub_panel import HubPanel
from mora.reward.panel import ModelPanel


def load_panel(
    folder: Path | str, device: torch.device | str, *, batch_size: int | None = None
) -> ModelPanel | HubPanel:
    """The panel of a reward folder, checked.  Raises InputError for a folder that holds none, and for a damaged one."""
    size = {} if batch_size is None else {"batch_size": batch_size}
    if read_card(folder)["kind"] == Hub.name:
        return HubPanel.load(folder, device, **size)
    return ModelPanel.load(folder, device, **size)


def load_trained(folder: Path | str, device: torch.device | str) -> ModelPanel:
    """The panel of a model that was trained.  Raises InputError for classifiers of others, which are elsewhere."""
    panel = load_panel(folder, device)
    if not isinstance(panel, ModelPanel):
        places = ", ".join(dict.fromkeys(path for path, _ in panel.facts))
        raise InputError(f"{folder} holds no trained model: its scores are those of {places}, which are classifiers")
    return panel
