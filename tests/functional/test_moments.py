from __future__ import annotations

import numpy as np
import pytest
import torch

from mora.functional.moments import Moments, decayed, merged, moments, nothing


def batches(sizes: list[int], far: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        far + torch.randn(size, 3, dtype=torch.float64, generator=generator) * (1 + i) for i, size in enumerate(sizes)
    ]


def test_merged_batches_have_the_moments_of_all_rows():
    parts = batches([5, 1, 8, 2])
    known = nothing(3)
    for part in parts:
        known = merged(known, moments(part))
    whole = torch.cat(parts).numpy()
    assert known.weight == 16.0
    np.testing.assert_allclose(known.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(known.variance, whole.var(0), rtol=1e-12)  # divisor n


def test_merging_is_symmetric_and_any_order_gives_the_same():
    one, two, three = (moments(part) for part in batches([5, 3, 7]))
    for a, b in (
        (merged(one, two), merged(two, one)),
        (merged(merged(one, two), three), merged(one, merged(two, three))),
    ):
        assert a.weight == b.weight
        torch.testing.assert_close(a.mean, b.mean)
        torch.testing.assert_close(a.variance, b.variance)


def test_a_batch_of_one_has_variance_0_and_is_not_nan():
    first = moments(torch.tensor([[2.0, -1.0]]))
    assert first.variance.tolist() == [0.0, 0.0]
    both = merged(first, moments(torch.tensor([[4.0, -1.0]])))
    assert both.mean.tolist() == [3.0, -1.0] and both.variance.tolist() == [1.0, 0.0]


def test_values_far_from_0_lose_no_digits():
    """E x^2 - (E x)^2 would: at 1e9 its rounding is 1e2."""
    parts = batches([50, 50], far=1e9)
    known = merged(moments(parts[0]), moments(parts[1]))
    np.testing.assert_allclose(known.variance, torch.cat(parts).numpy().var(0), rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99])
def test_a_moving_average_weighs_batches_by_their_age_from_the_first_on(decay):
    """Batch s of t has the weight ``decay^(t - s)`` of what the weights sum to: no bias toward a start."""
    parts = batches([4, 4, 4, 4, 4])
    known = nothing(3)
    for t, part in enumerate(parts):
        known = decayed(known, moments(part), decay)
        shares = np.array([decay ** (t - s) for s in range(t + 1)])
        shares = np.repeat(shares / shares.sum() / 4, 4)
        rows = torch.cat(parts[: t + 1]).numpy()
        mean = (shares[:, None] * rows).sum(0)
        np.testing.assert_allclose(known.mean, mean, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(known.variance, (shares[:, None] * (rows - mean) ** 2).sum(0), rtol=1e-10)
        assert known.weight == pytest.approx(1 - decay ** (t + 1))


def test_a_moving_average_forgets_and_does_not_count_rows():
    big, small = moments(torch.zeros(1000, 1)), moments(torch.tensor([[1.0], [3.0]]))
    known = decayed(decayed(nothing(1), big, 0.5), small, 0.5)
    assert known.mean.item() == pytest.approx(2 * 2 / 3)  # weights 1/4 and 1/2
    for _ in range(60):
        known = decayed(known, small, 0.5)
    assert known.mean.item() == pytest.approx(2.0) and known.variance.item() == pytest.approx(1.0)


def test_weights_need_not_be_counts():
    one, two = (
        Moments(0.25, torch.tensor([0.0]), torch.tensor([1.0])),
        Moments(0.75, torch.tensor([4.0]), torch.tensor([0.0])),
    )
    both = merged(one, two)
    assert (both.weight, both.mean.item(), both.variance.item()) == (1.0, 3.0, 0.25 + 16 * 3 / 16)
