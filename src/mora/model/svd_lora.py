"""Preference-conditioned SVD-LoRA (Panacea, Zhong et al. 2024) with a preference for each row of the batch.

For a Linear with frozen weight ``W0`` (d_out, d_in) and a row with preference ``w`` on M objectives::

    y = W0 x + scale * U diag(sigma_1..k, s w_1..M) V^T x

U (d_out, k+M), V (d_in, k+M), sigma (k,) and s (1,) are trained; w is given.  The dense update is never built.  U
and V start as Normal(0, 1/d), sigma and s at zero: at the first step the adapted model is its base, bit for bit, and
the gradient of sigma and s is not zero.  Two settings go beyond the paper: ``objective_rank`` gives each weight of a
preference several singular values, and ``zero=U`` starts as LoRA does, from a U of zeros and singular values of one,
so that the first gradient has the form of a LoRA for each objective and not of k+1 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mora import bounds
from mora.bounds import Count, NonNegative, Positive
from mora.manifest import check_content
from mora.model.adapter import WEIGHTS, layer_tensors, linear_targets, load_layers, place, save_layers, write_settings

NAMES = ("U", "V", "sigma", "s")
Zero = Literal["diagonal", "U"]


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

    def __init__(
        self,
        base: nn.Linear,
        state: AdapterState,
        *,
        rank: int,
        objectives: int,
        objective_rank: int,
        scale: float,
    ) -> None:
        super().__init__()
        self.base, self.state = base, state
        self.rank, self.objectives, self.objective_rank, self.scale = rank, objectives, objective_rank, scale
        width, device = rank + objectives * objective_rank, base.weight.device
        self.U = nn.Parameter(torch.empty(base.out_features, width, device=device))
        self.V = nn.Parameter(torch.empty(base.in_features, width, device=device))
        self.sigma = nn.Parameter(torch.zeros(rank, device=device))
        self.s = nn.Parameter(torch.zeros(1, device=device))  # one number; DeepSpeed cannot send a tensor without axes

    @torch.no_grad()
    def reset(self, generator: torch.Generator, std: float | None, zero: Zero) -> None:
        """Draw U and V from Normal(0, std); ``None`` is 1/sqrt(d) of each.  What is ``zero`` makes the update zero."""
        for factor in (self.U, self.V):
            scale = factor.shape[0] ** -0.5 if std is None else std
            factor.copy_(torch.randn(factor.shape, generator=generator) * scale)
        for values in (self.sigma, self.s):
            values.fill_(0.0 if zero == "diagonal" else 1.0)
        if zero == "U":
            self.U.zero_()

    def diagonal(self, rows: Tensor) -> Tensor:
        """``[sigma_1..k, s w_1..M]``, each weight ``objective_rank`` times, for rows (B, M): (B, width)."""
        steered = self.s * rows.to(self.s.dtype).repeat_interleave(self.objective_rank, dim=-1)
        return torch.cat([self.sigma.expand(rows.shape[0], -1), steered], dim=-1)

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
        diagonal = self.scale * self.diagonal(rows).view(rows.shape[0], *[1] * (x.dim() - 2), -1)
        if not torch.is_autocast_enabled(x.device.type):  # which casts by itself, and back what was cast before
            x = x.to(self.V.dtype)
        return y + (((x @ self.V) * diagonal) @ self.U.T).to(y.dtype)

    @torch.no_grad()
    def low_rank(self, preference: Tensor) -> tuple[Tensor, Tensor]:
        """``A = V^T`` (k+M, d_in) and ``B = scale U diag`` (d_out, k+M) at one preference (M,), in fp32."""
        diagonal = self.diagonal(preference[None].to(self.U.device))[0].float()
        return self.V.float().T, self.scale * self.U.float() * diagonal

    def delta(self, preference: Tensor) -> Tensor:
        """The dense update B A (d_out, d_in) at one preference (M,), fp32; for merging and tests, never in training."""
        a, b = self.low_rank(preference)
        return b @ a


@dataclass(frozen=True, kw_only=True)
class SVDLoRA:
    """``adapter=svd_lora``; the fields are the keys of ``conf/adapter/svd_lora.yaml``."""

    kind: ClassVar[str] = "svd_lora"
    steered: ClassVar[bool] = True
    whole: ClassVar[bool] = False

    rank: Count
    scale: Positive
    objective_rank: Count  # singular values of each objective
    zero: Zero  # what is zero at the start
    init_std: NonNegative | None  # of U and V; None: 1/sqrt(d)
    targets: list[str]  # names of Linears, matched against the last part of the module path; "all-linear": blocks
    head: bool  # adapt the LM head too
    lr: NonNegative
    singular_lr: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "adapter")

    def attach(self, model: PreTrainedModel, objectives: Sequence[str], *, seed: int) -> SVDLoRAAdapter:
        """Freeze every weight of ``model`` and put a preference-conditioned update on the targets, in place."""
        model.requires_grad_(False)
        state, layers = AdapterState(), {}
        generator = torch.Generator().manual_seed(seed)
        for path, linear in linear_targets(model, self.targets, head=self.head, key="adapter.targets").items():
            ranks = {"rank": self.rank, "objectives": len(objectives), "objective_rank": self.objective_rank}
            layers[path] = SVDLoRALinear(linear, state, **ranks, scale=self.scale)
            layers[path].reset(generator, self.init_std, self.zero)
        place(model, layers)
        return SVDLoRAAdapter(layers, state, self, objectives)


class SVDLoRAAdapter:
    """The adapted layers of a model and their shared state; a :class:`mora.model.adapter.Adapter`."""

    frozen: None = None

    def __init__(
        self, layers: dict[str, SVDLoRALinear], state: AdapterState, settings: SVDLoRA, objectives: Sequence[str]
    ) -> None:
        self.layers, self.state, self.settings, self.objectives = layers, state, settings, tuple(objectives)

    def using(self, preference: Tensor | None) -> AbstractContextManager[None]:
        """Preference rows (B, M) for the forwards inside the block."""
        return self.state.using(preference)

    def off(self) -> AbstractContextManager[None]:
        """The base model for the forwards inside the block."""
        return self.state.off()

    def shrink(self, kept: Tensor) -> None:
        """Keep the rows ``kept`` of the preferences in force."""
        if self.state.rows is not None:
            self.state.rows = self.state.rows[kept]

    def recompute(self, model: PreTrainedModel) -> None:
        """Recompute activations in the backward pass, each block under the adapter state of its own forward."""
        model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": self.state.checkpoint_contexts}
        )

    def factors(self) -> list[nn.Parameter]:
        """U and V of all layers."""
        return [p for layer in self.layers.values() for p in (layer.U, layer.V)]

    def singular_values(self) -> list[nn.Parameter]:
        """sigma and s of all layers: never weight-decayed, or the preference would fade."""
        return [p for layer in self.layers.values() for p in (layer.sigma, layer.s)]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer: the factors decay as it says, the singular values never."""
        return [
            {"params": self.factors(), "lr": self.settings.lr},
            {"params": self.singular_values(), "lr": self.settings.singular_lr, "weight_decay": 0.0},
        ]

    def low_rank(self, path: str, preference: Tensor | None) -> tuple[Tensor, Tensor]:
        """``A`` and ``B`` of a layer at a preference (M,)."""
        assert preference is not None
        return self.layers[path].low_rank(preference)

    def state_dict(self) -> dict[str, Tensor]:
        """Trained tensors by module path and name."""
        return layer_tensors(self.layers, NAMES)

    def save(self, folder: Path, base: str) -> None:
        """Write weights (safetensors) and settings; ``base`` says which model the adapter belongs to."""
        folder.mkdir(parents=True, exist_ok=True)
        save_layers(self.layers, NAMES, folder / WEIGHTS)
        write_settings(self, folder, base)

    def load(self, folder: Path) -> None:
        """Read weights written by :meth:`save`.  Raises InputError when they are missing, damaged, or do not fit."""
        check_content(folder)
        load_layers(
            self.layers, NAMES, folder / WEIGHTS, remedy="without its adapter the policy is gone; train it again"
        )
