from __future__ import annotations

import math

import pytest
import torch

from mora.functional.conflict import cosines


def test_cosines_are_those_of_the_summed_gradients() -> None:
    shared = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)]
    idle = torch.tensor([1.0], requires_grad=True)

    # Gradients over both parts: (2, 0, 0), (-2, 2, 0) and (0, 0, 4); the first two have the cosine -1 / sqrt(2).
    def part() -> list[torch.Tensor]:
        return [shared[0][0], shared[0][1] - shared[0][0], 2 * shared[1].sum()]

    expected = [[1, -1 / math.sqrt(2), 0], [-1 / math.sqrt(2), 1, 0], [0, 0, 1]]
    for at_once in (100, 9, 1):  # all parameters together, in two groups, and each alone
        found = cosines([part, part], [*shared, idle], lambda tensor: tensor, count=3, at_once=at_once)
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))


def test_no_more_gradients_are_held_than_asked() -> None:
    shared = [torch.ones(4, requires_grad=True) for _ in range(6)]
    held = []

    def total(gradients: torch.Tensor) -> torch.Tensor:
        held.append(gradients.numel())
        return gradients

    def part() -> list[torch.Tensor]:
        passes.append(1)
        return [sum((w**2).sum() for w in shared), sum(w.sum() for w in shared)]

    passes: list[int] = []
    assert cosines([part, part], shared, total, count=2, at_once=16)[0][1] == pytest.approx(1)
    assert held == [8] * 6 and len(passes) == 2 * 3  # two parameters of two losses fit: three groups


def test_parts_and_processes_are_summed_before_the_cosine_is_taken() -> None:
    w = torch.zeros(2, requires_grad=True)
    parts = [lambda: [w[0], w[1]], lambda: [w[1], w[0]]]  # each alone: cosine 0; their sums are the same
    assert cosines(parts, [w], lambda tensor: tensor, count=2, at_once=9)[0][1] == pytest.approx(1)
    other = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # what another process has
    assert cosines(parts[:1], [w], lambda tensor: tensor + other, count=2, at_once=9)[0][1] == pytest.approx(
        1 / math.sqrt(2)
    )


def test_a_gradient_of_zero_has_no_direction() -> None:
    w = torch.ones(1, requires_grad=True)
    found = cosines([lambda: [w.sum(), 0 * w.sum()]], [w], lambda tensor: tensor, count=2, at_once=9)
    assert found[0][0] == pytest.approx(1) and math.isnan(found[0][1])
