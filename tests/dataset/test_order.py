from __future__ import annotations

import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, spearmanr

from mora.dataset import order
from mora.errors import InputError
from mora.runtime.devices import Runtime

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
    # 1000 seeds, 4 rows: each row is first 250 times on average, standard deviation sqrt(1000 * 3/16) = 13.7; 5 times.
    firsts = np.bincount([order.batch(0, 4, 1, seed)[0] for seed in range(1000)], minlength=4)
    assert abs(firsts - 250).max() < 68


def _by_hand(rows: int, seed: int, epoch: int) -> list[int]:
    """The permutation in plain integers: a Feistel network whose rounds hash by SplitMix64, cycles walked."""
    word, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & word
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & word
        return x ^ (x >> 31)

    key = mix((mix((seed + golden) & word) + epoch * golden + 1) & word)
    bits = max((rows - 1).bit_length(), 1)
    low = bits - bits // 2

    def once(place: int) -> int:
        high, rest = place >> low, place & ((1 << low) - 1)
        for number in range(1, max(12, 144 // bits) + 1):
            round_key = (key + number * golden) & word
            if number % 2:
                high ^= mix(round_key ^ rest) & ((1 << (bits // 2)) - 1)
            else:
                rest ^= mix(round_key ^ high) & ((1 << low) - 1)
        return high << low | rest

    found = []
    for place in range(rows):
        place = once(place)
        while place >= rows:
            place = once(place)
        found.append(place)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_the_order_is_the_same_on_every_machine(seed):
    # A change of it would change what a resumed run reads, so it is also written down.
    assert order.batch(0, 6, 6, seed=0).tolist() == [3, 5, 4, 2, 0, 1]
    for rows in (1, 2, 9, 300):
        for epoch in range(3):
            assert order.batch(epoch, rows, rows, seed).tolist() == _by_hand(rows, seed, epoch)


@pytest.mark.parametrize("rows", [1, 2, 3, 17, 1000, 1024, 1025, 4096, 4097])
def test_an_epoch_is_a_permutation(rows):
    for seed in range(3):
        assert np.array_equal(np.sort(order.batch(seed, rows, rows, seed)), np.arange(rows))


def _keyed(count: int, places: list[int], rows: int) -> list[np.ndarray]:
    """Where ``count`` permutations put some places."""
    keys = order._keys(7, np.arange(count, dtype=np.uint64))
    return [order.permuted(np.full(count, place), rows, keys) for place in places]


def _chance(counts: np.ndarray) -> float:
    """Chance of counts at least as uneven where all outcomes are equally likely."""
    return float(chisquare(counts).pvalue)


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6])
def test_on_few_rows_every_order_is_equally_likely(rows):
    # Seeds are fixed, so the chances are numbers and no risk; the least of the five is 0.04.
    outcomes = math.factorial(rows)
    found = np.stack(_keyed(500 * outcomes, list(range(rows)), rows))
    codes = (found * rows ** np.arange(rows)[:, None]).sum(0)
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == outcomes and _chance(counts) > 0.001


@pytest.mark.parametrize("rows", [9, 16, 17, 33, 100])
def test_rows_are_at_any_place_and_beside_any_other(rows):
    # Two neighbors and the last place: all ordered pairs of rows are equally likely.
    first, second, last = _keyed(40 * rows * rows, [0, 1, rows - 1], rows)
    apart = ~np.eye(rows, dtype=bool).ravel()
    for one, other in ((first, second), (second, last)):
        assert _chance(np.bincount(one * rows + other, minlength=rows * rows)[apart]) > 0.001


@pytest.mark.parametrize("rows", [10**5, 2**17 + 1])
def test_a_long_order_has_no_visible_structure(rows):
    sequence = order.batch(0, rows, rows, seed=3)
    cells = (sequence * 20 // rows).reshape(-1)[: rows // 20 * 20]
    places = np.arange(len(cells)) * 20 // len(cells)
    assert _chance(np.bincount(places * 20 + cells)) > 0.001  # where rows of one part of the file go
    steps = np.diff(sequence) % rows  # from a row to the next: uniform on 1..rows-1, whatever the row
    assert _chance(np.bincount((steps - 1) * 50 // (rows - 1), minlength=50)) > 0.001
    assert _chance(np.bincount(steps % 16)) > 0.001
    assert abs(spearmanr(sequence[:-1], sequence[1:]).statistic) < 4 / rows**0.5
    assert abs(spearmanr(sequence, order.batch(1, rows, rows, seed=3)).statistic) < 4 / rows**0.5


def test_a_batch_costs_no_more_of_a_trillion_rows():
    tracemalloc.start()
    rows = 10**12
    chosen = order.batch(10**9, rows, 256, seed=0)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(chosen.tolist())) == 256 and chosen.min() >= 0 and chosen.max() < rows
    assert chosen.max() > rows // 2 and grown < 2**20


LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=40).map(np.array)


def _grouped(steps: range, lengths: np.ndarray, size: int, seed: int, window: int) -> list[np.ndarray]:
    return [order.grouped_batch(step, lengths, size, seed, window) for step in steps]


@SMALL
@given(lengths=LENGTHS, size=st.integers(1, 20), seed=st.integers(0, 99), window=st.integers(1, 5))
def test_grouped_batches_read_every_row_once_in_each_epoch(lengths, size, seed, window):
    rows, epochs = len(lengths), 3
    sequence = np.concatenate(_grouped(range(-(-epochs * rows // size)), lengths, size, seed, window))
    for epoch in range(epochs):
        assert sorted(sequence[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


@SMALL
@given(lengths=LENGTHS, size=st.integers(1, 20), seed=st.integers(0, 99), step=st.integers(0, 40))
def test_without_a_window_a_grouped_batch_is_the_batch(lengths, size, seed, step):
    assert np.array_equal(
        order.grouped_batch(step, lengths, size, seed, 1), order.batch(step, len(lengths), size, seed)
    )


@SMALL
@given(size=st.integers(1, 8), seed=st.integers(0, 99), window=st.integers(2, 6))
def test_a_window_holds_the_rows_of_its_batches_sorted_by_length(size, seed, window):
    lengths = np.random.default_rng(seed).integers(1, 9, size * window * 3)
    for start in range(0, 3 * window, window):
        steps = range(start, start + window)
        grouped = _grouped(steps, lengths, size, seed, window)
        plain = np.concatenate([order.batch(step, len(lengths), size, seed) for step in steps])
        expected = plain[np.argsort(lengths[plain], kind="stable")].reshape(window, size)  # ties as in the sequence
        assert sorted(map(sorted, grouped)) == sorted(map(sorted, expected.tolist()))
        for batch in grouped:  # rows of a batch stand as in the sequence, so that no process gets all short ones
            places = [plain.tolist().index(row) for row in batch]
            assert places == sorted(places)


def test_batches_of_a_window_come_in_any_order():
    # 600 windows of 3 batches of 2: each length is first 200 times on average, standard deviation 11.5.
    lengths = np.tile([1, 1, 2, 2, 3, 3], 600)
    shuffled = np.argsort(order.batch(0, 3600, 3600, seed=5))  # so that each window has two rows of each length
    lengths = lengths[shuffled]
    firsts = [lengths[order.grouped_batch(3 * window, lengths, 2, 5, 3)][0] for window in range(600)]
    assert abs(np.bincount(firsts)[1:] - 200).max() < 58


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("window", [1, 4])
def test_a_run_that_goes_on_in_mid_epoch_reads_the_same_rest_in_any_number_of_processes(processes, window, tmp_path):
    path = tmp_path / "lengths.i32"
    np.random.default_rng(0).integers(5, 500, 103).astype("<i4").tofile(path)
    lengths, total, size = np.fromfile(path, "<i4"), 40, 6
    through = np.concatenate(_grouped(range(total), lengths, size, 1, window))
    for done in (7, 18, 25):  # within a window, and within the second epoch
        read = []
        mapped = np.memmap(path, "<i4", mode="r")  # a new process
        for step in range(done, total):
            chosen = order.grouped_batch(step, mapped, size, 1, window)
            shares = []
            for rank in range(processes):
                runtime = object.__new__(Runtime)
                runtime.accelerator = SimpleNamespace(process_index=rank, num_processes=processes)
                shares.append(runtime.share(chosen))
            assert {len(share) for share in shares} == {size // processes}
            read.append(np.concatenate(shares))
        assert np.array_equal(np.concatenate(read), through[done * size :])


def test_lengths_are_grouped():
    lengths = np.random.default_rng(0).lognormal(5, 0.7, 20_000).astype(np.int32)

    def padding(window: int) -> float:
        chosen = [lengths[batch] for batch in _grouped(range(600), lengths, 32, 0, window)]
        return 1 - sum(some.sum() for some in chosen) / sum(some.max() * 32 for some in chosen)

    assert padding(1) > 0.6 and padding(50) < 0.1


def test_no_rows_is_said():
    with pytest.raises(InputError, match="no rows"):
        order.batch(0, 0, 4, seed=0)
    with pytest.raises(InputError, match="no rows"):
        order.grouped_batch(0, np.array([], dtype=np.int32), 4, seed=0, window=2)
