"""How Accelerate is told of DeepSpeed, which is imported only when the launcher asked for it."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

from accelerate import DeepSpeedPlugin

from mora.errors import InputError, install_hint
from mora.settings import handed_on


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
