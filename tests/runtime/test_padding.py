from __future__ import annotations

import pytest
import torch
from torch import nn

from mora.runtime.padding import by_length


class Summed(nn.Module):
    """Sums under the mask, weighted by a parameter; keeps the shapes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(ids.shape))
        return self.weight * (ids * mask).sum(1)[:, None].double()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_sequences_are_read_by_length_and_given_back_in_their_order(size):
    lengths = torch.tensor([3, 7, 1, 7, 2])
    mask = torch.arange(8) < lengths[:, None]
    ids = torch.randint(1, 100, (5, 8), generator=torch.Generator().manual_seed(0))
    module, expected = Summed(), (ids * mask).sum(1)[:, None] * 2.0
    found = by_length(module, ids, mask, size)
    assert torch.equal(found, expected.double())
    found.sum().backward()
    assert module.weight.grad == (ids * mask).sum()
    ordered = sorted(lengths.tolist())
    parts = [ordered[start : start + size] for start in range(0, 5, size)]
    assert module.seen == ([(len(part), part[-1]) for part in parts] if size < 5 else [(5, 8)])
