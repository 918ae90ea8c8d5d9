"""What a policy trains of its model: a preference-conditioned adapter, a plain one, or all weights.

Each kind is a section of settings (``conf/adapter``), which puts itself on a model: :class:`Adapter` is the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mora.errors import InputError
from mora.files import read_json, write_json
from mora.tensors import load_tensors, stored_shapes

WEIGHTS, SETTINGS = "adapter.safetensors", "adapter.json"


class Adapter(Protocol):
    """What is trained of one model, in force unless it is :meth:`off`."""

    settings: Any  # the section that it was made from
    objectives: tuple[str, ...]  # M, that the policy is trained on

    @property
    def frozen(self) -> PreTrainedModel | None:
        """The reference policy where it is a model of its own; None: it is the same model with the adapter off."""

    @property
    def layers(self) -> Mapping[str, Any]:
        """Adapted layers by path, each a Linear ``base`` and an update; none where all weights are trained."""

    def using(self, preference: Tensor | None) -> AbstractContextManager[None]:
        """Preference rows (B, M) for the passes inside the block; a policy that is not steered needs and heeds none."""

    def off(self) -> AbstractContextManager[None]:
        """The model as it was, for the passes inside the block."""

    def shrink(self, kept: Tensor) -> None:
        """Keep the rows ``kept`` of the batch in force."""

    def recompute(self, model: PreTrainedModel) -> None:
        """Recompute activations of ``model`` in the backward pass, each block under the state of its own forward."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer, with the learning rates of the settings."""

    def low_rank(self, path: str, preference: Tensor | None) -> tuple[Tensor, Tensor]:
        """``A`` (r, d_in) and ``B`` (d_out, r) in fp32: B A is the update of a layer at one preference (M,)."""

    def save(self, folder: Path, base: str) -> None:
        """Write weights (safetensors) and settings; ``base`` says which model they belong to."""

    def load(self, folder: Path) -> None:
        """Read the weights that :meth:`save` wrote.  Raises InputError where they are damaged or do not fit."""


class AdapterKind(Protocol):
    """A section of settings that puts an adapter on a model."""

    kind: ClassVar[str]  # its choice in conf/adapter
    steered: ClassVar[bool]  # whether a preference steers the policy
    whole: ClassVar[bool]  # whether all weights are trained

    def attach(self, model: PreTrainedModel, objectives: Sequence[str], *, seed: int) -> Adapter:
        """Put an adapter on ``model``, in place; at first the policy is its reference, bit for bit."""


def write_settings(adapter: Adapter, folder: Path, base: str) -> None:
    """Write which kind of adapter this is, its settings, objectives and base model."""
    settings = adapter.settings
    facts = {"kind": settings.kind, **asdict(settings), "objectives": list(adapter.objectives), "base": base}
    write_json(folder / SETTINGS, facts)


def read_settings(folder: Path, kinds: Iterable[type[Any]]) -> tuple[Any, list[str], str]:
    """Settings, objectives and base of a stored adapter of one of ``kinds``.  Raises InputError for any other."""
    try:
        stored: dict[str, Any] = read_json(folder / SETTINGS)
        known, kind = {one.kind: one for one in kinds}, stored.pop("kind", None)
        if kind not in known:
            raise InputError(
                f"{folder / SETTINGS}: kind={kind} is none of {', '.join(known)}; was the policy made by another "
                "version of mora? Train it again"
            )
        objectives, base = stored.pop("objectives"), stored.pop("base")
        settings = known[kind](**stored)
    except (OSError, json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder}: holds no adapter that can be read ({error})") from error
    lists = {"objectives": objectives, "targets": getattr(settings, "targets", ["all-linear"])}
    for name, value in lists.items():
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
            raise InputError(f"{folder / SETTINGS}: {name} must be a list of names")
    if not isinstance(base, str):
        raise InputError(f"{folder / SETTINGS}: base must be a text")
    return settings, objectives, base


