from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mora.functional.noise import Stream, hashed, normal, uniform

WORD = (1 << 64) - 1


def _finalized(x: int) -> int:
    """SplitMix64's finalizer in Python integers, which never overflow: written apart from the shipped one."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def _by_hand(seed: int, stream: int, *counters: int) -> float:
    step = 0x9E3779B97F4A7C15
    state = _finalized((_finalized((seed + step) & WORD) + stream) & WORD)
    for counter in counters:
        state = _finalized(((state ^ _finalized((counter + step) & WORD)) + step) & WORD)
    return ((state >> 11) + 0.5) / 2**53


def test_equals_the_same_mixing_in_python_integers():
    cases = [(0, 1, (0,)), (3, 2, (5, 7)), (-4, 1, (-1, 2**63 - 1)), (2**70 + 1, 5, (-(2**63), 0, 12)), (7, 3, ())]
    for seed, stream, counters in cases:
        assert float(uniform(seed, Stream(stream), *counters)) == _by_hand(seed, stream, *counters)


def test_tensors_and_integers_are_the_same_counters():
    rows = torch.tensor([0, -9, 2**63 - 1])
    drawn = uniform(11, Stream.GENERATION, 4, rows, 2)
    assert drawn.dtype == torch.float64
    assert drawn.tolist() == [_by_hand(11, 1, 4, row, 2) for row in rows.tolist()]


def test_is_uniform_on_the_open_interval():
    u = uniform(1, Stream.GENERATION, torch.arange(200_000)).numpy()
    assert 0 < u.min() < u.max() < 1
    # Standard errors: of the mean sqrt(1/12 / n) = 6.5e-4, of the variance sqrt(1/180 / n) = 1.7e-4.
    assert abs(u.mean() - 1 / 2) < 4 * 6.5e-4
    assert abs(u.var() - 1 / 12) < 4 * 1.7e-4
    assert stats.kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("axis", range(3), ids=["step", "row", "token"])
def test_neighboring_counters_are_not_correlated(axis):
    """Every counter that draws differ in: step, row, token."""
    counters = [torch.tensor(3), torch.tensor(5), torch.tensor(8)]
    counters[axis] = torch.arange(100_000)
    u = uniform(0, Stream.GENERATION, *counters).numpy() - 0.5
    for lag in (1, 2, 64):
        # An independent sequence has a correlation of standard deviation 1/sqrt(n) = 3.2e-3.
        assert abs(np.mean(u[:-lag] * u[lag:]) * 12) < 4 * 3.2e-3


def test_the_order_of_counters_matters():
    assert uniform(0, Stream.GENERATION, 1, 2) != uniform(0, Stream.GENERATION, 2, 1)
    assert uniform(0, Stream.GENERATION, 1) != uniform(0, Stream.GENERATION, 1, 0)


def test_streams_and_seeds_are_independent():
    counter = torch.arange(100_000)
    draws = [uniform(seed, stream, counter).numpy() for seed in (0, 1, 2) for stream in Stream]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert abs(np.mean((one - 0.5) * (other - 0.5)) * 12) < 5 * 3.2e-3


@pytest.mark.parametrize("seed", [0, 1])
def test_a_stream_never_draws_what_another_draws_at_another_step(seed):
    """Swapping the number of a stream with a counter gives other numbers, also at seed 0."""
    drawn = [float(uniform(seed, stream, step, 77, 0)) for stream in Stream for step in range(-2, 100)]
    drawn += [float(uniform(seed, stream, step, 77)) for stream in Stream for step in range(-2, 100)]
    assert len(set(drawn)) == len(drawn)


def test_pairs_of_counters_fill_the_square():
    """Steps times rows: a chi-square test on a 16 x 16 grid of (draw at step t, draw at step t + 1)."""
    grid = uniform(5, Stream.GENERATION, torch.arange(301)[:, None], torch.arange(300)[None, :]).numpy()
    cells = (np.floor(grid[:-1] * 16) * 16 + np.floor(grid[1:] * 16)).astype(int).ravel()
    assert stats.chisquare(np.bincount(cells, minlength=256)).pvalue > 1e-3


def test_broadcasts_without_regard_to_the_batch():
    rows, tokens = torch.tensor([10, 20, 30]), torch.arange(4)
    together = uniform(2, Stream.GENERATION, 7, rows[:, None], tokens[None, :])
    assert together.shape == (3, 4)
    for i, row in enumerate(rows.tolist()):
        for j, token in enumerate(tokens.tolist()):
            assert together[i, j] == uniform(2, Stream.GENERATION, 7, row, token)
    flipped = uniform(2, Stream.GENERATION, 7, rows.flip(0)[:, None], tokens[None, :])
    assert torch.equal(flipped.flip(0), together)


def test_hashes_of_many_rows_differ():
    rows = torch.arange(1000)
    words = hashed(0, Stream.ROW, rows[:, None], torch.arange(100)[None, :]).flatten()
    assert len(words.unique()) == 100_000  # a collision among 1e5 words of 64 bits has probability 3e-10


def test_normal_numbers_are_normal_and_belong_to_their_keys():
    rows = torch.arange(20_000)
    drawn = normal(0, Stream.SCORE, 3, rows)
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-3
    assert torch.equal(normal(0, Stream.SCORE, 3, rows[50:60]), drawn[50:60])
    assert abs(float(torch.corrcoef(torch.stack([drawn, normal(0, Stream.SCORE, 4, rows)]))[0, 1])) < 0.03
