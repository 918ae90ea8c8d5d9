"""Reading files of tensors that a run wrote, or that lie in a folder that someone hands on."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mora.errors import InputError


def load_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.  Raises InputError with ``remedy`` where it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{path} is missing; {remedy}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
