"""Preference-conditioned SVD-LoRA (Panacea, Zhong et al. 2024) with a preference for each row of the batch.

For a Linear with frozen weight ``W0`` (d_out, d_in) and a row with preference ``w`` on M objectives::

    y = W0 x + scale * U diag(sigma_1..k, s w_1..M) V^T x

U (d_out, k+M), V (d_in, k+M), sigma (k,) and s (1,) are trained; w is given.  The dense update is never built.  U
and V start as Normal(0, 1/d), sigma and s at zero: at the first step the adapted model is its base, bit for bit, and
the gradient of sigma and s is not zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mora import bounds
from mora.bounds import Count, NonNegative, Positive
from mora.errors import InputError
from mora.files import read_json, write_json
from mora.manifest import check_content
from mora.tensors import load_tensors

WEIGHTS, SETTINGS = "adapter.safetensors", "adapter.json"


class AdapterState:
    """What all adapted layers of one model share: the preference rows in force, and whether the adapter is on.

    A plain attribute of the layers, never a parameter or buffer: it enters no state dict and no optimizer.
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None  # (B, M)
        self.enabled = True

    @contextmanager
    def using(self, rows: Tensor | None, enabled: bool = True) -> Iterator[None]:
        """Preference rows (B, M) for the forwards inside the block; the previous state comes back after it."""
        before = self.rows, self.enabled
        self.rows, self.enabled = rows, enabled
        try:
            yield
        finally:
            self.rows, self.enabled = before

    def off(self) -> AbstractContextManager[None]:
        """The base model, for the forwards inside the block."""
        return self.using(None, enabled=False)

    def checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts for ``torch.utils.checkpoint``: the recomputation sees the state that its own forward saw.

        Without this a ``with`` block that ended, or a reference pass between forward and backward, would give silently
        wrong gradients.
        """
        return nullcontext(), self.using(self.rows, self.enabled)


class SVDLoRALinear(nn.Module):
    """A frozen Linear plus its preference-conditioned update: (B, ..., d_in) to (B, ..., d_out).

    Models that flatten a batch to its tokens call it with (B L, d_in), row by row; ``mora.model.agreement`` checks that
    a model hands on all tokens, in this order.
    """

    def __init__(self, base: nn.Linear, state: AdapterState, *, rank: int, objectives: int, scale: float) -> None:
        super().__init__()
        self.base, self.state = base, state
        self.rank, self.objectives, self.scale = rank, objectives, scale
        width, device = rank + objectives, base.weight.device
        self.U = nn.Parameter(torch.empty(base.out_features, width, device=device))
        self.V = nn.Parameter(torch.empty(base.in_features, width, device=device))
        self.sigma = nn.Parameter(torch.zeros(rank, device=device))
        self.s = nn.Parameter(torch.zeros(1, device=device))  # one number; DeepSpeed cannot send a tensor without axes

    @torch.no_grad()
    def reset(self, generator: torch.Generator, std: float | None) -> None:
        """Draw U and V from Normal(0, std); ``None`` is 1/sqrt(d) of each.  Zero sigma and s."""
        for factor in (self.U, self.V):
            scale = factor.shape[0] ** -0.5 if std is None else std
            factor.copy_(torch.randn(factor.shape, generator=generator) * scale)
        self.sigma.zero_()
        self.s.zero_()

    def diagonal(self, rows: Tensor) -> Tensor:
        """``[sigma_1..k, s w_1..M]`` for each preference row: (B, M) -> (B, k+M)."""
        return torch.cat([self.sigma.expand(rows.shape[0], -1), self.s * rows.to(self.s.dtype)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply base and update; raises RuntimeError when no preference is set or the rows do not fit the batch."""
        y = self.base(x)
        if not self.state.enabled:
            return y
        given = rows = self.state.rows
        if given is None or rows is None:
            raise RuntimeError(
                "an adapted layer ran without a preference: use `adapter.using(rows)` or `adapter.off()`"
            )
        if x.dim() == 2 and x.shape[0] != rows.shape[0]:
            rows = rows.repeat_interleave(x.shape[0] // rows.shape[0], dim=0)
        if rows.shape[0] != x.shape[0]:
            raise RuntimeError(f"{len(given)} preference rows for an input of shape {tuple(x.shape)}")
        diagonal = self.diagonal(rows).view(rows.shape[0], *[1] * (x.dim() - 2), -1)
        update = ((x.to(self.V.dtype) @ self.V) * diagonal) @ self.U.T
        return y + (self.scale * update).to(y.dtype)

    @torch.no_grad()
    def delta(self, preference: Tensor) -> Tensor:
        """The dense update (d_out, d_in) at one preference (M,), fp32; for merging and tests, never in training."""
        diagonal = self.diagonal(preference[None])[0].float()
        return self.scale * (self.U.float() * diagonal) @ self.V.float().T


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """Shape of an adapter: what :func:`attach` needs to build it again."""

    rank: Count
    scale: Positive
    init_std: NonNegative | None  # of U and V; None: 1/sqrt(d)
    targets: list[
        str
    ]  # names of Linear modules, matched against the last part of the module path; "all-linear": blocks
    head: bool  # adapt the LM head too
    objectives: list[str]

    def __post_init__(self) -> None:
        bounds.check(self, "algo.adapter")


class Adapter:
    """The adapted layers of a model and their shared state."""

    def __init__(self, layers: dict[str, SVDLoRALinear], state: AdapterState, settings: AdapterSettings) -> None:
        self.layers, self.state, self.settings = layers, state, settings

    def using(self, rows: Tensor) -> AbstractContextManager[None]:
        """Preference rows (B, M) for the forwards inside the block."""
        return self.state.using(rows)

    def off(self) -> AbstractContextManager[None]:
        """The base model for the forwards inside the block."""
        return self.state.off()

    def factors(self) -> list[nn.Parameter]:
        """U and V of all layers."""
        return [p for layer in self.layers.values() for p in (layer.U, layer.V)]

    def singular_values(self) -> list[nn.Parameter]:
        """sigma and s of all layers: never weight-decayed, or the preference would fade."""
        return [p for layer in self.layers.values() for p in (layer.sigma, layer.s)]

    def groups(self, *, lr: float, singular_lr: float) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer: the factors decay as it says, the singular values never."""
        return [
            {"params": self.factors(), "lr": lr},
            {"params": self.singular_values(), "lr": singular_lr, "weight_decay": 0.0},
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """Trained tensors by module path and name."""
        names = ("U", "V", "sigma", "s")
        return {
            f"{path}.{n}": getattr(layer, n).detach().cpu().contiguous()
            for path, layer in self.layers.items()
            for n in names
        }

    def save(self, folder: Path, base: str) -> None:
        """Write weights (safetensors) and settings; ``base`` says which model the adapter belongs to."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / WEIGHTS, metadata={"format": "pt"})
        write_json(folder / SETTINGS, asdict(self.settings) | {"base": base})

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read weights written by :meth:`save`.  Raises InputError when they are missing, damaged, or do not fit."""
        check_content(folder)
        stored = load_tensors(folder / WEIGHTS, "without its adapter the policy is gone; train it again")
        own = self.state_dict()
        if stored.keys() != own.keys() or any(stored[k].shape != own[k].shape for k in own):
            raise InputError(
                f"{folder / WEIGHTS}: the adapter does not fit this model; was it trained on another base?"
            )
        for path, layer in self.layers.items():
            for name in ("U", "V", "sigma", "s"):
                getattr(layer, name).copy_(stored[f"{path}.{name}"])


def read_settings(folder: Path) -> tuple[AdapterSettings, str]:
    """Settings and base of a stored adapter."""
    try:
        stored: dict[str, Any] = read_json(folder / SETTINGS)
        base = stored.pop("base")
        return AdapterSettings(**stored), base
    except (OSError, json.JSONDecodeError, TypeError, KeyError) as error:
        raise InputError(f"{folder}: holds no adapter that can be read ({error})") from error


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


def attach(model: nn.Module, settings: AdapterSettings, *, seed: int) -> Adapter:
    """Freeze every weight of ``model`` and put a preference-conditioned update on the targets, in place."""
    model.requires_grad_(False)
    state, layers = AdapterState(), {}
    generator = torch.Generator().manual_seed(seed)
    targets = linear_targets(model, settings.targets, head=settings.head, key="algo.adapter.targets")
    for path, linear in targets.items():
        layer = SVDLoRALinear(
            linear, state, rank=settings.rank, objectives=len(settings.objectives), scale=settings.scale
        )
        layer.reset(generator, settings.init_std)
        layers[path] = layer
    place(model, layers)
    return Adapter(layers, state, settings)


def place(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Put modules into ``model`` at their paths, in the place of those that stand there."""
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, module)


def enable_gradient_checkpointing(model: nn.Module, adapter: Adapter) -> None:
    """Recompute activations in the backward pass, each block under the adapter state of its own forward."""
    model.gradient_checkpointing_enable(  # type: ignore[operator]
        gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": adapter.state.checkpoint_contexts}
    )
