"""Low-rank adapters (LoRA; Hu et al. 2022) side by side on one frozen trunk, one of which is in force at a time.

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

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import linear as affine
from transformers import PreTrainedModel

from mora import bounds
from mora.bounds import Count, Positive
from mora.errors import InputError
from mora.model.svd_lora import linear_targets, place
from mora.tensors import load_tensors

WEIGHTS = "lora.safetensors"


@dataclass(frozen=True, kw_only=True)
class LoRASettings:
    """Shape of the adapters of a reward model; the fields are the keys of ``algo.lora``."""

    rank: Count
    scale: Positive
    targets: list[str]  # names of Linear modules, matched against the last part of the module path; "all-linear"

    def __post_init__(self) -> None:
        bounds.check(self, "algo.lora")


class Choice:
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

    def __init__(self, choice: Choice, index: int | None) -> None:
        self.choice, self.index = choice, index
        self._before: list[int | None] = []

    def __enter__(self) -> None:
        """Put the adapter in force."""
        self._before.append(self.choice.index)
        self.choice.index = self.index

    def __exit__(self, *_: object) -> None:
        """Put back what was in force."""
        self.choice.index = self._before.pop()


class LoRALinear(nn.Module):
    """A frozen Linear with ``count`` low-rank updates: (..., d_in) to (..., d_out)."""

    def __init__(self, base: nn.Linear, choice: Choice, *, count: int, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.choice, self.scale = base, choice, scale
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
        index = self.choice.index
        if index is None:
            return y
        update = affine(affine(x.to(self.A.dtype), self.A[index]), self.B[index])
        return y + (self.scale * update).to(y.dtype)

    @torch.no_grad()
    def delta(self, index: int) -> Tensor:
        """The dense update (d_out, d_in) of one adapter in fp32: for merging and tests, never in training."""
        return self.scale * self.B[index].float() @ self.A[index].float()


class LoRABank:
    """The adapted layers of one trunk and the choice that they share."""

    def __init__(self, layers: dict[str, LoRALinear], choice: Choice, count: int) -> None:
        self.layers, self.choice, self.count = layers, choice, count

    def parameters(self) -> list[nn.Parameter]:
        """A and B of all layers."""
        return [p for layer in self.layers.values() for p in (layer.A, layer.B)]

    def state_dict(self) -> dict[str, Tensor]:
        """Trained tensors by module path and name."""
        return {
            f"{path}.{name}": getattr(layer, name).detach().cpu().contiguous()
            for path, layer in self.layers.items()
            for name in ("A", "B")
        }

    def save(self, folder: Path) -> None:
        """Write the weights of all adapters."""
        save_file(self.state_dict(), folder / WEIGHTS, metadata={"format": "pt"})

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote.  Raises InputError when it is missing, damaged, or does not fit the trunk."""
        path = folder / WEIGHTS
        remedy = "without its adapters the reward model cannot score; train it again"
        stored, own = load_tensors(path, remedy), self.state_dict()
        if stored.keys() != own.keys() or any(stored[k].shape != own[k].shape for k in own):
            raise InputError(f"{path}: the adapters do not fit this trunk; were they trained on another one?")
        for name, layer in self.layers.items():
            layer.A.copy_(stored[f"{name}.A"])
            layer.B.copy_(stored[f"{name}.B"])

    @torch.no_grad()
    def merged(self, index: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """State dict ``weights`` of the adapted trunk as one of the plain trunk, with an adapter added in fp32."""
        plain: dict[str, Tensor] = {}
        own = {f"{path}.{name}" for path in self.layers for name in ("A", "B")}
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


def attach_bank(model: nn.Module, settings: LoRASettings, *, count: int, seed: int) -> LoRABank:
    """Freeze every weight of ``model`` and put ``count`` adapters on the targets, in place."""
    model.requires_grad_(False)
    choice, layers = Choice(), {}
    generator = torch.Generator().manual_seed(seed)
    for path, base in linear_targets(model, settings.targets, head=False, key="algo.lora.targets").items():
        layer = LoRALinear(base, choice, count=count, rank=settings.rank, scale=settings.scale)
        layer.reset(generator)
        layers[path] = layer
    place(model, layers)
    return LoRABank(layers, choice, count)


def checkpointed(model: PreTrainedModel, choices: Sequence[Choice]) -> None:
    """Recompute activations of ``model`` in the backward pass, each block under the adapter of its own forward."""
    contexts = {"context_fn": choices[0].checkpoint_contexts} if choices else {}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False, **contexts})
