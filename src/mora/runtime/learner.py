"""Training steps: the optimizer's settings, the loop, and updates on summed losses of micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mora import bounds
from mora.bounds import Betas, NonNegative, Part
from mora.runtime.context import Context
from mora.runtime.engine import Engine
from mora.runtime.schedule import Schedule

Loss = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]
"""The loss of a micro-batch, divided by the global count it is a mean over, and sums over its rows to log."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW, its schedule and the gradient clip: ``algo.optimizer``.  Learning rates are the algorithm's own."""

    betas: Betas
    eps: NonNegative
    weight_decay: NonNegative
    schedule: Schedule
    warmup: Part
    max_grad_norm: NonNegative

    def __post_init__(self) -> None:
        bounds.check(self, "algo.optimizer")

    def engine(self, context: Context, module: nn.Module, groups: Sequence[Mapping[str, Any]], updates: int) -> Engine:
        """An engine for ``module``; a parameter group without ``weight_decay`` has the setting's."""
        return Engine(
            context.runtime,
            module,
            [{"weight_decay": self.weight_decay, **group} for group in groups],
            betas=self.betas,
            eps=self.eps,
            schedule=self.schedule,
            warmup=self.warmup,
            steps=updates,
            max_grad_norm=self.max_grad_norm,
        )


class Learner:
    """The steps of a run, each with ``updates`` updates of ``module``; resumed, kept and logged.

    ``groups`` are parameter groups of ``module`` with ``params`` and ``lr``, and ``weight_decay`` where it is not the
    optimizer's.  ``stateful`` is what else belongs into checkpoints, by name.
    """

    def __init__(
        self,
        context: Context,
        module: nn.Module,
        groups: Sequence[Mapping[str, Any]],
        optimizer: Optimizer,
        *,
        steps: int,
        updates: int = 1,
        stateful: Mapping[str, Any] | None = None,
    ) -> None:
        self._context = context
        self.engine = optimizer.engine(context, module, groups, steps * updates)
        self._loop = context.loop(self.engine, steps, stateful)

    @property
    def module(self) -> nn.Module:
        """What losses call, wrapped for data parallelism."""
        return self.engine.module

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._loop.done

    def steps(self) -> Iterator[int]:
        """The numbers of the steps still to do, as :meth:`mora.runtime.loop.Loop.steps`."""
        return self._loop.steps()

    def update(self, losses: Sequence[Loss]) -> tuple[dict[str, float], dict[str, Tensor]]:
        """One update on the sum of ``losses`` over micro-batches and processes, each called when its turn comes.

        Returns what the engine logs, and the sums that the losses gave, over everything.  Every process gives as many
        losses, and every loss that gives sums the same names and shapes.  Raises as :meth:`Engine.step`.
        """
        sums: dict[str, Tensor] = {}

        def counted(loss: Loss) -> Tensor:
            value, more = loss()
            for name, number in more.items():
                sums[name] = sums[name] + number.detach() if name in sums else number.detach()
            return value

        metrics = self.engine.step([lambda loss=loss: counted(loss) for loss in losses])  # type: ignore[misc]
        return metrics, self._over_processes(sums)

    def _over_processes(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not sums:
            return {}
        together = self._context.runtime.sum(torch.cat([number.reshape(-1) for number in sums.values()]))
        cut = together.split([number.numel() for number in sums.values()])
        return {name: part.view_as(sums[name]) for name, part in zip(sums, cut, strict=True)}

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write the row of this step: ``metrics`` and what was spent since the last row."""
        self._loop.log(dict(metrics) | self._context.usage.take(self._context.runtime))

    def close(self) -> None:
        """Let the optimizer's memory go."""
        self.engine.close()
