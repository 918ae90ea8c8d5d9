"""Judgments of pairs, made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from mora.types import Judgments


def judgments(
    labels: Tensor,
    labelled: Tensor | None = None,
    *,
    strengths: Tensor | None = None,
    ratings: Tensor | None = None,
    rated: Tensor | None = None,
    row_ids: Tensor | None = None,
    objectives: tuple[str, ...] | None = None,
) -> Judgments:
    """Labels (B, M); everything is labelled, nothing is rated and all strengths are 1 unless said."""
    rows, columns = labels.shape
    given = torch.zeros(2, rows, columns, 0) if ratings is None else ratings
    return Judgments(
        objectives=objectives or tuple(f"kind{k}" for k in range(columns)),
        labels=labels,
        labelled=torch.ones_like(labels, dtype=torch.bool) if labelled is None else labelled,
        strengths=torch.ones_like(labels) if strengths is None else strengths,
        ratings=given,
        rated=torch.ones_like(given, dtype=torch.bool) if rated is None else rated,
        row_ids=torch.arange(rows) if row_ids is None else row_ids,
    )
