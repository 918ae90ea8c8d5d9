"""Whether objectives that share weights pull them the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def cosines(
    losses: Sequence[Callable[[], Sequence[Tensor]]],
    parameters: Sequence[Tensor],
    total: Callable[[Tensor], Tensor],
    *,
    count: int,
    at_once: int,
) -> list[list[float]]:
    """Cosine (M, M) between the gradients of ``count`` (M) losses with respect to shared parameters, as
    :func:`products` takes them.

    1 is the same direction, -1 the opposite one: a step for either then undoes the other's.  NaN where a gradient is 0.
    """
    found = products(losses, parameters, total, count=count, at_once=at_once)
    norms = found.diagonal().sqrt()
    cosine: list[list[float]] = (found / norms[:, None] / norms).tolist()
    return cosine


def products(
    losses: Sequence[Callable[[], Sequence[Tensor]]],
    parameters: Sequence[Tensor],
    total: Callable[[Tensor], Tensor],
    *,
    count: int,
    at_once: int,
) -> Tensor:
    """Inner products (M, M) of the gradients of ``count`` (M) losses with respect to shared parameters.

    Each of ``losses`` gives the M losses of one micro-batch, which are summed over micro-batches; ``total`` sums a
    tensor over processes.

    At most ``at_once`` numbers of summed gradients are held (or those of one parameter): where the parameters have
    more, they are taken in groups, each of which costs passes of its own.
    """
    found = torch.zeros(count, count, dtype=torch.float64, device=parameters[0].device)
    for group in _groups(parameters, at_once // count):
        gathered = [w.new_zeros(count, w.numel(), dtype=torch.float32) for w in group]
        for part in losses:
            _add_gradients(part(), group, gathered)
        for gradients in map(total, gathered):
            found += (gradients @ gradients.T).double()
    return found


def _groups(parameters: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """Consecutive parameters, with at most ``most`` numbers or one parameter in each group."""
    groups: list[list[Tensor]] = []
    size = 0
    for parameter in parameters:
        if not groups or size + parameter.numel() > most:
            groups.append([])
            size = 0
        groups[-1].append(parameter)
        size += parameter.numel()
    return groups


def _add_gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    """Add to ``found``, of each parameter with n numbers (M, n), the gradients of M losses; their graph is used up."""
    for row, loss in enumerate(losses):
        last = row == len(losses) - 1
        parts = torch.autograd.grad(loss, parameters, retain_graph=not last, allow_unused=True)
        for rows, part in zip(found, parts, strict=True):
            if part is not None:
                rows[row] += part.flatten()
