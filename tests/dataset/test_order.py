from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.dataset import order
from mora.errors import InputError

SMALL = settings(max_examples=60, deadline=None)


def _sequence(batches: int, rows: int, size: int, seed: int) -> np.ndarray:
    return np.concatenate([order.batch(step, rows, size, seed) for step in range(batches)])


@SMALL
@given(rows=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 2**63))
def test_each_epoch_reads_every_row_once(rows, size, seed):
    epochs = 3
    sequence = _sequence(-(-epochs * rows // size), rows, size, seed)
    for epoch in range(epochs):
        piece = sequence[epoch * rows : (epoch + 1) * rows]
        assert sorted(piece) == list(range(rows))


@SMALL
@given(rows=st.integers(1, 40), size=st.integers(1, 20), step=st.integers(0, 30), seed=st.integers(0, 99))
def test_a_resumed_run_reads_what_the_uninterrupted_one_reads(rows, size, step, seed):
    through = _sequence(step + 1, rows, size, seed)
    order._permutation.cache_clear()  # a new process
    assert np.array_equal(order.batch(step, rows, size, seed), through[-size:])


@SMALL
@given(rows=st.integers(1, 30), size=st.integers(1, 8), factor=st.integers(2, 4))
def test_the_sequence_does_not_depend_on_the_batch_size(rows, size, factor):
    assert np.array_equal(_sequence(factor * 3, rows, size, 5), _sequence(3, rows, size * factor, 5))


def test_a_batch_crosses_the_border_of_an_epoch():
    # 5 rows in batches of 3: batch 1 is positions 3, 4, 5: the last two of epoch 0, the first of epoch 1.
    first, second = _sequence(1, 5, 5, seed=0), order.batch(1, 5, 5, seed=0)
    assert order.batch(1, 5, 3, seed=0).tolist() == [*first[3:], second[0]]


def test_epochs_and_seeds_differ():
    # 30 rows: two equal permutations by chance have probability 1/30!.
    orders = {tuple(order.batch(step, 30, 30, seed)) for step in range(5) for seed in range(5)}
    assert len(orders) == 25


def test_first_places_are_spread_evenly():
    # 4000 seeds, 4 rows: each row is first 1000 times on average, standard deviation sqrt(4000 * 3/16) = 27.4; 5 times.
    firsts = np.bincount([order.batch(0, 4, 1, seed)[0] for seed in range(4000)], minlength=4)
    assert abs(firsts - 1000).max() < 137


def _by_hand(rows: int, seed: int, epoch: int) -> list[int]:
    """The permutation in plain integers: rows sorted by the SplitMix64 finalizer of (seed, epoch, row)."""
    word, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & word
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & word
        return x ^ (x >> 31)

    key = mix((mix((seed + golden) & word) + epoch * golden + 1) & word)
    return sorted(range(rows), key=lambda row: mix((mix((key + row * golden) & word) + golden) & word))


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_the_order_is_the_same_on_every_machine(seed):
    # A change of it would change what a resumed run reads, so it is also written down.
    assert order.batch(0, 6, 6, seed=0).tolist() == [2, 3, 5, 4, 0, 1]
    for epoch in range(3):
        assert order.batch(epoch, 9, 9, seed).tolist() == _by_hand(9, seed, epoch)


def test_no_rows_is_said():
    with pytest.raises(InputError, match="no rows"):
        order.batch(0, 0, 4, seed=0)
