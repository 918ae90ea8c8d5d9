from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mora.errors import InputError
from mora.evaluation.sections import Sections, write
from mora.files import read_json, write_lines
from mora.records.read import record
from mora.records.sections import Benchmark
from mora.report.benchmark import benchmark_plates, benchmark_section
from mora.reward.point import point_belief
from mora.reward.scorer import Scorer
from mora.reward.standardization import Standardization
from mora.run.conclude import section_lines
from mora.settings.tree import conf_dir
from mora.types import RewardBelief


class TableScorer(Scorer):
    """Scores read off the answer: "3 -1" scores 3 on `up` and -1 on `down`."""

    def __init__(self, objectives: Sequence[str] = ("up", "down")) -> None:
        super().__init__(objectives, None)
        self.asked: list[tuple[str, str]] = []

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> RewardBelief:
        self.asked += zip(prompts, responses, strict=True)
        values = [[float(word) for word in text.split()[: len(self.objectives)]] for text in responses]
        return point_belief(torch.tensor(values)[..., None])


def row(subset: str, chosen: Any, rejected: Any, prompt: str = "p", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "subset": subset} | more


def measured(tmp_path: Path, rows: list[Any], scorer: Scorer | None = None, **changed: Any) -> Any:
    write_lines(tmp_path / "rows.jsonl", rows)
    settings = {
        "path": str(tmp_path / "rows.jsonl"),
        "objective": "up",
        "preference": None,
        "level": 0.95,
        "sections": {"A": ["a", "b"], "C": ["c"]},
    }
    return Sections(**(settings | {"weights": {"a": 30, "b": 10}} | changed)).measure(scorer or TableScorer())


ROWS = [
    row("a", "2 0", "1 0", prompt="p1", id="first"),  # right
    row("a", "1 0", "1 0 x", prompt="p2"),  # a tie of two texts
    row("b", "0 0", "1 0", prompt="p3"),  # wrong
    row("c", "3 0", ["1 0", "3 0 y", "3 0 z"], prompt="p4"),  # best of four, three tied for the top
    row("c", ["5 0", "0 0"], "4 0", prompt="p5"),  # one of the right answers is on top
]


def test_a_toy_with_known_weights(tmp_path: Path) -> None:
    table, subsets, lines = measured(tmp_path, ROWS)
    strict = {entry["section"]: entry["strict"] for entry in table["sections"]}
    shared = {entry["section"]: entry["shared"] for entry in table["sections"]}
    # subset a: 1 and a tie; b: 0; weights 30 and 10.  c: 1/3 and 1.
    assert strict == pytest.approx({"A": 30 * 0.5 / 40, "C": 0.5})
    assert shared == pytest.approx({"A": 30 * 0.75 / 40, "C": (1 / 3 + 1) / 2})
    assert table["final"]["strict"] == pytest.approx((0.375 + 0.5) / 2)  # a plain mean of the sections
    assert table["final"]["shared"] == pytest.approx((0.5625 + 2 / 3) / 2)
    assert [(s["subset"], s["section"], s["n"], s["weight"]) for s in subsets] == [
        ("a", "A", 2, 30),
        ("b", "A", 1, 10),
        ("c", "C", 2, 2),  # no weight is given: it weighs its rows
    ]
    assert [s["shared"] for s in subsets] == pytest.approx([0.75, 0.0, 2 / 3])
    assert table["rows"] == 5 and table["final"]["n"] == 5 and table["left_out"] == table["unmapped"] == []
    assert [line["strict"] for line in lines] == [1.0, 0.0, 0.0, 0.0, 1.0] and lines[0]["id"] == "first"
    assert (lines[3]["best_chosen"], lines[3]["best_rejected"]) == (3.0, 3.0)


def test_unknown_subsets_and_empty_sections_are_said(tmp_path: Path) -> None:
    table, _, _ = measured(tmp_path, [row("a", "1 0", "0 0"), row("odd", "1 0", "2 0")], weights=None)
    assert [entry["section"] for entry in table["sections"]] == ["A", "odd"]
    assert table["final"]["strict"] == 0.5  # C does not count as 0
    assert (table["left_out"], table["unmapped"]) == (["C"], ["odd"])
    said = "\n".join(table["notes"])
    assert "section C has no row" in said and "section A lacks b" in said and "one of its own: odd" in said


