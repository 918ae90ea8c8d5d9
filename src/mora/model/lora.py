"""Low-rank adapters (LoRA; Hu et al. 2022): several side by side on one frozen trunk, one of which is in force at a
time, for reward models; one for a policy.

For a Linear with frozen weight ``W0`` (d_out, d_in) and the adapter ``a`` of A::

    y = W0 x + scale * B_a A_a x,   A_a (r, d_in) ~ Normal(0, 1/d_in),  B_a (d_out, r) = 0 at the start

The dense update is never built in training.  All adapters of a layer are one parameter each of A and B, so that an
optimizer, a checkpoint and a file hold them whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as affine
from transformers import PreTrainedModel

from mora import bounds
from mora.bounds import Count, NonNegative, Positive
from mora.manifest import check_content
from mora.model.adapter import WEIGHTS as POLICY_WEIGHTS
from mora.model.adapter import layer_tensors, linear_targets, load_layers, place, save_layers, write_settings

WEIGHTS = "lora.safetensors"
NAMES = ("A", "B")
BANK, GONE = "an adapter of the reward model", "without its adapters the reward model cannot score; train it again"


@dataclass(frozen=True, kw_only=True)
class LoRASettings:
    """Shape of the adapters of a reward model; the fields are the keys of ``algo.lora``."""

    rank: Count
    scale: Positive
    targets: list[str]  # names of Linear modules, matched against the last part of the module path; "all-linear"

    def __post_init__(self) -> None:
        bounds.check(self, "algo.lora")


class Active:
    """Which adapter is in force in all layers of one trunk; None is the trunk as it was."""

    def __init__(self) -> None:
        self.index: int | None = None

    @contextmanager
    def using(self, index: int | None) -> Iterator[None]:
        """Adapter ``index`` for the forwards inside the block; the previous one comes back after it."""
        before, self.index = self.index, index
        try:
            yield
        finally:
            self.index = before

    def checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts for ``torch.utils.checkpoint``: each recomputation runs under the adapter of its own forward."""
        return nullcontext(), Again(self, self.index)


class Again:
    """An adapter in force once more; unlike a generator's context it can be entered for every backward pass."""

    def __init__(self, active: Active, index: int | None) -> None:
        self.active, self.index = active, index
        self._before: list[int | None] = []

    def __enter__(self) -> None:
        """Put the adapter in force."""
        self._before.append(self.active.index)
        self.active.index = self.index

    def __exit__(self, *_: object) -> None:
        """Put back what was in force."""
        self.active.index = self._before.pop()


