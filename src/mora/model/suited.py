"""What suits a model of its size: learning rates, batch sizes and the shape of a steered adapter.

The YAMLs of algorithms and adapters refer to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mora import bounds
from mora.bounds import Count, NonNegative
from mora.model.svd_lora import Zero


@dataclass(kw_only=True)
class Rates:
    """Peak learning rates (``${model.rates.full}``)."""

    full: NonNegative  # all weights, in fine-tuning
    trunk: NonNegative  # all weights of a reward model's trunk
    lora: NonNegative  # LoRA adapters of a policy or of a reward model
    head: NonNegative
    policy: NonNegative  # all weights of a policy that rewards train
    adapter: NonNegative  # U and V of a steered policy's adapter
    singular: NonNegative
    critic: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "model.rates")


@dataclass(kw_only=True)
class Sizes:
    """Batch sizes (``${model.sizes.pairs}``)."""

    supervised: Count  # answers of an optimizer step of fine-tuning
    pairs: Count  # pairs of an optimizer step of a reward model
    prompts: Count  # prompts of a rollout
    micro_batch: Count | None  # rows of a pass where runtime.micro_batch is null; None: all of a process at once

    def __post_init__(self) -> None:
        bounds.check(self, "model.sizes")


@dataclass(kw_only=True)
class Steering:
    """The shape of a steered policy's adapter (``${model.steering.rank}``)."""

    rank: Count  # free singular values
    objective_rank: Count  # singular values of each objective
    zero: Zero

    def __post_init__(self) -> None:
        bounds.check(self, "model.steering")
