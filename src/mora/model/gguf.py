"""GGUF files, which llama.cpp reads, become plain model folders: dequantized safetensors and a tokenizer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from mora.errors import InputError, install_hint
from mora.files import new_folder
from mora.model.load import DTYPES, told


def convert(file: Path, folder: Path, *, dtype: str) -> dict[str, int]:
    """Write the model of a GGUF ``file`` as ``folder``, in the precision ``dtype``; counts of what it holds.

    Quantized weights are multiplied out: the folder holds what llama.cpp computes with, and not the weights that were
    quantized.  Raises InputError where the package gguf is missing, and for a file that transformers cannot read.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"{file}: reading a GGUF file needs the package gguf; {install_hint('real')}")
    named: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    with told(f"{file}: no model can be read from it"):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **named)
        packed = GgufConfig(gguf_file=file.name, dequantize=True)
        named |= {"quantization_config": packed, "output_loading_info": True}
        auto: Any = AutoModelForCausalLM
        model, report = auto.from_pretrained(file.parent, **named)
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"{file}: lacks {missing[0]} ({len(missing)} missing in all); get the file again")
    if hasattr(model.config, "quantization_config"):  # the weights are plain now
        del model.config.quantization_config
    model.config._name_or_path = ""
    with new_folder(folder, sealed=True) as made:
        model.to(DTYPES[dtype]).save_pretrained(made)
        tokenizer.save_pretrained(made)
    return {"parameters": sum(weight.numel() for weight in model.parameters()), "tokens": len(tokenizer)}
