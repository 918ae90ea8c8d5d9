"""The optimizer step: the same update for one process, several, or ZeRO, and for any micro-batch size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn

from mora.errors import InputError
from mora.files import read_object
from mora.runtime.devices import Runtime
from mora.runtime.plain import PlainBackend
from mora.runtime.schedule import Schedule, factor, warmup_steps
from mora.runtime.zero import ZeroBackend

__all__ = ["Engine", "Runtime"]

STATE = "engine.json"


class Engine:
    """AdamW on the SUM of the losses of all micro-batches and ranks, clipped by global norm, on one schedule.

    ``param_groups`` are mappings with ``params``, ``lr`` and ``weight_decay``; together they hold every trainable
    parameter of ``module`` once.  ``steps`` counts updates (calls of ``step``), and ``warmup`` is a share of them.
    ``max_grad_norm`` 0 is no clipping.  Every forward that is differentiated goes through ``module``.  Raises
    ``ValueError`` for groups that do not cover the trainable parameters, and for a trainable parameter below fp32: a
    bf16 weight moves by about 1/256 of itself or not at all, which at a usual learning rate is not at all.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: nn.Module,
        param_groups: Sequence[Mapping[str, Any]],
        *,
        betas: tuple[float, float],
        eps: float,
        schedule: Schedule,
        warmup: float,
        steps: int,
        max_grad_norm: float,
    ) -> None:
        groups = [{**group, "params": list(group["params"])} for group in param_groups]
        self._shapes = _covered(module, groups)
        self._runtime = runtime
        self._schedule: dict[str, Any] = {"schedule": schedule, "warmup": warmup_steps(warmup, steps), "steps": steps}
        factor(0, **self._schedule)
        self._rates = [float(group["lr"]) for group in groups]
        module.to(runtime.device)
        if runtime.precision == "bf16":  # on the module itself, so that rollouts and updates compute alike
            module.forward = convert_outputs_to_fp32(runtime.autocast()(module.forward))
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(float(betas[0]), float(betas[1])), eps=eps)
        backend = ZeroBackend if runtime.accelerator.distributed_type == "DEEPSPEED" else PlainBackend
        self._backend: PlainBackend | ZeroBackend | None = backend(runtime, module, optimizer, max_grad_norm)
        self.unwrapped = module
        self.module = self._backend.module
        self.updates = 0

    def step(self, losses: Sequence[Callable[[], Tensor]]) -> dict[str, float]:
        """One update on the sum of ``losses`` over micro-batches and ranks; each call computes one micro-batch's loss.

        Every loss is already divided by the GLOBAL count it is a mean over.  Every rank gives the same number of
        losses.  Returns the summed loss, the gradient norm before clipping and the learning rate of the first group.
        Raises ``FloatingPointError`` on all ranks when a loss or the gradient is not finite; no update is kept then.
        """
        backend = self._open()
        self._runtime.within("update")
        rate = factor(self.updates, **self._schedule)
        for group, base in zip(backend.groups, self._rates, strict=True):
            group["lr"] = base * rate
        if not losses:
            raise ValueError("step needs at least one loss")
        values: list[Tensor] = []
        for number, loss in enumerate(losses, 1):
            value = loss()
            values.append(value.detach().reshape(()))
            backend.backward(value, last=number == len(losses))
        self._check_losses(values)
        total = float(self._runtime.sum(torch.stack(values).sum()))
        norm, where = backend.update()
        if not math.isfinite(norm):
            raise FloatingPointError(f"update {self.updates}: the gradient of {where} is not finite")
        self.updates += 1
        return {"loss": total, "grad_norm": norm, "lr": self._rates[0] * rate}

    def _check_losses(self, values: list[Tensor]) -> None:
        finite = torch.stack(values).isfinite()
        first = (~finite).int().argmax() if not finite.all() else torch.tensor(-1, device=finite.device)
        for rank, micro_batch in enumerate(self._runtime.gather(first.reshape(1)).tolist()):
            if micro_batch >= 0:
                raise FloatingPointError(
                    f"update {self.updates}: the loss of micro-batch {micro_batch} on rank {rank} is not finite"
                )

    def save(self, folder: Path) -> None:
        """Write trainable weights, optimizer state and schedule position; the caller makes ``folder`` durable."""
        backend = self._open()
        backend.save(folder)
        if self._runtime.main:
            state = {"kind": backend.kind, "world": self._runtime.world_size, "updates": self.updates}
            text = json.dumps(state | {"parameters": self._shapes}, indent=2)
            (folder / STATE).write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Restore exactly what ``save`` wrote; called by all ranks.

        Raises ``InputError`` when the state is of another launch kind or of other parameters.
        """
        backend = self._open()
        state = read_object(folder / STATE, ["kind", "world", "updates", "parameters"])
        if state["kind"] != backend.kind or (backend.kind == "zero" and state["world"] != self._runtime.world_size):
            raise InputError(
                f"{folder} was written by {state['world']} processes in mode {state['kind']} and cannot be continued "
                f"by {self._runtime.world_size} in mode {backend.kind}; launch as before, or set runtime.fresh=true"
            )
        if state["parameters"] != self._shapes:
            differing = sorted(
                n for n in {*state["parameters"], *self._shapes} if state["parameters"].get(n) != self._shapes.get(n)
            )
            raise InputError(
                f"{folder} holds other trainable parameters than the model (first: {differing[0]}, {len(differing)} in "
                "all); begin anew with runtime.fresh=true"
            )
        backend.load(folder)
        self.updates = int(state["updates"])

    def close(self) -> None:
        """Free optimizer state and wrappers, so that the next stage of the process has the memory; may be repeated."""
        if self._backend is None:
            return
        self._backend.close()
        self._backend = None
        self.module = self.unwrapped
        vars(self.unwrapped).pop("forward", None)
        self._runtime.accelerator.free_memory()  # collects garbage and empties the device's cache, too

    def _open(self) -> PlainBackend | ZeroBackend:
        if self._backend is None:
            raise RuntimeError("the engine is closed")
        return self._backend


def _covered(module: nn.Module, groups: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Names and shapes of the trainable parameters, once the groups are known to hold each of them once."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("the module has no trainable parameter")
    coarse = [name for name, p in trainable.items() if p.dtype.itemsize < torch.float32.itemsize]
    if coarse:
        raise ValueError(f"{coarse[0]} is trained in {trainable[coarse[0]].dtype}: load what is trained in fp32")
    given = [parameter for group in groups for parameter in group["params"]]
    identities = [id(parameter) for parameter in given]
    if len(set(identities)) != len(identities):
        raise ValueError("a parameter stands in param_groups twice")
    if any(not group["params"] for group in groups):
        raise ValueError("a group of param_groups is empty")
    missing = [name for name, p in trainable.items() if id(p) not in set(identities)]
    if missing:
        raise ValueError(f"trainable parameters in no group of param_groups: {', '.join(missing[:5])}")
    if len(given) != len(trainable):
        raise ValueError("param_groups hold parameters that are frozen or no part of the module")
    return {name: list(p.shape) for name, p in trainable.items()}