def test_without_sections_every_subset_is_one(tmp_path: Path) -> None:
    table, _, _ = measured(tmp_path, ROWS, sections=None, weights=None)
    assert [entry["section"] for entry in table["sections"]] == ["a", "b", "c"] and table["unmapped"] == ["a", "b", "c"]
    assert not any("section" in note for note in table["notes"])


def test_a_subset_called_like_a_section(tmp_path: Path) -> None:
    """It may stand for the section when that has no row of its own, else it cannot be told apart."""
    table, _, _ = measured(tmp_path, [row("a", "1 0", "0 0"), row("C", "1 0", "0 0")])
    assert [entry["section"] for entry in table["sections"]] == ["A", "C"]
    with pytest.raises(InputError, match="the subset C stands in no section and is called as one is"):
        measured(tmp_path, [row("c", "1 0", "0 0"), row("C", "1 0", "0 0")])


def test_who_judges(tmp_path: Path) -> None:
    rows = [row("a", "1 0", "0 1")]
    assert measured(tmp_path, rows, objective="down")[0]["final"]["strict"] == 0.0
    with pytest.raises(InputError, match="evaluation.objective=null: the reward has up, down"):
        measured(tmp_path, rows, objective=None)
    with pytest.raises(InputError, match="evaluation.objective=left: the reward has up, down"):
        measured(tmp_path, rows, objective="left")
    with pytest.raises(InputError, match="give one of the two"):
        measured(tmp_path, rows, preference=[0.5, 0.5])
    alone = measured(tmp_path, [row("a", "1", "0")], TableScorer(["only"]), objective=None)[0]
    assert alone["judge"] == {"objective": "only"} and alone["final"]["strict"] == 1.0


def test_a_preference_weighs_standardized_scores(tmp_path: Path) -> None:
    """`up` differs by 1 and has the deviation 10, `down` by -1 with 1: at equal weights `down` decides."""
    scorer = TableScorer()
    scorer.standardization = Standardization(mean=torch.zeros(2), std=torch.tensor([10.0, 1.0]), provenance={})
    rows = [row("a", "1 0", "0 1")]
    table, _, _ = measured(tmp_path, rows, scorer, objective=None, preference=[0.5, 0.5])
    assert table["judge"] == {"preference": {"up": 0.5, "down": 0.5}} and table["final"]["strict"] == 0.0
    assert measured(tmp_path, rows, scorer, objective=None, preference=[1.0, 0.0])[0]["final"]["strict"] == 1.0
    with pytest.raises(InputError, match="evaluation.preference=.*give 2 weights"):
        measured(tmp_path, rows, scorer, objective=None, preference=[1.0])
    with pytest.raises(InputError, match="has no reference statistics"):
        measured(tmp_path, rows, TableScorer(), objective=None, preference=[0.5, 0.5])


def test_a_text_is_scored_once_so_equal_answers_tie(tmp_path: Path) -> None:
    scorer = TableScorer()
    table, _, _ = measured(tmp_path, [row("a", "1 0", ["1 0", "0 0"]), row("b", "1 0", "0 0")], scorer)
    assert len(scorer.asked) == len(set(scorer.asked)) == 2
    assert table["subsets"][0]["shared"] == 0.5


def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    bad = [
        json.dumps(row("a", "1 0", "0 0")),
        '{"prompt": "p", "chosen": "x", "subset": "a"}',
        "no json",
        json.dumps(row("a", [], "x")),
        json.dumps(row("a", "x", ["y", 3])),
        json.dumps(row("", "x", "y")),
        "[1]",
    ]
    path.write_text("\n".join(bad), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        measured(tmp_path, [], path=str(path))
    said = str(refused.value).splitlines()
    assert "6 bad rows" in said[0]
    for line, (number, problem) in zip(
        said[1:],
        [
            (2, "rejected missing"),
            (3, "broken JSON"),
            (4, "chosen must"),
            (5, "rejected[2]"),
            (6, "'subset' is empty"),
            (7, ""),
        ],
        strict=True,
    ):
        assert f"{path}:{number}: " in line and problem in line
    with pytest.raises(InputError, match="evaluation.path=.*no such file"):
        measured(tmp_path, [], path=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(InputError, match="evaluation.path=.*empty"):
        measured(tmp_path, [])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sections": {"A": ["a"], "B": ["a"]}}, "a stands in two sections"),
        ({"sections": {"A": "a"}}, "evaluation.sections.A"),
        ({"weights": {"a": 0}}, "evaluation.weights.a=0"),
        ({"weights": {"a": "many"}}, "evaluation.weights.a=many"),
    ],
)
def test_settings_without_meaning_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        measured(tmp_path, ROWS, **changed)


