"""One process, or several that hold the whole state each and sum their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mora.runtime.devices import Runtime

BUCKET = 2**25  # elements that are summed over ranks in one message
WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"


class PlainBackend:
    """Gradients pile up locally over all micro-batches and are summed over ranks once per update.

    The sum is taken here and not by a wrapper around the module, so that a loss may call the module several times or
    leave parameters unused, and no average has to be undone.  An unused parameter has gradient 0.
    """

    kind = "plain"

    def __init__(self, runtime: Runtime, module: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self._runtime, self._optimizer, self._max_norm = runtime, optimizer, max_norm
        self.module: nn.Module = runtime.accelerator.prepare_model(module, evaluation_mode=True)
        self._named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._parameters = list(self._named.values())
        self.groups: list[dict[str, Any]] = optimizer.param_groups
        if runtime.world_size > 1:
            for parameter in self._parameters:
                torch.distributed.broadcast(parameter.data, src=0)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate the gradient of ``loss``."""
        loss.backward()

    def update(self) -> tuple[float, str]:
        """Sum over ranks, clip, step and zero; the norm before clipping, and where it is not finite.

        The step is not taken when the norm is not finite.
        """
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self._runtime.world_size > 1:
            for bucket in self._buckets():
                flat = self._runtime.sum(torch.cat([p.grad.flatten() for p in bucket]))  # type: ignore[union-attr]
                for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                    parameter.grad = part.view_as(parameter)
        limit = self._max_norm if self._max_norm > 0 else float("inf")
        norm = float(nn.utils.clip_grad_norm_(self._parameters, limit))
        where = ""
        if norm - norm == 0.0:
            self._optimizer.step()
        else:
            where = next((n for n, p in self._named.items() if not p.grad.isfinite().all()), "the sum of squares")  # type: ignore[union-attr]
        self._optimizer.zero_grad(set_to_none=True)
        return norm, where

    def _buckets(self) -> Iterator[list[nn.Parameter]]:
        bucket: list[nn.Parameter] = []
        for parameter in self._parameters:
            if bucket and (
                sum(p.numel() for p in bucket) + parameter.numel() > BUCKET or bucket[0].dtype != parameter.dtype
            ):
                yield bucket
                bucket = []
            bucket.append(parameter)
        if bucket:
            yield bucket

    def save(self, folder: Path) -> None:
        """Write weights and moments, from rank 0: every rank holds the same."""
        if not self._runtime.main:
            return
        save_file({n: p.detach().cpu().contiguous().clone() for n, p in self._named.items()}, folder / WEIGHTS)
        state = {
            f"{name}/{key}": torch.as_tensor(value).detach().cpu().contiguous().clone()
            for name, parameter in self._named.items()
            for key, value in self._optimizer.state[parameter].items()
        }
        save_file(state, folder / OPTIMIZER)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote, whatever the number of processes."""
        weights = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(weights[name])
        state: dict[str, dict[str, Tensor]] = {}
        for path, tensor in load_file(folder / OPTIMIZER).items():
            name, key = path.rsplit("/", 1)
            state.setdefault(name, {})[key] = tensor
        for name, parameter in self._named.items():
            moments = state.get(name, {})
            self._optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()
            }

    def close(self) -> None:
        """Free the moments; the module keeps its weights."""
        self._optimizer.state.clear()
