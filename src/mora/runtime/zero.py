"""DeepSpeed ZeRO-1 and ZeRO-2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mora.errors import InputError
from mora.runtime.devices import Runtime
from mora.runtime.pickles import check_pickles

TAG = "zero"
BUCKET = 2**26  # elements of one message between ranks
ALIGNED = 1024  # DeepSpeed refuses a bucket that its alignment (2 elements a process group) does not divide


class ZeroBackend:
    """One DeepSpeed engine around the module; gradients and optimizer state are split over the ranks."""

    kind = "zero"

    def __init__(self, runtime: Runtime, module: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self._runtime = runtime
        plugin = runtime.accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["gradient_clipping"] = float(max_norm)
        plugin.deepspeed_config["train_batch_size"] = "auto"
        # DeepSpeed allocates a whole bucket for every backward pass: 2 GB at its own default of 5e8 elements
        elements = sum(p.numel() for p in module.parameters() if p.requires_grad)
        elements += -elements % ALIGNED
        config = plugin.deepspeed_config["zero_optimization"]
        sized = {
            key: min(elements, BUCKET) for key in ("reduce_bucket_size", "allgather_bucket_size") if key not in config
        }
        config.update(sized)
        self._engine, _ = runtime.accelerator.prepare(module, optimizer)
        for key in sized:
            del config[key]  # the next engine has another size
        self.module: nn.Module = self._engine

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups as they are now: DeepSpeed makes new ones when it loads a state."""
        groups: list[dict[str, Any]] = self._engine.optimizer.param_groups
        return groups

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate the gradient of ``loss``; DeepSpeed averages over ranks, so the loss is scaled by their number."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * self._runtime.world_size, scale_wrt_gas=False)

    def update(self) -> tuple[float, str]:
        """Clip, step and zero; the norm before clipping, and where it is not finite."""
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        finite = 0.0 <= norm < float("inf") and not self._engine.optimizer.overflow
        return (norm if finite else float("nan")), "the summed gradient"

    def save(self, folder: Path) -> None:
        """Write weights and optimizer state below ``folder``; every rank writes its part."""
        self._engine.save_checkpoint(str(folder), tag=TAG, save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote with the same number of processes."""
        check_pickles(folder)  # DeepSpeed unpickles whatever a file names
        path, _ = self._engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
        if path is None:
            raise InputError(
                f"{folder / TAG} holds no DeepSpeed state; delete {folder} to continue from the one before"
            )

    def close(self) -> None:
        """Free the DeepSpeed engine; the module keeps its weights."""
        self._engine.destroy()
        self._runtime.accelerator.deepspeed_engine_wrapped = None
