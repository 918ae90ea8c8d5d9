"""Which seeds of two methods belong together."""

from __future__ import annotations

import pytest

from mora.evaluation.pairing import Origin, pairing


def method(**of_seeds: dict[str, str]) -> list[Origin]:
    return [Origin(seed=int(name[1:]), stands_on=given) for name, given in of_seeds.items()]


BOTH = method(s0={"data": "d0", "reward model": "r0"}, s1={"data": "d1", "reward model": "r1"})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (BOTH, "seeds paired (the same data, reward model)"),
        (BOTH[::-1], "seeds paired (the same data, reward model)"),
        (method(s0={"data": "d0", "reward model": "x"}, s1={"data": "d1"}), "seeds paired (the same data)"),
        (method(s0={"data": "d0"}, s1={"data": "x"}), "seeds not paired (equal seeds share neither data"),
        (method(s0={}, s1={}), "seeds not paired (equal seeds share neither data"),
        (method(s0={"data": "d0"}, s2={"data": "d1"}), "seeds not paired (0, 1 against 0, 2)"),
        (method(s0={"data": "d0"}), "seeds not paired (0, 1 against 0)"),
        ([BOTH[0], BOTH[0]], "seeds not paired (one has the same seed twice)"),
    ],
)
def test_seeds_are_paired_where_each_shares_something(other, said):
    for found in (pairing(BOTH, other), pairing(BOTH, other)):
        assert found.said.startswith(said) and found.paired == said.startswith("seeds paired")
