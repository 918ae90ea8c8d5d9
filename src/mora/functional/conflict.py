"""Whether objectives that share weights pull them the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def cosines(
    losses: Sequence[Callable[[], Sequence[Tensor]]],
    parameters: Sequence[Tensor],
    total: Callable[[Tensor], Tensor],
) -> list[list[float]]:
    """Cosine (M, M) between the gradients of M losses with respect to shared parameters.

    Each of ``losses`` gives the M losses of one micro-batch, which are summed over micro-batches; ``total`` sums a
    tensor over processes.  1 is the same direction, -1 the opposite one: a step for either then undoes the other's.
    NaN where a gradient is 0.
    """
    gathered = _gradients(losses[0](), parameters)
    for part in losses[1:]:
        gathered += _gradients(part(), parameters)
    gradients = total(gathered)
    products = gradients @ gradients.T
    norms = products.diagonal().sqrt()
    found: list[list[float]] = (products / norms[:, None] / norms).tolist()
    return found


def _gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """The gradients (M, N) of M losses with respect to all N numbers of the parameters."""
    rows = []
    for loss in losses:
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(parameter) if part is None else part).flatten().float()
                    for parameter, part in zip(parameters, parts, strict=True)
                ]
            )
        )
    return torch.stack(rows)
