from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from mora.errors import InputError
from mora.functional.covariance import SUMS, Moments, check_rows, condition_number, pooled

FP64 = torch.float64


def correlated(rows: int, dim: int, seed: int) -> Tensor:
    """Rows of unequal, correlated features around a mean that is not 0; skewed, so that fourth norms matter."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=FP64)
    return torch.randn(rows, dim, generator=generator, dtype=FP64).exp() @ mixing + mixing[0]


def moments(rows: Tensor, shift: Tensor | None = None, weights: Tensor | None = None) -> Moments:
    result = Moments.empty(rows.shape[1], torch.zeros(rows.shape[1]) if shift is None else shift)
    result.add(rows, weights)
    return result


def assert_ledoit_wolf(got: tuple[Tensor, float], rows: Tensor) -> None:
    want = LedoitWolf().fit(rows.numpy())
    assert abs(got[1] - want.shrinkage_) < 1e-10
    np.testing.assert_allclose(got[0].numpy(), want.covariance_, rtol=1e-10, atol=1e-10 * want.covariance_.max())


@pytest.mark.parametrize(("rows", "dim"), [(500, 8), (40, 30), (12, 30), (50, 1)])
def test_one_pass_ledoit_wolf_equals_scikit_learn(rows: int, dim: int) -> None:
    values = correlated(rows, dim, seed=rows)
    assert_ledoit_wolf(moments(values).ledoit_wolf(), values)


def test_shrinkage_stops_at_a_multiple_of_the_identity() -> None:
    # Rows +-e_i, the first longer by a tenth: C is nearly I / 4, so delta (1e-3) is below beta (2e-2) and alpha is 1.
    half = torch.diag(torch.tensor([1.1, 1.0, 1.0, 1.0], dtype=FP64))
    values = torch.cat([half, -half])
    covariance, alpha = moments(values).ledoit_wolf()
    assert alpha == 1.0
    assert_ledoit_wolf((covariance, alpha), values)
    torch.testing.assert_close(covariance, (1.21 + 3) / 16 * torch.eye(4, dtype=FP64))  # tr C = 2 (1.21 + 3) / 8


def test_mean_and_covariance_equal_two_passes() -> None:
    values = correlated(70, 6, seed=1)
    got = moments(values, shift=values[:5].mean(0).float())
    np.testing.assert_allclose(got.mean.numpy(), values.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.covariance.numpy(), np.cov(values.numpy().T, ddof=0), rtol=1e-11)


@pytest.mark.parametrize("borders", [(0, 90), (1, 2), (45, 46), (30, 60)])
def test_parts_in_any_split_join_to_the_whole(borders: tuple[int, int]) -> None:
    values = correlated(90, 7, seed=2)
    shift = values[0]
    first, second, third = (moments(part, shift) for part in values.tensor_split(borders))
    whole = moments(values, shift).ledoit_wolf()
    for joined in ((first + second) + third, first + (second + third), third + first + second):
        covariance, alpha = joined.ledoit_wolf()
        torch.testing.assert_close(covariance, whole[0], rtol=1e-12, atol=1e-12)
        assert math.isclose(alpha, whole[1], rel_tol=1e-11)
        assert torch.equal(joined.shift, shift)


def test_batches_and_sums_of_processes_join_to_the_whole() -> None:
    values = correlated(64, 5, seed=3)
    parts = [Moments.empty(5, values[0]) for _ in range(2)]
    for number, batch in enumerate(values.split(7)):
        parts[number % 2].add(batch)
    mine, other = parts[0].tensors(), parts[1].tensors()
    for name in SUMS:  # what an all-reduce does, in place
        mine[name] += other[name]
    assert parts[0].count == 64
    assert_ledoit_wolf(parts[0].ledoit_wolf(), values)


def test_moments_from_stored_tensors_continue_on_their_own() -> None:
    values = correlated(40, 4, seed=4)
    first = moments(values[:20], shift=values[0])
    stored = first.tensors()
    continued = Moments.of(stored)
    continued.add(values[20:])
    assert first.count == 20 and continued.count == 40
    assert_ledoit_wolf(continued.ledoit_wolf(), values)
    with pytest.raises(ValueError, match="'q2'"):
        Moments.of({name: value for name, value in stored.items() if name != "q2"})
    with pytest.raises(ValueError, match="'outer'"):
        Moments.of(stored | {"outer": stored["outer"].float()})


def test_a_large_common_offset_does_not_cancel() -> None:
    # Spread 1 around 1e6: a^2 is near 1e25 and fp64 holds 16 digits, so unshifted fourth norms are noise.
    values = correlated(200, 5, seed=5)
    far = values + 1e6
    covariance, alpha = moments(far, shift=far[:10].mean(0)).ledoit_wolf()
    want, want_alpha = moments(values).ledoit_wolf()
    torch.testing.assert_close(covariance, want, rtol=1e-8, atol=1e-8)
    assert math.isclose(alpha, want_alpha, rel_tol=1e-7)
    assert not math.isclose(moments(far).ledoit_wolf()[1], want_alpha, rel_tol=0.1)


def test_a_rough_shift_changes_nothing() -> None:
    values = correlated(60, 5, seed=6)
    want = moments(values).ledoit_wolf()
    got = moments(values, shift=torch.tensor([3.0, -1.0, 0.5, 2.0, -4.0])).ledoit_wolf()
    torch.testing.assert_close(got[0], want[0], rtol=1e-11, atol=1e-11)
    assert math.isclose(got[1], want[1], rel_tol=1e-10)


def test_weights_are_frequencies() -> None:
    values = correlated(50, 4, seed=7)
    times = torch.arange(50) % 4
    got = moments(values, weights=times.float())
    repeated = values.repeat_interleave(times, dim=0)
    assert got.count == len(repeated)
    torch.testing.assert_close(got.mean, repeated.mean(0))
    assert_ledoit_wolf(got.ledoit_wolf(), repeated)


def test_rows_of_low_precision_are_summed_in_float64() -> None:
    values = correlated(300, 4, seed=8).bfloat16()
    got = moments(values)
    assert {value.dtype for value in got.tensors().values()} == {FP64}
    assert_ledoit_wolf(got.ledoit_wolf(), values.double())


def test_constant_rows_have_no_covariance_and_no_shrinkage() -> None:
    covariance, alpha = moments(torch.full((6, 3), 2.0)).ledoit_wolf()
    assert covariance.tolist() == [[0.0] * 3] * 3 and alpha == 0.0


def test_two_rows_leave_nothing_to_shrink() -> None:
    # Both lie at the same distance from their mean, so F / N = ||C||^2 and beta is 0, up to rounding on either side.
    for seed in range(20):
        alpha = moments(correlated(2, 5, seed=seed)).ledoit_wolf()[1]
        assert 0.0 <= alpha < 1e-12, seed


def test_pooled_covariance_centers_each_class_and_divides_by_all_rows() -> None:
    a, b = correlated(40, 6, seed=9), correlated(25, 6, seed=10) - 20.0
    got = pooled(moments(a, shift=a[0]), moments(b, shift=b[0]))
    assert_ledoit_wolf(got, torch.cat([a - a.mean(0), b - b.mean(0)]))
    features, classes = torch.cat([a, b]).numpy(), np.repeat([0, 1], [40, 25])
    within = LinearDiscriminantAnalysis(store_covariance=True).fit(features, classes).covariance_
    target = np.trace(within) / 6 * np.eye(6)
    np.testing.assert_allclose(got[0].numpy(), (1 - got[1]) * within + got[1] * target, rtol=1e-10, atol=1e-10)


def test_condition_number() -> None:
    rotation = torch.linalg.qr(correlated(3, 3, seed=11))[0]
    spectrum = rotation @ torch.diag(torch.tensor([4.0, 1.0, 0.5], dtype=FP64)) @ rotation.T
    assert math.isclose(condition_number(spectrum), 8.0, rel_tol=1e-12)
    assert condition_number(torch.diag(torch.tensor([1.0, 0.0], dtype=FP64))) == math.inf


def test_rows_are_refused_or_warned_of_by_their_number_per_feature() -> None:
    with pytest.raises(InputError, match=r"19 rows of 100 features.*\(20\)"):
        check_rows(19, 100)
    assert "20 rows of 100 features" in str(check_rows(20, 100))
    assert "(200)" in str(check_rows(199.0, 100))
    assert check_rows(200, 100) is None


def test_bad_moments_are_refused() -> None:
    empty = Moments.empty(2, torch.zeros(2))
    with pytest.raises(ValueError, match="0 rows"):
        empty.ledoit_wolf()
    with pytest.raises(ValueError, match="same shift"):
        empty + Moments.empty(2, torch.ones(2))
    with pytest.raises(ValueError, match=r"\(B, 2\)"):
        empty.add(torch.zeros(4, 1))
    with pytest.raises(ValueError, match="at least 0"):
        empty.add(torch.zeros(2, 2), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="shift of 3 features"):
        Moments.empty(3, torch.zeros(2))
    empty.add(torch.tensor([[1.0, math.inf]]))
    with pytest.raises(ValueError, match="not finite"):
        empty.ledoit_wolf()
