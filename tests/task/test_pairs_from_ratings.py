from __future__ import annotations

import itertools
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.dataset.pairing import Pairing, by_means
from mora.errors import InputError
from mora.task import parsing
from mora.task.comparing import by_annotators
from mora.types import Row


def scored(prompts=6, answers=4, seed=0, raters=1):
    draw = random.Random(seed)
    rows = []
    for p, a in itertools.product(range(prompts), range(answers)):
        rated = {name: [draw.randint(1, 4) for _ in range(raters)] for name in ("kind", "brief")}
        rated = {name: values if raters > 1 else values[0] for name, values in rated.items()}
        rows.append({"prompt": f"p{p}", "response": f"p{p} a{a}", **rated})
    return rows


def as_set(rows):
    """Pairs by their answers, whichever way round they stand: objective -> (better text or None, strength)."""
    found = {}
    for row in rows:
        said = {}
        for name in ("kind", "brief"):
            better = row[f"{name}_response_id"]
            said[name] = (None if better is None else row[f"response_{better}"], row.get(f"{name}_strength"))
        found[row["prompt"], frozenset((row["response_0"], row["response_1"]))] = said
    assert len(found) == len(rows)
    return found


def brute(rows, margin=0.0):
    found = {}
    for one, other in itertools.combinations(rows, 2):
        if one["prompt"] != other["prompt"]:
            continue
        said = {}
        for name in ("kind", "brief"):
            gap = one[name] - other[name]
            known = gap != 0 and abs(gap) >= margin
            said[name] = ((one if gap > 0 else other)["response"], abs(gap)) if known else (None, None)
        if any(better for better, _ in said.values()):
            found[one["prompt"], frozenset((one["response"], other["response"]))] = said
    return found


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_every_pair_of_a_prompt_is_made_as_by_hand(run, margin):
    rows = scored()
    found, counts = run("ratings_to_pairs", rows, margin=margin)
    assert as_set(found) == brute(rows, margin)
    total = 6 * 6
    assert len(found) + counts.not_made["pairs that no objective tells apart"] == total
    for row in found:
        for side in (0, 1):
            source = next(one for one in rows if one["response"] == row[f"response_{side}"])
            assert row[f"kind_rating_{side}"] == source["kind"]


@pytest.mark.parametrize("most", [None, 2])
def test_a_shuffled_file_gives_the_same_pairs(run, most):
    """Grouping of neighbors alone loses pairs without a word."""
    rows = scored(prompts=20)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert [r["prompt"] for r in shuffled[:3]] != [r["prompt"] for r in rows[:3]]
    first, _ = run("ratings_to_pairs", rows, most=most)
    second, _ = run("ratings_to_pairs", shuffled, most=most)
    assert sorted(map(repr, first)) == sorted(map(repr, second))


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize(("ties", "margin"), [("drop", 0.0), ("keep", 2.0)])
def test_the_pairs_are_those_of_a_source_of_scored_answers(run, most, ties, margin):
    rows = scored(prompts=10, raters=2)
    found, _ = run("ratings_to_pairs", rows, most=most, ties=ties, margin=margin)
    answers = [
        Row(prompt=r["prompt"], responses=(r["response"],), ratings={n: (tuple(r[n]),) for n in ("kind", "brief")})
        for r in rows
    ]
    expected = Pairing(most=most, margin=margin, ties=ties).pairs(answers, ("kind", "brief"))
    made = [parsing.parse_pair(row, parsing.pair_objectives(row)) for row in found]
    assert sorted((p.prompt, p.responses, repr(p.labels)) for p in made) == sorted(
        (row.prompt, row.responses, repr(row.labels)) for row in expected
    )


def test_at_most_so_many_pairs_of_a_prompt_whatever_else_is_in_the_file(run):
    rows = scored(prompts=8)
    every, _ = run("ratings_to_pairs", rows)
    few, counts = run("ratings_to_pairs", rows, most=2)
    alone, _ = run("ratings_to_pairs", rows[:4], most=2)
    assert {p for p, _ in as_set(few)} == {p for p, _ in as_set(every)}
    assert max(sum(r["prompt"] == p["prompt"] for r in few) for p in few) == 2
    assert [r for r in few if r["prompt"] == "p0"] == alone
    assert len(every) - len(few) == counts.not_made["pairs beyond task.most=2 of a prompt"]


def test_position_says_nothing_about_the_label(run):
    """Of 300 pairs as many prefer either place: within 4 standard deviations of half (8.7 each)."""
    rows = []
    for number in range(300):
        rows += [{"prompt": f"p{number}", "response": f"{n}", "kind": n} for n in (1, 2)]
    found, _ = run("ratings_to_pairs", rows)
    assert abs(sum(row["kind_response_id"] for row in found) - 150) < 35


