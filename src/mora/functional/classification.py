"""What the logits of a classifier say of one label."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def log_odds(logits: Float[Tensor, "B L"], label: int) -> Float[Tensor, " B"]:
    """``log p_l / (1 - p_l) = z_l - log sum_{k != l} exp z_k`` of labels that exclude each other, p their softmax.

    A softmax leaves a constant per row of its logits open; it cancels here.  Raises ValueError for a single label.
    """
    if logits.shape[-1] < 2:
        raise ValueError("log-odds need another label")
    others = [column for column in range(logits.shape[-1]) if column != label]
    return logits[:, label] - torch.logsumexp(logits[:, others], dim=-1)
