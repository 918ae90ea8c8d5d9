from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows
from mora.reward.reference import apportioned, reference_prompts
from mora.types import Row


def _rows(**sizes: int) -> list[Row]:
    """Prompts in the order of files, as a folder of several gives them."""
    return [
        Row(prompt=f"{name} {number}", where=f"{name}.jsonl:{number}")
        for name, size in sizes.items()
        for number in range(1, size + 1)
    ]


def _counts(rows) -> dict[str, int]:
    return dict(Counter(row.where.split(".")[0] for row in rows))


def test_sources_in_file_order_are_drawn_in_proportion():
    # The first 256 of these rows are of one file alone.
    assert _counts(reference_prompts(_rows(harmless=400, helpful=400), 256)) == {"harmless": 128, "helpful": 128}
    assert _counts(reference_prompts(_rows(a=600, b=150, c=50), 256)) == {"a": 192, "b": 48, "c": 16}
    assert _counts(reference_prompts(_rows(a=2, b=2, c=1), 4)) in ({"a": 2, "b": 1, "c": 1}, {"a": 2, "b": 2})


def test_a_source_is_drawn_over_its_whole_length():
    places = [int(row.prompt.split()[1]) for row in reference_prompts(_rows(a=1000), 100)]
    assert places == sorted(places)
    for start in range(0, 1000, 250):  # of each quarter 25 are expected, with a deviation of 4
        assert 10 <= sum(start < place <= start + 250 for place in places) <= 40


def test_the_order_of_rows_has_no_say_in_what_is_drawn():
    rows = _rows(a=90, b=30)
    mixed = list(rows)
    random.Random(1).shuffle(mixed)
    assert {row.prompt for row in reference_prompts(mixed, 40)} == {row.prompt for row in reference_prompts(rows, 40)}


def test_more_prompts_keep_those_that_were_drawn_before():
    few, many = (reference_prompts(_rows(a=100, b=100), count) for count in (20, 60))
    assert {row.prompt for row in few} <= {row.prompt for row in many}


def test_all_prompts_where_there_are_no_more(tmp_path):
    rows = _rows(a=3)
    assert list(reference_prompts(rows, 3)) == list(reference_prompts(rows, 9)) == rows
    assert list(reference_prompts([], 4)) == []


def test_a_copied_prompt_counts_as_often_as_it_stands_there():
    drawn = reference_prompts([row for row in _rows(a=50) for _ in range(4)], 100)
    assert len(drawn) == 100 and len({row.prompt for row in drawn}) > 35  # 25 if copies were drawn together


def test_rows_in_files_give_the_same_prompts_as_rows_in_memory(tmp_path):
    rows = _rows(a=40, b=20)
    with RowWriter(tmp_path / "rows", ()) as writer:
        for row in rows:
            writer.add(row)
    assert list(reference_prompts(StoredRows.open(tmp_path / "rows"), 12)) == list(reference_prompts(rows, 12))


@pytest.mark.parametrize("sizes", [[400, 400], [1, 1, 1], [7, 5, 3, 1], [1000, 1], [0, 4, 9]])
def test_places_go_by_share_and_add_up(sizes):
    for count in range(sum(sizes) + 1):
        granted = apportioned(np.array(sizes), count)
        assert granted.sum() == count
        for size, got in zip(sizes, granted.tolist(), strict=True):
            assert abs(got - Fraction(size * count, sum(sizes))) < 1 and 0 <= got <= size
