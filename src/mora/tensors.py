"""Reading files of tensors that a run wrote, or that lie in a folder that someone hands on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mora.errors import InputError


def load_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.  Raises InputError with ``remedy`` where it is missing or damaged."""
    with _told(path, remedy):
        return load_file(path)


def stored_shapes(path: Path, remedy: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the same tensors, read from the header alone.  Raises InputError as :func:`load_tensors` does."""
    with _told(path, remedy), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}


@contextmanager
def _told(path: Path, remedy: str) -> Iterator[None]:
    if not path.is_file():
        raise InputError(f"{path} is missing; {remedy}")
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
