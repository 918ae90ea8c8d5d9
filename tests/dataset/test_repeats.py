"""Repeated and contradictory pairs, and rated answers that stand alone: counted, said, and used where they can be."""

from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from tests.dataset.examples import source

from mora.dataset import collate
from mora.dataset.repeats import Repeats
from mora.task.describing import of_pairs
from mora.task.parsing import Pair
from mora.types import Row


def _corpus(tmp_path, rows, **keys):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source("jsonl", path=str(path), test_share=0.0, **keys).load(("kind",), 0)


def test_repeats_by_brute_force():
    cases = list(product("pq", [("a", "b"), ("b", "a"), ("a", "c")], [0.0, 1.0, 0.5, None, 0.7]))
    rows = [Row(prompt=p, responses=both, labels={"kind": label}) for p, both, label in cases]
    repeats = Repeats()
    assert [row.id for row in repeats.through(rows)] == [row.id for row in rows]
    better: dict = {}
    for row in rows:
        key = (row.prompt, frozenset(row.responses))
        label = row.labels["kind"]
        better.setdefault(key, set()).update({row.responses[label > 0.5]} if label not in (None, 0.5) else set())
    assert repeats.repeated == len(rows) - len(better)
    assert repeats.contradictory == sum(len(found) > 1 for found in better.values())


def test_training_counts_what_statistics_count(tmp_path):
    pair = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": 1}
    rows = [pair, pair, pair | {"response_0": "b", "response_1": "a"}, pair | {"prompt": "q"}]
    corpus = _corpus(tmp_path, rows)
    assert "train: 2 pairs repeat another one, and 1 are labelled both ways; all stay" in corpus.notes
    assert len(corpus.pairs["train"]) == 4
    labels = [{"kind": float(row["kind_response_id"])} for row in rows]
    pairs = [
        Pair(prompt=row["prompt"], responses=(row["response_0"], row["response_1"]), labels=label)
        for row, label in zip(rows, labels, strict=True)
    ]
    told = of_pairs(pairs, examples=0, bins=3)["repeats"]
    assert (told["repeated_pairs"], told["contradictory_pairs"]) == (2, 1)


@pytest.mark.parametrize("tied", [False, True])
def test_ratings_of_an_answer_in_no_pair_are_read_once(tmp_path, tied):
    rows = [{"prompt": f"p{n}", "response": f"a{n}", "kind": [n, n + 1]} for n in range(3)]
    rows += [{"prompt": "p0", "response": "same", "kind": [0, 1]}] if tied else []
    rows += [{"prompt": "both", "response": f"{n}", "kind": n} for n in range(2)]
    corpus = _corpus(tmp_path, rows)
    count = 3 + tied
    said = [note for note in corpus.notes if f"train: {count} rated answers are in no pair" in note]
    assert len(said) == 1 and "train: 1 pairs made from" in " ".join(corpus.notes)
    alone = [row for row in corpus.pairs["train"] if row.labels["kind"] is None]
    assert len(alone) == count and len(corpus.pairs["train"]) == count + 1
    judged = collate.judgments(alone, ("kind",))
    assert not judged.labelled.any() and not judged.rated[1].any() and judged.rated[0].sum() == 2 * count
    assert torch.equal(judged.ratings[0].sum((1, 2)).sort().values, torch.tensor([1.0, *([1.0] * tied), 3.0, 5.0]))
    assert [row.responses for row in corpus.supervised["train"]] == [("1",)]


def test_no_pairs_are_made_where_none_are_wanted(tmp_path):
    rows = [{"prompt": f"p{n}", "response": f"a{n}", "kind": n} for n in range(3)]
    corpus = _corpus(tmp_path, rows, pairing=None)
    assert not len(corpus.pairs["train"]) and any("dataset.pairing=null" in note for note in corpus.notes)
