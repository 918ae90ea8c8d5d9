"""Who is behind the others, and since when."""

from __future__ import annotations

import pytest

from mora.runtime.watchdog import Lateness, Place


def places(*reached: int) -> dict[int, Place]:
    return {rank: Place(reached=count, what="step", long=False) for rank, count in enumerate(reached)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # seconds are counted from the moment that another process went ahead, not from the beginning of a long phase
        ([(0, (5, 5)), (100, (6, 5)), (104, (6, 5))], {1: 4}),
        ([(0, (6, 5)), (4, (6, 6)), (9, (6, 6))], {}),
        # whoever moves on is counted anew
        ([(0, (6, 5)), (4, (8, 6)), (9, (8, 6))], {1: 5}),
        ([(0, (5, 7, 6)), (3, (5, 7, 6)), (5, (5, 7, 7))], {0: 5}),
    ],
)
def test_seconds_behind(seen, expected):
    lateness = Lateness()
    for now, reached in seen:
        found = lateness.behind(places(*reached), float(now))
    assert found == expected
