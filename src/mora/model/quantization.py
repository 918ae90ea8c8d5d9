"""Frozen weights in 4 or 8 bits, by bitsandbytes."""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from mora.errors import InputError, install_hint


def quantized(kind: str, compute: torch.dtype) -> BitsAndBytesConfig:
    """The options of ``model.quantization`` for transformers, computing in ``compute``.

    Raises InputError without bitsandbytes.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        needs = "needs the package bitsandbytes"
        raise InputError(f"model.quantization={kind} {needs}; {install_hint('quantization')}")
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def keep_unpacked(model: nn.Module) -> None:
    """Let gradients pass through 4-bit layers on a CPU, whatever passes were made before.

    On processors with AVX512-BF16 bitsandbytes packs the weights of a layer at its first pass in evaluation mode, for
    good, and a packed layer passes no gradient to the layers before it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010
