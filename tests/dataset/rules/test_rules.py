"""Rules as true scores of a corpus: they score, label pairs, and are refused where they make no sense."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest

from mora.dataset.pinned import code_of
from mora.dataset.rules import Rules
from mora.errors import InputError
from mora.run.build import load_corpus
from mora.settings.compose import compose
from mora.settings.identity import plain
from mora.settings.permitted import granted_only
from mora.types import Row

TEXT = "mora.dataset.rules.text"
LONG = "one two three " * 8
PAIRS = [
    {"prompt": f"ask {n}", "response_0": LONG, "response_1": "one two" if n % 2 else "four five six " * 8,
     "better_response_id": n % 2}
    for n in range(6)
]  # fmt: skip
ANSWERS = [{"prompt": f"how many {n}?", "response": f"There are {n}."} for n in range(8)]


def settings(tmp_path, rows, *overrides):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["dataset=jsonl", f"dataset.path={tmp_path / 'rows.jsonl'}", "dataset.test_share=0", *overrides]
    return plain(compose("train", ["objectives=rules", f"paths.runs={tmp_path / 'runs'}", *given]))


def loaded(tmp_path, rows, *overrides):
    return load_corpus(settings(tmp_path, rows, *overrides))


def test_scores_are_the_rules_own_in_the_order_of_the_objectives():
    rules = Rules({"long": lambda prompt, text: min(len(text) / 10, 1), "asked": lambda prompt, text: prompt in text})
    assert rules.objectives == ("long", "asked") and rules.floor == (0.0, 0.0)
    assert rules.gold(["a", "b"], ["banana", "a"], [True, False]).tolist() == [[0.6, 1.0], [0.1, 0.0]]
    assert rules.gold([], []).shape == (0, 2)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_score_outside_its_bounds_is_refused_with_the_answer(score):
    with pytest.raises(InputError, match=r"objectives\.rules\.odd: scored .* for the answer 'text'; .* 0 .*1"):
        Rules({"odd": lambda prompt, text: score}).gold(["p"], ["text"])


def test_a_rule_that_fails_is_named():
    with pytest.raises(InputError, match=r"objectives\.rules\.odd: ZeroDivisionError .* on the answer 'text'"):
        Rules({"odd": lambda prompt, text: 1 / 0}).gold(["p"], ["text"])


def test_rules_label_every_pair_beside_what_the_source_says(tmp_path):
    corpus = loaded(tmp_path, PAIRS, "objectives.names=[better,brevity]")
    labels = {row.prompt: row.labels for row in corpus.pairs["train"]}
    assert labels == {f"ask {n}": {"better": float(n % 2), "brevity": 1.0 if n % 2 else None} for n in range(6)}
    assert corpus.rules is None and corpus.true_scores is None  # nothing knows the other objective


def test_all_objectives_by_rule_are_true_scores(tmp_path):
    corpus = loaded(tmp_path, PAIRS, "objectives.names=[length,brevity]", "objectives.rules.length.best=24")
    assert corpus.true_scores is corpus.rules and corpus.objectives == ("length", "brevity")
    assert corpus.rules.gold(["x", "x"], [LONG, "one two"]).tolist() == [
        [1.0, 0.72],
        [pytest.approx(2 / 24), 1.0],
    ]
    assert len(corpus.pairs["train"]) == 3 and len(corpus.prompts["train"]) == 6  # ties of both label nothing


def test_another_setting_of_a_rule_labels_the_rows_anew(tmp_path):
    first = loaded(tmp_path, PAIRS, "objectives.names=[brevity]")
    other = loaded(tmp_path, PAIRS, "objectives.names=[brevity]", "objectives.rules.brevity.worst=1",
                   "objectives.rules.brevity.best=30")  # fmt: skip
    assert {row.labels["brevity"] for row in first.pairs["train"]} == {1.0}
    assert {row.labels["brevity"] for row in other.pairs["train"]} == {0.0}


def test_a_rule_compares_with_the_answers_of_the_dataset(tmp_path):
    corpus = loaded(tmp_path, ANSWERS, "objectives.names=[number]")
    found = corpus.true_scores.gold(["how many 3?", "how many 4?"], ["3", "I say 3"])
    assert np.array_equal(found, [[1.0], [0.0]])
    with pytest.raises(InputError, match=r"objectives\.rules\.number: compares .* none to the prompt 'another'"):
        corpus.true_scores.gold(["another"], ["3"])


def test_a_rule_with_a_reference_labels_no_pair():
    row = Row(prompt="p", responses=("1", "2"))
    assert Rules({"same": lambda prompt, text, reference: text == reference}).labelled(row).labels == {}


def test_rules_of_an_objective_replace_what_the_source_says_of_it():
    said = {"labels": {"size": 0.0, "kind": 1.0}, "strengths": {"size": 2.0, "kind": 1.0}}
    row = Row(prompt="p", responses=("1", "22"), ratings={"size": ((1.0,), (2.0,))}, **said)
    found = Rules({"size": lambda prompt, text: len(text) / 10}).labelled(row)
    assert found.labels == {"size": 1.0, "kind": 1.0} and found.strengths == {"kind": 1.0} and found.ratings == {}


def test_a_prompt_without_an_answer_to_compare_with_is_told_when_data_are_read(tmp_path):
    rows = [*ANSWERS, {"prompt": "alone"}]
    with pytest.raises(InputError, match="none to the prompt 'alone'"):
        loaded(tmp_path, rows, "objectives.names=[number]")


def package(tmp_path, monkeypatch, text):
    """A module own_rules, first on the path."""
    (tmp_path / "own_rules.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_rules", raising=False)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, r"objectives\.rules\.odd=None: is no rule"),
        ({"_target_": f"{TEXT}.length", "_partial_": True, "best": 3, "worst": 3}, "best=3 and worst=3"),
        ({"_target_": f"{TEXT}.length", "best": 3, "worst": 5}, r"objectives\.rules\.odd: .*_partial_: true"),
        ({"_target_": "own_rules.none", "_partial_": True}, r"objectives\.rules\.odd: .*none"),
        ({"_target_": "own_rules.two", "_partial_": True}, r"objectives\.rules\.odd: scored 2 "),
    ],
)
def test_a_section_that_is_no_rule_is_told_when_data_are_read(tmp_path, monkeypatch, section, message):
    package(tmp_path, monkeypatch, "def two(prompt, response):\n    return 2.0\n")
    config = settings(tmp_path, ANSWERS)
    config["objectives"] = {"names": ["odd"], "rules": {"odd": section}}
    with granted_only(["own_rules"]), pytest.raises(InputError, match=message):
        load_corpus(config)


def test_another_code_of_a_rule_labels_anew_and_is_another_run(tmp_path, monkeypatch):
    found, given = [], {"_target_": "own_rules.rule", "_partial_": True}
    for factor in (1, -1):
        code = f"def rule(prompt, response):\n    return 0.5 + {factor} * len(response) / 1000\n"
        package(tmp_path, monkeypatch, code)
        config = settings(tmp_path, PAIRS)
        config["objectives"] = {"names": ["size"], "rules": {"size": given}}
        with granted_only(["own_rules", str(factor)]):  # as another command has it
            labels = {row.prompt: row.labels["size"] for row in load_corpus(config).pairs["train"]}
        found.append((labels["ask 1"], code_of(config["objectives"])))
    assert [label for label, _ in found] == [0.0, 1.0]  # the second answer is the shorter one
    assert [list(code) for _, code in found] == [["own_rules"]] * 2 and found[0][1] != found[1][1]