def test_the_shipped_mapping_is_that_of_the_benchmark() -> None:
    """23 subsets in 4 sections; 358, 456, 740 and 1,968 count; 2,985 rows, of which 447 of mathematics count 984."""
    shipped = OmegaConf.to_container(OmegaConf.load(conf_dir() / "evaluation" / "sections.yaml"))
    sections, weights = shipped["sections"], shipped["weights"]
    members = [name for own in sections.values() for name in own]
    assert len(members) == len(set(members)) == 23 and set(members) == set(weights)
    totals = {name: sum(weights[member] for member in own) for name, own in sections.items()}
    assert totals == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968}
    assert sum(weights.values()) - 984 + 447 == 2985
    assert "mt-bench-hard" in sections["Chat Hard"]
    assert (weights["xstest-should-refuse"], weights["xstest-should-respond"]) == (154, 250)


def test_files_summary_and_page(tmp_path: Path) -> None:
    table, subsets, lines = measured(tmp_path, [*ROWS, row("<odd>", "1 0", "0 0", prompt="p6")])
    write(tmp_path / "tables", table, subsets, lines)
    with (tmp_path / "tables" / "sections.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [line["subset"] for line in found] == ["a", "b", "c", "<odd>"] and float(found[0]["shared"]) == 0.75
    assert float(found[0]["strict_low"]) < 0.5 < float(found[0]["strict_high"]) and found[3]["strict_low"] == ""
    with (tmp_path / "tables" / "section_rows.csv").open(encoding="utf-8") as file:
        assert [line["where"].rpartition(":")[2] for line in csv.DictReader(file)] == ["1", "2", "3", "4", "5", "6"]
    read = read_json(tmp_path / "tables" / "sections.json")
    known = record(read, Benchmark, "sections.json")
    said = section_lines(known)
    assert said[0].startswith("! ") and "judged by up" in said[2]
    assert said[-2].split()[:4] == ["mean", "of", "sections", "6"] and "0.743" in said[-2]  # (.5625 + 2/3 + 1) / 3
    html = benchmark_section(known, benchmark_plates(known))
    assert "&lt;odd&gt;" in html and "<odd>" not in html and "0.743" in html
    assert benchmark_section(None, []) == "" and benchmark_plates(None) == []


def test_a_table_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    table, subsets, lines = measured(tmp_path, ROWS)
    with pytest.raises(InputError, match=r"sections\.json: rows is no whole number"):
        write(tmp_path / "tables", table | {"rows": "5"}, subsets, lines)
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_intervals_of_few_rows_stay_within_0_and_1_or_are_not_given(tmp_path: Path, count: int, wrong: int) -> None:
    rows = [row("a", "1 0", "2 0" if n < wrong else "0 0", prompt=f"p{n}") for n in range(count)]
    table, _, _ = measured(tmp_path, rows, sections=None, weights=None)
    for entry in (table["final"], *table["sections"], *table["subsets"]):
        between = entry["strict_interval"]
        assert (between is None) == (count == 1)
        assert count == 1 or 0 <= between[0] <= entry["strict"] <= between[1] <= 1 and between[1] - between[0] > 0.1


def test_rows_with_several_right_answers_are_said_to_be_no_pairs(tmp_path: Path) -> None:
    several = [row("a", ["1 0", "0 0", "0 1"], ["2 0", "0 2", "0 3"], prompt=f"p{n}") for n in range(3)]
    table, _, _ = measured(tmp_path, [*several, row("a", "1 0", "0 0", prompt="q")])
    said = [note for note in table["notes"] if note.startswith("3 of 4 rows have several right answers")]
    assert len(said) == 1 and "guessing reaches 0.50" in said[0]
    table, _, _ = measured(tmp_path, [row("a", "1 0", ["0 0", "0 1"])])  # best of three
    assert not any("several right answers" in note for note in table["notes"])