class LoRALinear(nn.Module):
    """A frozen Linear with ``count`` low-rank updates: (..., d_in) to (..., d_out)."""

    def __init__(self, base: nn.Linear, active: Active, *, count: int, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.active, self.scale = base, active, scale
        device = base.weight.device
        self.A = nn.Parameter(torch.empty(count, rank, base.in_features, device=device))
        self.B = nn.Parameter(torch.zeros(count, base.out_features, rank, device=device))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw A; B is zero, so every adapter starts as the trunk, bit for bit."""
        self.A.copy_(torch.randn(self.A.shape, generator=generator) * self.A.shape[-1] ** -0.5)
        self.B.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the base and the adapter in force."""
        y = self.base(x)
        index = self.active.index
        if index is None:
            return y
        if not torch.is_autocast_enabled(x.device.type):  # which casts by itself, and back what was cast before
            x = x.to(self.A.dtype)
        update = affine(affine(x, self.A[index]), self.B[index])
        return y + (self.scale * update).to(y.dtype)

    @torch.no_grad()
    def low_rank(self, index: int) -> tuple[Tensor, Tensor]:
        """``A`` (r, d_in) and ``scale B`` (d_out, r) of one adapter, in fp32."""
        return self.A[index].float(), self.scale * self.B[index].float()

    def delta(self, index: int) -> Tensor:
        """The dense update (d_out, d_in) of one adapter in fp32: for merging and tests, never in training."""
        a, b = self.low_rank(index)
        return b @ a


class MultiLoRA:
    """The adapted layers of one trunk and which adapter is in force in them."""

    def __init__(self, layers: dict[str, LoRALinear], active: Active, count: int) -> None:
        self.layers, self.active, self.count = layers, active, count

    def parameters(self) -> list[nn.Parameter]:
        """A and B of all layers."""
        return [p for layer in self.layers.values() for p in (layer.A, layer.B)]

    def save(self, folder: Path) -> None:
        """Write the weights of all adapters."""
        save_layers(self.layers, NAMES, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote.  Raises InputError when it is missing, damaged, or does not fit the trunk."""
        load_layers(self.layers, NAMES, folder / WEIGHTS, remedy=GONE, what=BANK)

    @torch.no_grad()
    def merged(self, index: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """State dict ``weights`` of the adapted trunk as one of the plain trunk, with an adapter added in fp32."""
        plain: dict[str, Tensor] = {}
        own = layer_tensors(self.layers, NAMES).keys()
        for name, tensor in weights.items():
            if name in own:
                continue
            path, _, kind = name.rpartition(".")
            layer = self.layers.get(path.removesuffix(".base")) if path.endswith(".base") else None
            if layer is None:
                plain[name] = tensor
            elif kind == "weight":
                plain[f"{path.removesuffix('.base')}.{kind}"] = (tensor.float() + layer.delta(index)).to(tensor.dtype)
            else:
                plain[f"{path.removesuffix('.base')}.{kind}"] = tensor
        return plain

    @contextmanager
    def unwrapped(self, model: nn.Module) -> Iterator[None]:
        """``model`` without its adapted layers, inside the block: the plain trunk, as it is written to disk."""
        place(model, {path: layer.base for path, layer in self.layers.items()})
        try:
            yield
        finally:
            place(model, self.layers)


def attach_several(
    model: nn.Module, settings: LoRASettings, *, count: int, seed: int, head: bool = False, key: str = "algo.lora"
) -> MultiLoRA:
    """Freeze every weight of ``model`` and put ``count`` adapters on the targets, and on the LM ``head``, in place.

    ``key`` is the section of the settings.
    """
    model.requires_grad_(False)
    active, layers = Active(), {}
    generator = torch.Generator().manual_seed(seed)
    for path, base in linear_targets(model, settings.targets, head=head, key=f"{key}.targets").items():
        layer = LoRALinear(base, active, count=count, rank=settings.rank, scale=settings.scale)
        layer.reset(generator)
        layers[path] = layer
    place(model, layers)
    return MultiLoRA(layers, active, count)


def checkpointed(model: PreTrainedModel, active: Sequence[Active]) -> None:
    """Recompute activations of ``model`` in the backward pass, each block under the adapter of its own forward."""
    contexts = {"context_fn": active[0].checkpoint_contexts} if active else {}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False, **contexts})


# --- of a policy -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """``adapter=lora``; the fields are the keys of ``conf/adapter/lora.yaml``."""

    kind: ClassVar[str] = "lora"
    steered: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    rank: Count
    scale: Positive
    targets: list[str]  # names of Linears, matched against the last part of the module path; "all-linear": blocks
    head: bool  # adapt the LM head too
    lr: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "adapter")

    def attach(self, model: PreTrainedModel, objectives: Sequence[str], *, seed: int) -> LoRAAdapter:
        """Freeze every weight of ``model`` and put an adapter on the targets, in place; B is zero at first."""
        shape = LoRASettings(rank=self.rank, scale=self.scale, targets=self.targets)
        made = attach_several(model, shape, count=1, seed=seed, head=self.head, key="adapter")
        return LoRAAdapter(made, self, objectives)


class LoRAAdapter:
    """One adapter on a policy that no preference steers; a :class:`mora.model.adapter.Adapter`."""

    frozen: None = None

    def __init__(self, made: MultiLoRA, settings: LoRA, objectives: Sequence[str]) -> None:
        self.layers, self.active, self.settings, self.objectives = made.layers, made.active, settings, tuple(objectives)
        self.active.index = 0

    def using(self, preference: Tensor | None) -> AbstractContextManager[None]:
        """The adapted model for the passes inside the block, at whatever preference."""
        return self.active.using(0)

    def off(self) -> AbstractContextManager[None]:
        """The base model for the passes inside the block."""
        return self.active.using(None)

    def shrink(self, kept: Tensor) -> None:
        """All rows are alike."""

    def recompute(self, model: PreTrainedModel) -> None:
        """Recompute activations in the backward pass, each block under the state of its own forward."""
        checkpointed(model, [self.active])

    def groups(self) -> list[dict[str, Any]]:
        """One parameter group of an optimizer: A and B of all layers."""
        return [{"params": [p for layer in self.layers.values() for p in (layer.A, layer.B)], "lr": self.settings.lr}]

    def low_rank(self, path: str, preference: Tensor | None) -> tuple[Tensor, Tensor]:
        """``A`` and ``scale B`` of a layer."""
        return self.layers[path].low_rank(0)

    def save(self, folder: Path, base: str) -> None:
        """Write weights (safetensors) and settings; ``base`` says which model the adapter belongs to."""
        folder.mkdir(parents=True, exist_ok=True)
        save_layers(self.layers, NAMES, folder / POLICY_WEIGHTS)
        write_settings(self, folder, base)

    def load(self, folder: Path) -> None:
        """Read weights written by :meth:`save`.  Raises InputError when they are missing, damaged, or do not fit."""
        check_content(folder)
        remedy = "without its adapter the policy is gone; train it again"
        load_layers(self.layers, NAMES, folder / POLICY_WEIGHTS, remedy=remedy)
