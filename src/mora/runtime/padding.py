"""Reading sequences of different lengths with little padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def by_length(module: nn.Module, ids: Tensor, mask: Tensor, size: int, *, features: Tensor | None = None) -> Tensor:
    """Outputs (B, ...) of ``module`` for right-padded sequences (B, L), in their order.

    The sequences are read from short to long, ``size`` at a time, each part padded to its own longest; in one part they
    are read as they are, and where their ``features`` (B, H) are known not at all.
    """
    if features is not None or len(ids) <= size:
        outputs: Tensor = module(ids, mask) if features is None else module(ids, mask, features=features)
        return outputs
    lengths = mask.sum(1)
    order = lengths.argsort(stable=True)
    widths = lengths[order].tolist()
    parts = [
        module(ids[some, :width], mask[some, :width])
        for some, width in zip(order.split(size), widths[size - 1 :: size] + widths[-1:], strict=False)
    ]
    return torch.cat(parts)[order.argsort()]
