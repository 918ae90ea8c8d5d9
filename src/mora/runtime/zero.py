"""DeepSpeed ZeRO-1 and ZeRO-2.  DeepSpeed is imported only when the launcher asked for it."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import DeepSpeedPlugin
from torch import Tensor, nn

from mora.errors import InputError, install_hint
from mora.runtime.pickles import check_pickles
from mora.settings import handed_on

if TYPE_CHECKING:
    from mora.runtime.devices import Runtime

TAG = "zero"
BUCKET = 2**26  # elements of one message between ranks
ALIGNED = 1024  # DeepSpeed refuses a bucket that its alignment (2 elements a process group) does not divide


def launched_with_deepspeed() -> bool:
    """Whether the launcher asked for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Write ``extra`` over ``base``, level by level."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def deepspeed_plugin(*, cpu: bool, extra: Mapping[str, Any]) -> DeepSpeedPlugin:
    """Accelerate's plugin: the launcher's DeepSpeed configuration, then what the engine needs, then ``extra``.

    Nothing is compiled on first use: the shared-memory operator is switched off on CPU, and the engine brings torch's
    AdamW.  Raises ``InputError`` when DeepSpeed is not installed, for an entry of ``extra`` that is not handed on, or
    for ZeRO stages other than 1 and 2.
    """
    handed_on.check("runtime.deepspeed", extra)
    if cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    try:
        operators = importlib.import_module("deepspeed.ops")
    except ImportError:
        raise InputError(
            f"the launcher asks for DeepSpeed, which is not installed; {install_hint('deepspeed')}"
        ) from None
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*all_gather_into_tensor.*", category=FutureWarning)
    if cpu:
        operators.__compatible_ops__["deepspeed_shm_comm"] = False
    plugin = DeepSpeedPlugin()
    config = plugin.deepspeed_config
    merge(
        config,
        {
            "train_micro_batch_size_per_gpu": 1,  # rows are counted by the engine, not by DeepSpeed
            "gradient_accumulation_steps": 1,
            "train_batch_size": "auto",
            "gradient_clipping": 0.0,  # written by each engine; DeepSpeed's own default is 1.0
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": False},  # weights stay in fp32; the engine's autocast chooses the arithmetic
            "fp16": {"enabled": False},
        },
    )
    merge(config, extra)
    plugin.hf_ds_config.set_stage_and_offload()
    stage = config["zero_optimization"]["stage"]
    if stage not in (1, 2):
        raise InputError(
            f"ZeRO stage {stage} is not supported; set zero_stage to 1 or 2 (launch/accelerate/zero2.yaml)"
        )
    plugin.zero_stage = stage
    return plugin


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
        self._engine.backward(loss * self._runtime.world, scale_wrt_gas=False)

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
