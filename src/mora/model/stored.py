"""A trained policy on disk: an adapter, the name of its base, and the tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from mora.errors import InputError
from mora.model.capacity import check_tokens
from mora.model.load import ModelSpec, load_causal, load_tokenizer
from mora.model.policy import Policy
from mora.model.svd_lora import SETTINGS, AdapterSettings, attach, read_settings

STANDARDIZATION = "standardization.json"  # units of the reward that a policy was trained on


def base_reference(base: str, folder: Path) -> str:
    """How ``folder`` names its base: relative when it is a local folder, so that runs can be moved together."""
    return os.path.relpath(base, folder) if base and Path(base).is_dir() else base


def base_of(folder: Path) -> str:
    """The base model of a stored policy, as a path or hub id."""
    _, base = read_settings(folder)
    local = folder / base
    if base.startswith("..") and not local.is_dir():
        raise InputError(f"{folder / SETTINGS}: the base model {local} is gone; the policy cannot be used without it")
    return os.path.normpath(local) if local.is_dir() else base


def load_unconditioned(folder: Path, device: torch.device) -> tuple[Policy, PreTrainedTokenizerBase]:
    """A plain causal model as a policy; with nothing to steer, only its pass without a preference has a meaning."""
    model, tokenizer = load_causal(folder), load_tokenizer(folder)
    check_tokens(model, tokenizer, folder)
    idle = AdapterSettings(rank=1, scale=1.0, init_std=None, targets=["all-linear"], head=False, objectives=["none"])
    return Policy(model, attach(model, idle, seed=0), None).to(device).eval(), tokenizer


def load_policy(
    folder: Path, device: torch.device, spec: ModelSpec | None = None
) -> tuple[Policy, PreTrainedTokenizerBase]:
    """Policy and tokenizer from the ``policy/`` folder of a run, in evaluation mode, without a critic."""
    settings, _ = read_settings(folder)
    base = base_of(folder)
    revision = spec.revision if spec is not None and base == spec.path else None
    model, tokenizer = load_causal(base, spec, revision=revision), load_tokenizer(folder)
    check_tokens(model, tokenizer, folder)
    adapter = attach(model, settings, seed=0)
    adapter.load(folder)
    return Policy(model, adapter, None).to(device).eval(), tokenizer
