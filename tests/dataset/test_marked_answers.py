"""Answers that are marked good or bad: rated, imitated where they are good, and never imitated where they are bad."""

from __future__ import annotations

import json

import pytest
from tests.dataset.examples import source

from mora.errors import InputError

USER = {"role": "user", "content": "p"}
GOOD, BAD = ({"role": "assistant", "content": content} for content in ("g", "b"))
FORMS = {
    "jsonl": ("jsonl", [{"prompt": "p", "response": "g"}, {"prompt": "p", "response": "b"}]),
    "completions": ("messages", [{"prompt": "p", "completion": "g"}, {"prompt": "p", "completion": "b"}]),
    "messages": ("messages", [{"messages": [USER, GOOD]}, {"messages": [USER, BAD]}]),
    "lists": ("messages", [{"prompt": [USER], "completion": [GOOD]}, {"prompt": [USER], "completion": [BAD]}]),
}


def _corpus(tmp_path, name, rows, objectives=("kind",), **keys):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source(name, path=str(path), test_share=0.0, **keys).load(objectives, 0)


def _answers(rows):
    return [row.responses[0] for row in rows]


def _marked(form, marks=(True, False), **more):
    name, rows = FORMS[form]
    return name, [row | {"label": mark} | more for row, mark in zip(rows, marks, strict=True)]


@pytest.mark.parametrize("marks", [(True, False), (1, 0), ("True", "false")])
@pytest.mark.parametrize("form", FORMS)
def test_good_answers_are_imitated_and_both_are_compared(tmp_path, form, marks):
    corpus = _corpus(tmp_path, *_marked(form, marks))
    assert _answers(corpus.supervised["train"]) == ["g"]
    assert [(row.responses[0], row.ratings) for row in corpus.scored["train"]] == [
        ("g", {"kind": ((1.0,),)}),
        ("b", {"kind": ((0.0,),)}),
    ]
    (pair,) = corpus.pairs["train"]
    assert pair.labels == {"kind": float(pair.responses[1] == "g")}


@pytest.mark.parametrize("form", FORMS)
def test_without_objectives_a_bad_answer_is_set_aside_and_counted(tmp_path, form):
    corpus = _corpus(tmp_path, *_marked(form), objectives=())
    assert _answers(corpus.supervised["train"]) == ["g"] and not len(corpus.scored["train"])
    assert corpus.records["without_row"] == 1
    assert any(note.startswith("1 of 2 records give no row") for note in corpus.notes)


def test_of_several_objectives_the_record_says_which(tmp_path):
    name, rows = _marked("jsonl", objective="kind")
    rows.append({"prompt": "p", "response": "o", "label": True, "objective": "another"})
    rows.append({"prompt": "p", "response": "r", "brief": 3})
    corpus = _corpus(tmp_path, name, rows, ("kind", "brief"))
    assert _answers(corpus.supervised["train"]) == ["g"] and _answers(corpus.scored["train"]) == ["g", "b", "r"]
    with pytest.raises(InputError, match="field 'objective' is missing"):
        _corpus(tmp_path, *_marked("jsonl"), ("kind", "brief"))


ABOUT = {  # records without columns of their own for an objective
    "a mark": ("jsonl", {"response": "g", "label": True}),
    "a bad mark": ("jsonl", {"response": "g", "label": False}),
    "a mark of a completion": ("messages", {"completion": "g", "label": True}),
    "a chosen answer": ("messages", {"chosen": "g", "rejected": "b"}),
}


@pytest.mark.parametrize("name", ABOUT)
def test_a_record_about_another_objective_does_not_count_for_the_only_one(tmp_path, name):
    dataset, record = ABOUT[name]
    said = [{}, {"objective": "kind"}, {"objective": None}, {"objective": "other"}]
    rows = [{"prompt": f"p{number}"} | record | more for number, more in enumerate(said)]
    corpus = _corpus(tmp_path, dataset, rows)
    judged = [*corpus.pairs["train"]] if "chosen" in record else [*corpus.scored["train"]]
    assert [row.prompt for row in judged] == ["p0", "p1", "p2"] and corpus.records["without_row"] == 1
    assert "p3" not in {row.prompt for rows in (corpus.supervised, corpus.prompts) for row in rows["train"]}
    assert any("1 of 4 records give no row: nothing in them is asked for (objective: other)" in n for n in corpus.notes)
    renamed = _corpus(tmp_path, dataset, rows, columns={"kind": "other"})
    assert "p3" in {row.prompt for row in renamed.prompts["train"]}
    with pytest.raises(InputError, match=r"none of the 1 records gives a row.*objective: other.*names=\[kind\]"):
        _corpus(tmp_path, dataset, rows[-1:])


def test_a_mark_does_not_fall_to_an_objective_because_another_one_is_rated(tmp_path):
    rows = [{"prompt": "p", "response": "g", "kind": 3, "label": True, "objective": "kind"}]
    corpus = _corpus(tmp_path, "jsonl", [*rows, {"prompt": "q", "response": "r", "brief": 2}], ("kind", "brief"))
    assert [row.ratings for row in corpus.scored["train"]] == [{"kind": ((3.0,),)}, {"brief": ((2.0,),)}]
    with pytest.raises(InputError, match="field 'objective' is missing"):
        _corpus(tmp_path, "jsonl", [{"prompt": "p", "response": "g", "kind": 3, "label": True}], ("kind", "brief"))


def test_a_mark_that_is_none_is_a_bad_row(tmp_path):
    name, rows = _marked("jsonl", (True, "spam"))
    with pytest.raises(InputError, match=r"rows.jsonl:2: 'label' .* not 'spam'"):
        _corpus(tmp_path, name, rows)


def test_an_objective_may_be_called_label(tmp_path):
    name, rows = _marked("jsonl", (4, 2))
    corpus = _corpus(tmp_path, name, rows, ("label",))
    assert [row.ratings for row in corpus.scored["train"]] == [{"label": ((4.0,),)}, {"label": ((2.0,),)}]


def test_an_unsafe_answer_is_no_example_where_safety_is_no_objective(tmp_path):
    rows = [{"prompt": "p", "response": text, "is_safe": safe} for text, safe in (("g", True), ("b", False))]
    assert _answers(_corpus(tmp_path, "beavertails", rows, ()).supervised["train"]) == ["g"]
