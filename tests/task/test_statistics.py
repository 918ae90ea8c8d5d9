from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from mora.dataset.read import Record
from mora.files import read_json
from mora.functional.stats import share_interval
from mora.report.style import Z95
from mora.task import measures
from mora.task.row_counts import RowCounts

NAMES = ("kind", "brief")


def pairs(count=60, seed=0):
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        row = {"prompt": f"prompt {number % 20}", "response_0": "x" * draw.randint(1, 9)}
        row["response_1"] = row["response_0"] + "y" * draw.randint(-1, 3) if number % 5 else f"z{number}"
        row |= {f"{name}_response_id": draw.choice([0, 1, None]) for name in NAMES}
        row["kind_rating_0"] = [draw.randint(1, 5) for _ in range(3)]
        rows.append(row)
    return [row for row in rows if row["response_0"] != row["response_1"]]


def answers(count=80, seed=0):
    draw = random.Random(seed)
    return [
        {"prompt": f"p{n % 30}", "response": "w " * draw.randint(1, 40), "kind": draw.choice([1, 2, 3, None])}
        | {"brief": [draw.random() for _ in range(2)]}
        for n in range(count)
    ]


def table(run, rows, **keys):
    (found,), _ = run("statistics", rows, **keys)
    return found


def test_counts_and_agreement_of_pairs_are_those_by_hand(run):
    rows = pairs()
    found = table(run, rows)
    assert (found["form"], found["rows"], found["prompts"]["distinct"]) == ("pairs", len(rows), 20)
    for name in NAMES:
        ids = [row[f"{name}_response_id"] for row in rows]
        of = found["objectives"][name]
        assert (of["first_better"], of["second_better"], of["unlabelled"]) == tuple(map(ids.count, (0, 1, None)))
        assert of["labelled"] == len(rows) - ids.count(None) and of["ties"] == of["soft"] == 0
        gaps = [(len(row["response_1"]) - len(row["response_0"]), one) for row, one in zip(rows, ids, strict=True)]
        longer = [(gap > 0) == one for gap, one in gaps if gap and one is not None]
        assert of["longer_better"] == {"n": len(longer), "share": sum(longer) / len(longer)}
    both = [(r["kind_response_id"], r["brief_response_id"]) for r in rows]
    both = [pair for pair in both if None not in pair]
    agreement = found["agreement"]
    assert agreement["n"][0][1] == agreement["n"][1][0] == len(both)
    assert agreement["rate"][0][1] == pytest.approx(sum(a == b for a, b in both) / len(both))
    assert agreement["kappa"][0][1] == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
    ratings = [value for row in rows for value in row["kind_rating_0"]]
    histogram = found["objectives"]["kind"]["ratings"]["histogram"]
    assert dict(zip(histogram["values"], histogram["counts"], strict=True)) == {
        n: ratings.count(n) for n in range(1, 6)
    }


def test_repeats_and_contradictions_of_pairs_are_found_either_way_round(run):
    row = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": 0}
    turned = row | {"response_0": "b", "response_1": "a"}
    found = table(run, [row, row, turned | {"kind_response_id": 1}, row | {"prompt": "q"}])
    assert found["repeats"] == {
        "equal_rows": 1, "repeated_pairs": 2, "contradictory_pairs": 0, "identical_responses": 0
    }  # fmt: skip
    assert table(run, [row, turned])["repeats"]["contradictory_pairs"] == 1


def test_soft_labels_and_ties_are_told_apart(run):
    row = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": None}
    rows = [row | {"kind_label": 0.5}, row | {"kind_label": 0.75, "kind_response_id": 1}, row]
    of = table(run, rows)["objectives"]["kind"]
    assert (of["labelled"], of["unlabelled"], of["ties"], of["soft"], of["second_better"]) == (2, 1, 1, 1, 1)


def test_numbers_of_answers_are_those_by_hand(run):
    rows = answers()
    found = table(run, rows, objectives=["kind", "brief"], bins=7)
    kind = [row["kind"] for row in rows if row["kind"] is not None]
    of = found["objectives"]["kind"]
    assert (found["form"], of["rated"], of["unrated"]) == ("scored", len(kind), len(rows) - len(kind))
    assert of["means"]["mean"] == pytest.approx(np.mean(kind)) and of["means"]["std"] == pytest.approx(np.std(kind))
    assert of["disagreement"] is None and found["objectives"]["brief"]["annotators"]["mean"] == 2
    spread = [abs(a - b) / 2 for a, b in (row["brief"] for row in rows)]
    assert found["objectives"]["brief"]["disagreement"]["mean"] == pytest.approx(np.mean(spread))
    both = [(row["kind"], np.mean(row["brief"])) for row in rows if row["kind"] is not None]
    assert found["agreement"]["spearman"][0][1] == pytest.approx(spearmanr(*zip(*both, strict=True)).statistic)
    words = [len(row["response"].split()) for row in rows]
    assert found["lengths"]["response_words"]["summary"]["median"] == np.median(words)
    counts = found["objectives"]["brief"]["ratings"]["histogram"]["counts"]
    assert sum(counts) == 2 * len(rows) and len(counts) == 7


def test_examples_do_not_depend_on_the_order_of_rows(run):
    rows = pairs()
    shuffled = random.Random(5).sample(rows, len(rows))
    first, second = table(run, rows)["examples"], table(run, shuffled)["examples"]
    assert first == second and {len(of) for of in first.values()} == {10}
    assert all(row[f"{name}_response_id"] is not None or row["kind_rating_0"] for name in NAMES for row in first[name])


def test_supervised_rows_have_lengths_and_examples(run):
    found = table(run, [{"prompt": "p", "response": f"r{n}", "n": n} for n in range(30)], form="supervised")
    assert found["form"] == "supervised" and found["objectives"] == {} and len(found["examples"][""]) == 10


def test_the_form_is_that_of_the_first_row_and_other_rows_are_bad(run):
    _, counts = run("statistics", [*answers(5), *pairs(5)])
    assert counts.used == 5 and "'response' is missing" in counts.rejected[0].reason


@pytest.mark.parametrize("rows", [pairs(), answers(), [{"prompt": "p", "response": "r"}] * 3])
def test_the_folder_holds_table_text_and_figures(tmp_path, make_task, rows):
    records = (Record(where="", fields=row, raw=row) for row in rows)
    make_task("statistics").write(records, RowCounts(), tmp_path)
    found = read_json(tmp_path / "statistics.json")
    text = (tmp_path / "statistics.txt").read_text()
    assert text.startswith(f"{len(rows)} rows of {found['form']}")
    assert all(f"objective {name}" in text for name in found["objectives"])
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    expected = {"pairs": {"lengths", "labels", "ratings", "agreement"}, "scored": {"lengths", "ratings", "agreement"}}
    assert figures == expected.get(found["form"], {"lengths"})


def test_kappa_at_its_ends_and_where_there_is_none():
    one, other = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert measures.kappa(one, one) == 1.0 and measures.kappa(one, other) == -1.0
    assert math.isnan(measures.kappa(np.ones(3), np.ones(3))) and math.isnan(measures.kappa(one[:0], one[:0]))


def test_the_interval_of_a_share_is_wilsons():
    low, high = share_interval(0.5, 100.0, Z95)  # 0.4038 and 0.5962 in the literature
    assert low == pytest.approx(0.4038, abs=1e-4) and high == pytest.approx(0.5962, abs=1e-4)
