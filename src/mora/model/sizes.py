"""Whether a configuration fits memory and the weights that are stored with it, as far as can be told without them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from mora.errors import InputError
from mora.model.place import MOST_LAYERS, available_memory


def check_size(auto: Any, config: PreTrainedConfig, dtype: torch.dtype | None, name: str) -> PreTrainedModel:
    """The model of a configuration without memory for its weights.  Raises InputError where they do not fit."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise InputError(f"{name}: asks for {layers} layers (at most {MOST_LAYERS})")
    with torch.device("meta"):
        made: PreTrainedModel = auto.from_config(deepcopy(config), attn_implementation="eager")  # changes its config
        count = sum(parameter.numel() for parameter in made.parameters())
    size = dtype or getattr(torch, str(config.dtype or "float32").removeprefix("torch."))
    needed, there = count * size.itemsize, available_memory()
    if there is not None and needed > there:
        raise InputError(
            f"{name}: its configuration asks for {count:.3g} parameters, {needed / 2**30:.0f} GiB, and "
            f"{there / 2**30:.1f} GiB of memory are free; name a smaller model, or free memory"
        )
    return made


def check_headers(made: PreTrainedModel, folder: Path, path: str | Path) -> None:
    """Raises InputError for a configuration with far more weights than are stored, before transformers draws the rest.

    ``made`` is the model without memory.  What is stored under other names is compared when it has been loaded.
    """
    stored: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("model*.safetensors")):  # not those of heads and adapters beside them
        with safe_open(file, framework="pt") as weights:
            stored |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}
    asked = {name: tuple(parameter.shape) for name, parameter in made.named_parameters()}
    if sum(map(prod, asked.values())) <= 2 * sum(map(prod, stored.values())):
        return
    prefix = f"{made.base_model_prefix}."
    found = [
        (name, stored[key], shape)
        for name, shape in asked.items()
        for key in {name, f"{prefix}{name}", name.removeprefix(prefix)} & stored.keys()
    ]
    check_shapes({"mismatched_keys": [one for one in found if one[1] != one[2]]}, path)


def check_shapes(report: Mapping[str, Any], path: str | Path) -> None:
    """Raises InputError for weights of other shapes than the configuration has, which transformers would draw anew."""
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise InputError(
            f"{path}: {name} is stored as {tuple(stored)}, and config.json asks for {tuple(expected)}: weights and "
            "configuration are of two models; get the folder again"
        )