def test_equal_ratings_are_dropped_or_kept(run):
    rows = [{"prompt": "p", "response": text, "kind": 2} for text in "ab"]
    found, counts = run("ratings_to_pairs", rows)
    assert found == [] and counts.not_made == {"pairs that no objective tells apart": 1}
    assert run("ratings_to_pairs", [rows[0], rows[1] | {"kind": 2.5}], margin=1.0)[0] == []
    (row,), _ = run("ratings_to_pairs", rows, ties="keep", margin=1.0)
    assert row["kind_response_id"] is None and row["kind_label"] == 0.5 and row["kind_strength"] == 0


def test_what_is_not_rated_or_alone_is_counted(run):
    rows = [
        {"prompt": "p", "response": "a", "kind": 2},
        {"prompt": "p", "response": "b", "kind": None},
        {"prompt": "q", "response": "a", "kind": 1},
        {"prompt": "q", "response": "b", "kind": 3},
        {"prompt": "q", "response": "b", "kind": 2},
        {"prompt": "q", "response": "c", "kind": "3"},
        {"prompt": "q", "kind": 3},
    ]
    found, counts = run("ratings_to_pairs", rows, objectives=["kind"])
    assert counts.left_out == {"not rated on any objective": 1, "the only answer to its prompt": 1}
    assert [(bad.where, bad.reason) for bad in counts.rejected] == [
        ("row 6", "'kind' must be a number, a list of numbers or null, not '3' (str)"),
        ("row 7", "field 'response' is missing"),
    ]
    assert any("1 rows repeat an answer" in note for note in counts.notes)
    (row,) = found
    better = row["kind_response_id"]
    assert row[f"response_{better}"] == "b" and row[f"kind_rating_{better}"] == [3, 2] and row["kind_strength"] == 1.5


def test_an_objective_that_no_row_has_is_told(run):
    with pytest.raises(InputError, match=r"'kinda' needs kinda; columns that exist: prompt, response, kind, brief"):
        run("ratings_to_pairs", scored(), objectives=["kinda"])


def test_disagreement_gives_the_share_of_comparisons_won(run):
    rows = scored(raters=3, seed=4)
    found, _ = run("disagreement", rows)
    assert len(found) == 6 * 6
    by_text = {row["response"]: row for row in rows}
    for row in found:
        one, other = by_text[row["response_0"]], by_text[row["response_1"]]
        for name in ("kind", "brief"):
            wins = [float(b > a) if b != a else 0.5 for a in one[name] for b in other[name]]
            assert row[f"{name}_label"] == pytest.approx(fmean(wins))
            assert (row[f"{name}_rating_0"], row[f"{name}_rating_1"]) == (one[name], other[name])
            assert row[f"{name}_strength"] == pytest.approx(abs(fmean(other[name]) - fmean(one[name])))
            hard = row[f"{name}_response_id"]
            assert hard == (None if row[f"{name}_label"] == 0.5 else int(row[f"{name}_label"] > 0.5))


def test_the_same_annotators_are_compared_one_by_one(run):
    rows = [{"prompt": "p", "response": "a", "k": [1, 5, 3]}, {"prompt": "p", "response": "b", "k": [2, 4, 3]}]
    (row,), _ = run("disagreement", rows, annotators="same")
    assert row["k_label"] == 0.5  # better, worse, the same
    (row,), _ = run("disagreement", [rows[0], rows[1] | {"k": [2, 6, 3]}], annotators="same")
    label = row["k_label"] if row["response_1"] == "b" else 1 - row["k_label"]
    assert label == pytest.approx(2.5 / 3)
    with pytest.raises(InputError, match="have [23] and [23] ratings"):
        run("disagreement", [rows[0], rows[1] | {"k": [2, 4]}], annotators="same")


RATINGS = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)


@settings(max_examples=100, deadline=None)
@given(RATINGS, RATINGS)
def test_labels_of_the_swapped_pair_are_the_complement(first, second):
    assert by_annotators(first, second) + by_annotators(second, first) == pytest.approx(1.0)
    assert by_means(first, second) + by_means(second, first) == 1.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"most": 0}, "task.most=0"), ({"margin": -1.0}, "task.margin"), ({"ties": "half"}, "task.ties=half")],
)
def test_options_out_of_range_are_refused(make_task, keys, message):
    with pytest.raises(InputError, match=message):
        make_task("ratings_to_pairs", **keys)
