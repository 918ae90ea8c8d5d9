from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from mora.dataset.pairing import Pairing
from mora.errors import InputError
from mora.types import Row


def _pairing(**keys):
    return Pairing(**({"most": None, "margin": 0.0, "ties": "drop"} | keys))


def _scored(prompt, answer, **ratings):
    return Row(prompt=prompt, responses=(answer,), ratings={name: (tuple(of),) for name, of in ratings.items()})


def _better(row, name):
    label = row.labels[name]
    return None if label is None else "tie" if label == 0.5 else row.responses[int(label)]


def test_every_two_answers_to_a_prompt_wherever_they_stand():
    rows = [_scored(f"p{p}", f"a{a}", x=[10 * p + a]) for p in range(7) for a in range(4)]
    Random(0).shuffle(rows)
    found = {(row.prompt, frozenset(row.responses)) for row in _pairing().pairs(rows, ("x",))}
    assert found == {
        (f"p{p}", frozenset(pair)) for p in range(7) for pair in combinations([f"a{a}" for a in range(4)], 2)
    }


def test_the_answer_of_the_higher_mean_rating_is_the_better_one():
    rows = [
        _scored("p", "low", x=[0, 1], y=[4]),
        _scored("p", "high", x=[2, 4], y=[4]),
        _scored("p", "unrated", y=[1]),
    ]
    found = {frozenset(row.responses): row for row in _pairing().pairs(rows, ("x", "y"))}
    both = found[frozenset(("low", "high"))]
    assert _better(both, "x") == "high" and both.labels["y"] is None  # equal: not labelled, the ratings stay
    assert both.ratings["x"][both.responses.index("high")] == (2, 4)
    other = found[frozenset(("low", "unrated"))]
    assert other.labels["x"] is None and _better(other, "y") == "low"


def test_ties_are_dropped_or_kept():
    rows = [_scored("p", "a", x=[1.0]), _scored("p", "b", x=[1.2]), _scored("p", "c", x=[3.0])]
    assert len(list(_pairing().pairs(rows, ("x",)))) == 3
    assert len(list(_pairing(margin=0.5).pairs(rows, ("x",)))) == 2
    kept = {frozenset(r.responses): r for r in _pairing(margin=0.5, ties="keep").pairs(rows, ("x",))}
    assert (
        len(kept) == 3 and _better(kept[frozenset("ab")], "x") == "tie" and _better(kept[frozenset("ac")], "x") == "c"
    )


def test_ratings_of_one_answer_in_several_rows_are_taken_together():
    rows = [_scored("p", "a", x=[1]), _scored("p", "b", x=[2]), _scored("p", "a", x=[5], y=[0])]
    (pair,) = _pairing().pairs(rows, ("x", "y"))
    assert _better(pair, "x") == "a" and sorted(pair.ratings["x"]) == [(1, 5), (2,)]
    assert pair.ratings["y"][pair.responses.index("a")] == (0,)


def test_the_pairs_that_are_kept_do_not_depend_on_the_order():
    rows = [_scored("p", f"a{a}", x=[a]) for a in range(8)]
    chosen = {row.responses for row in _pairing(most=5).pairs(rows, ("x",))}
    assert len(chosen) == 5 and chosen == {row.responses for row in _pairing(most=5).pairs(rows[::-1], ("x",))}


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"most": 0}, "most=0"), ({"margin": -1.0}, "margin=-1.0"), ({"ties": "half"}, "ties=half: must be drop or keep")],
)
def test_a_setting_without_meaning_is_refused(keys, message):
    with pytest.raises(InputError, match=message):
        _pairing(**keys)
