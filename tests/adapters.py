"""Adapters and sequences of policies, for tests that need one and not how it is made."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mora.model.svd_lora import SVDLoRA
from mora.types import Sequences

SHAPE = {"rank": 2, "objective_rank": 1, "zero": "diagonal", "scale": 1.0, "init_std": None}
PLACES = {"targets": ["all-linear"], "head": False}


def svd_lora(**changed: Any) -> SVDLoRA:
    return SVDLoRA(**{**SHAPE, **PLACES, "lr": 0.01, "singular_lr": 0.01, **changed})


def sequences(ids: Tensor, mask: Tensor, preference: Tensor | None = None, *, response: int) -> Sequences:
    """Rows whose last ``response`` tokens are the answer."""
    return Sequences(ids=ids, mask=mask, response=mask[:, mask.shape[1] - response :], preference=preference)
