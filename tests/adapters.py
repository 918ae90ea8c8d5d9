"""Adapters of policies, for tests that need one and not its settings."""

from __future__ import annotations

from typing import Any

from mora.model.svd_lora import SVDLoRA

SHAPE = {"rank": 2, "scale": 1.0, "init_std": None, "targets": ["all-linear"], "head": False}


def svd_lora(**changed: Any) -> SVDLoRA:
    return SVDLoRA(**{**SHAPE, "lr": 0.01, "singular_lr": 0.01, **changed})
