"""Small nested state (JSON values and tensors) as one JSON file and one safetensors file, exact to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

VALUES, TENSORS = "state.json", "state.safetensors"
MARK = "__tensor__"


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state``; the caller makes ``folder`` durable.  Raises ``TypeError`` unless it is JSON and tensors."""
    tensors: dict[str, Tensor] = {}
    values = _packed(state, "", tensors)
    (folder / VALUES).write_text(json.dumps(values, indent=2), encoding="utf-8")
    save_file(tensors, folder / TENSORS)


def read_state(folder: Path) -> dict[str, Any]:
    """What ``write_state`` wrote; tensors are on the CPU and tuples are lists."""
    values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
    restored: dict[str, Any] = _unpacked(values, load_file(folder / TENSORS))
    return restored


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {MARK: name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"state {name or '(top)'} has a key that is no text: {list(value)[:5]}")
        return {key: _packed(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"state {name} is a {type(value).__name__}; give JSON values or tensors")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return torch.clone(tensors[value[MARK]])
        return {key: _unpacked(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    return value