def layer_tensors(layers: Mapping[str, nn.Module], names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors ``names`` of all layers, on the CPU, by module path and name."""
    return {
        f"{path}.{name}": getattr(layer, name).detach().cpu().contiguous()
        for path, layer in layers.items()
        for name in names
    }


def save_layers(layers: Mapping[str, nn.Module], names: Sequence[str], path: Path) -> None:
    """Write the tensors ``names`` of all layers."""
    save_file(layer_tensors(layers, names), path, metadata={"format": "pt"})


@torch.no_grad()
def load_layers(
    layers: Mapping[str, nn.Module], names: Sequence[str], path: Path, *, remedy: str, what: str = "the adapter"
) -> None:
    """Read what :func:`save_layers` wrote into ``layers``.

    Raises InputError where it is missing or damaged, with ``remedy``, and where ``what`` does not fit the layers.
    """
    stored, own = load_tensors(path, remedy), layer_tensors(layers, names)
    if stored.keys() != own.keys() or any(stored[key].shape != own[key].shape for key in own):
        raise InputError(f"{path}: {what} does not fit this model; was it trained on another base?")
    for place, layer in layers.items():
        for name in names:
            getattr(layer, name).copy_(stored[f"{place}.{name}"])


def check_rank(path: Path, rank: int, *, count: int = 1, remedy: str, what: str = "the adapter") -> None:
    """Raises InputError where what is stored is not ``count`` adapters of ``rank``, before any memory is taken."""
    sizes = {"sigma": (rank,), "A": (count, rank)}  # axes that the tensors of either kind of layer begin with
    stored = {name: shape for name, shape in stored_shapes(path, remedy).items() if name.rpartition(".")[2] in sizes}
    for name, shape in stored.items():
        size = sizes[name.rpartition(".")[2]]
        if shape[: len(size)] != size:
            raise InputError(
                f"{path}: {what} does not fit this folder: {name} is stored as {shape}, and its settings ask for "
                f"{size}; {remedy}"
            )
    if not stored:
        raise InputError(f"{path}: {what} does not fit this folder: no tensor of an adapter is stored; {remedy}")


# --- where adapters sit ---------------------------------------------------------------------------------------------


def linear_targets(model: nn.Module, targets: Sequence[str], *, head: bool, key: str) -> dict[str, nn.Linear]:
    """Linear modules to adapt, by path; the LM head only where ``head`` says so, and no encoder of images or sound.

    Matching is on the whole last part of the path, never on a substring.  Raises InputError, which names ``key``, where
    a target is none.
    """
    output = model.get_output_embeddings()  # type: ignore[operator]
    wanted, skipped = set(targets), _encoders(model)
    found: dict[str, nn.Linear] = {}
    for path, module in model.named_modules():
        if path.startswith(skipped):
            continue
        linear = isinstance(module, nn.Linear)  # bitsandbytes' quantized layers are subclasses
        if output is not None and module is output:
            if head:
                found[path] = module
        elif linear and ("all-linear" in wanted or path.rsplit(".", 1)[-1] in wanted):
            found[path] = module
    missing = wanted - {"all-linear"} - {path.rsplit(".", 1)[-1] for path in found}
    if "all-linear" in wanted and all(module is output for module in found.values()):
        kinds = sorted({type(module).__name__ for module in model.modules() if isinstance(module, Conv1D)})
        instead = f" but {kinds[0]}" if kinds else ""
        raise InputError(f"model: its blocks hold no Linear to adapt{instead}; use another one")
    if missing or not found:
        raise InputError(f"{key}: no Linear named {sorted(missing) or sorted(wanted)} in this model")
    return found


def _encoders(model: nn.Module) -> tuple[str, ...]:
    """Beginnings of the paths of what reads images or sound, which no text passes through."""
    media = [model.get_encoder(modality=modality) for modality in ("image", "audio")]  # type: ignore[operator]
    inside = [module for module in model.modules() if module is not model and any(module is one for one in media)]
    return tuple(f"{path}." for path, module in model.named_modules() if any(module is one for one in inside))


def place(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Put modules into ``model`` at their paths, in the place of those that stand there."""
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, module)
