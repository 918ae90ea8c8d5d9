"""What settings may hand on to W&B and to DeepSpeed: a list of names for each.

Other arguments of theirs send the user's key elsewhere, start programs, import modules, or write wherever a file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mora.errors import InputError
from mora.settings.identity import flatten

WANDB: tuple[str, ...] = (
    "group",
    "job_type",
    "notes",
    *(f"settings.{name}" for name in ("init_timeout", "login_timeout", "finish_timeout", "summary_timeout")),
    *(f"settings.{name}" for name in ("quiet", "silent", "show_colors", "show_emoji", "show_info", "show_warnings")),
    *(f"settings.{name}" for name in ("show_errors", "console", "console_multipart", "label_disable")),
    *(f"settings.{name}" for name in ("disable_code", "disable_git", "x_disable_meta", "x_disable_stats")),
    *(f"settings.{name}" for name in ("x_disable_machine_info", "x_label", "x_stats_sampling_interval")),
)
"""Arguments of ``wandb.init`` below ``tracker.kwargs``; project, entity, mode and tags have keys of their own."""

DEEPSPEED: tuple[str, ...] = (
    *(f"zero_optimization.{name}" for name in ("stage", "overlap_comm", "contiguous_gradients", "reduce_scatter")),
    *(f"zero_optimization.{name}" for name in ("reduce_bucket_size", "allgather_bucket_size", "allgather_partitions")),
    *(f"zero_optimization.{name}" for name in ("round_robin_gradients", "use_multi_rank_bucket_allreduce")),
    *(f"zero_optimization.{name}" for name in ("elastic_checkpoint", "ignore_unused_parameters")),
    *(f"zero_optimization.offload_optimizer.{name}" for name in ("device", "pin_memory", "ratio", "fast_init")),
    *(f"bf16.{name}" for name in ("enabled", "immediate_grad_update", "check_grad_overflow")),
    *(f"fp16.{name}" for name in ("enabled", "auto_cast", "loss_scale", "initial_scale_power", "loss_scale_window")),
    *(f"fp16.{name}" for name in ("hysteresis", "min_loss_scale", "consecutive_hysteresis")),
    *(f"activation_checkpointing.{name}" for name in ("partition_activations", "cpu_checkpointing", "profile")),
    *(f"activation_checkpointing.{name}" for name in ("contiguous_memory_optimization", "number_checkpoints")),
    "activation_checkpointing.synchronize_checkpoint_boundary",
    "data_types.grad_accum_dtype",
    "communication_data_type",
    "prescale_gradients",
    "gradient_predivide_factor",
    "disable_allgather",
    "zero_allow_untested_optimizer",
    "steps_per_print",
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
)
"""Entries of DeepSpeed's configuration below ``runtime.deepspeed``."""

LISTED: Mapping[str, tuple[Sequence[str], str]] = {
    "tracker.kwargs": (WANDB, "W&B reads everything else from the environment (WANDB_BASE_URL and its like)"),
    "runtime.deepspeed": (DEEPSPEED, "everything else belongs into the launcher's own DeepSpeed configuration"),
}
"""Sections with such a list, and where the user sets the rest."""


def problems(section: str, values: Mapping[str, Any]) -> list[str]:
    """A line for each key of a section that is not on its list."""
    listed, elsewhere = LISTED[section]
    odd = [key for key, value in flatten(values).items() if key not in listed and value != {}]
    return [f"{section}.{key}: is not handed on; there are {', '.join(listed)}; {elsewhere}" for key in odd]


def check(section: str, values: Mapping[str, Any]) -> None:
    """Raises InputError for the first of them."""
    for problem in problems(section, values):
        raise InputError(problem)
