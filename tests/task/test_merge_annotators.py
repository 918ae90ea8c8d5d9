from __future__ import annotations

import random
from statistics import fmean

import pytest

PAIR = {"prompt": "p", "response_0": "a", "response_1": "b"}


def flipped(row):
    other = row | {"response_0": row["response_1"], "response_1": row["response_0"]}
    for name, value in row.items():
        if name.endswith("_response_id") and value is not None:
            other[name] = 1 - value
    return other


def test_ratings_of_annotators_become_lists(run):
    rows = [
        {"prompt": "p", "response": "a", "kind": 3, "worker": "x", "source": "s"},
        {"prompt": "q", "response": "a", "kind": 1, "worker": "x", "source": "s"},
        {"prompt": "p", "response": "a", "kind": [5, 4], "worker": "y", "source": "t"},
        {"prompt": "p", "response": "a", "kind": None, "worker": "z", "source": "s"},
        {"prompt": "p", "response": "a", "kind": 9, "worker": "x", "source": "s"},
    ]
    found, counts = run("merge_annotators", rows, annotator="worker")
    assert found == [
        {"prompt": "p", "response": "a", "kind": [3, 5, 4]},
        {"prompt": "q", "response": "a", "kind": [1], "source": "s"},
    ]
    assert counts.left_out == {"the annotator has judged the same before": 1}
    assert any(note.endswith("differ between annotators: source") for note in counts.notes)


def test_labels_of_annotators_become_shares_whichever_way_round_the_pair_stands(run):
    draw = random.Random(3)
    rows = []
    for number in range(30):
        pair = PAIR | {"prompt": f"p{number % 6}"}
        rows.append(pair | {"kind_response_id": draw.choice([0, 1, None]), "brief_response_id": draw.choice([0, 1])})
    mixed = [rows[n] if n < 6 or n % 2 else flipped(rows[n]) for n in range(30)]
    found, _ = run("merge_annotators", mixed)
    assert len(found) == 6
    for row in found:
        for name in ("kind", "brief"):
            votes = [one[f"{name}_response_id"] for one in rows if one["prompt"] == row["prompt"]]
            votes = [vote for vote in votes if vote is not None]
            share = fmean(votes) if votes else None
            assert row[f"{name}_label"] == share and row[f"{name}_votes"] == len(votes)
            assert row[f"{name}_response_id"] == (None if share in (None, 0.5) else int(share > 0.5))


def test_strengths_count_against_the_better_answer_where_an_annotator_prefers_the_other(run):
    said = [(1, 2.0), (1, 1.0), (0, 1.5)]
    rows = [PAIR | {"kind_response_id": better, "kind_strength": by} for better, by in said]
    (row,), _ = run("merge_annotators", [rows[0], flipped(rows[1]), rows[2]])
    assert row["kind_label"] == pytest.approx(2 / 3) and row["kind_strength"] == pytest.approx(0.5)  # (2 + 1 - 1.5) / 3


def test_ratings_of_pairs_follow_their_answer(run):
    first = PAIR | {"kind_response_id": 1, "kind_rating_0": 2, "kind_rating_1": 5}
    second = flipped(PAIR) | {"kind_response_id": 0, "kind_rating_0": 4, "kind_rating_1": [1, 3]}
    (row,), _ = run("merge_annotators", [first, second])
    assert row["kind_rating_0"] == [2, 1, 3] and row["kind_rating_1"] == [5, 4] and row["kind_label"] == 1.0
