"""Every form of a row that the documentation names, each in a file of its own, is read as what it is said to be."""

from __future__ import annotations

import json

import pytest
from tests.dataset.examples import source

from mora.dataset.read import Record
from mora.dataset.write import writing
from mora.errors import InputError
from mora.task.chat import Chat
from mora.task.check import Check
from mora.task.prompts import Prompts
from mora.task.row_counts import RowCounts
from mora.task.split import Split
from mora.turns import joined

SYSTEM, USER, ANSWER = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
OTHER = {"role": "assistant", "content": "another"}
TURNS = {"one turn": [USER], "turns": [USER, ANSWER, USER], "system and turns": [SYSTEM, USER, ANSWER, USER]}
IDS = {"response_0": "a", "response_1": "b", "kind_response_id": 1}
SOFT = {"response_0": "a", "response_1": "b", "kind_label": 0.25}
RATED = {"kind_rating_0": 1, "kind_rating_1": [2, 3], "kind_strength": 2}
TEXTS = {"chosen": "a", "rejected": "b"}
LISTS = {"chosen": [ANSWER], "rejected": [OTHER]}
KINDS = ("scored", "pairs", "supervised", "prompts")  # a rated answer alone is also a pair of itself

JSONL = [
    ({"prompt": "p"}, "prompts"),
    ({"prompt": "p", "response": "r"}, "supervised"),
    ({"prompt": "p", "response": "r", "kind": 3}, "scored"),
    ({"prompt": "p", "response": "r", "kind": [3, 4]}, "scored"),
    ({"prompt": "p", "response": "r", "label": True}, "scored"),
    ({"prompt": "p", "response": "r", "label": False}, "scored"),
    *[({"prompt": "p"} | of, "pairs") for of in (IDS, SOFT, IDS | RATED, SOFT | RATED)],
    ({"prompt": "p"} | IDS | {"kind_label": 0.75}, "pairs"),
    ({"prompt": "p"} | IDS | {"kind_response_id": None}, "prompts"),
]


def _messages(turns):
    yield {"messages": turns}, "prompts"
    yield {"prompt": turns}, "prompts"
    yield {"messages": [*turns, ANSWER]}, "supervised"
    yield {"messages": [*turns, ANSWER], "kind": 3}, "scored"
    yield {"messages": [*turns, ANSWER], "kind": [3, 4]}, "scored"
    yield {"chosen": [*turns, ANSWER], "rejected": [*turns, OTHER]}, "pairs"
    for column in ("messages", "prompt"):
        for completion in ("a", [ANSWER]):
            yield {column: turns, "completion": completion}, "supervised"
            yield {column: turns, "completion": completion, "label": False}, "scored"
        for of in (TEXTS, LISTS, IDS, SOFT, IDS | RATED):
            yield {column: turns} | of, "pairs"


def _loaded(tmp_path, name, row):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return source(name, path=str(path)).load(("kind",), 0, whole=False)


@pytest.mark.parametrize(("row", "kind"), JSONL)
def test_a_row_of_jsonl_is_what_the_table_says(tmp_path, row, kind):
    corpus = _loaded(tmp_path, "jsonl", row)
    first = next(kind for kind in KINDS if len(getattr(corpus, kind)["train"]))
    assert first == kind and [row.prompt for row in corpus.prompts["train"]] == ["p"]


@pytest.mark.parametrize("name", TURNS)
def test_a_row_of_messages_is_what_the_table_says(tmp_path, name):
    for row, kind in _messages(TURNS[name]):
        corpus = _loaded(tmp_path, "messages", row)
        first = next(kind for kind in KINDS if len(getattr(corpus, kind)["train"]))
        assert first == kind, row
        assert [row.prompt for row in corpus.prompts["train"]] == [joined(TURNS[name])], row


@pytest.mark.parametrize("of", [TEXTS, LISTS, IDS, SOFT, {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}])
def test_a_prompt_of_messages_may_be_a_text(tmp_path, of):
    assert len(_loaded(tmp_path, "messages", {"prompt": "user"} | of).pairs["train"]) == 1


FORMS = [
    *[("pairs", {"prompt": "p"} | of) for of in (IDS, SOFT, IDS | RATED)],
    *[("scored", {"prompt": "p", "response": "r", "kind": value}) for value in (3, 3.5, [3, 4])],
    ("supervised", {"prompt": "p", "response": "r"}),
    ("prompts", {"prompt": "p"}),
    *[("messages", {"messages": [*turns, ANSWER]}) for turns in TURNS.values()],
    *[("explicit", {column: turns} | LISTS) for turns in TURNS.values() for column in ("messages", "prompt")],
    ("explicit", {"prompt": "p"} | LISTS),
    *[("implicit", {"chosen": [*turns, ANSWER], "rejected": [*turns, OTHER]}) for turns in TURNS.values()],
]


@pytest.mark.parametrize(("form", "row"), FORMS)
def test_every_form_of_the_tasks_passes_its_check_and_has_a_prompt(form, row):
    tasks = [
        Check(form=form, objectives=None),
        Split(shares={"train": 1.0}, by="prompt"),
        Prompts(exclude=None, match="exact", max_characters=None, max_words=None),
    ]
    for task in tasks:
        counts = RowCounts()
        found = list(task.rows(iter([Record(where="row 1", fields=row, raw=row)]), counts))
        assert len(found) == 1 and not counts.rejected, (type(task), counts.rejected)


@pytest.mark.parametrize(("form", "row"), [(form, row) for form, row in FORMS if form in ("explicit", "implicit")])
def test_chat_takes_every_form_of_a_pair(form, row):
    counts = RowCounts()
    chat = Chat(to="explicit", objective="kind", dialogues=False)
    ((_, made),) = chat.rows(iter([Record(where="row 1", fields=row, raw=row)]), counts)
    assert made["chosen"] == [ANSWER] and made["rejected"] == [OTHER] and not counts.rejected


@pytest.mark.parametrize("value", [10**299, "\ud83d", {"a": "\ud83d"}])
def test_what_parquet_cannot_hold_is_one_message(tmp_path, value):
    with pytest.raises(InputError, match="out.parquet: .* 'x'.* write a .jsonl file"):
        with writing(tmp_path / "out.parquet", "output") as write:
            write({"x": value})
    assert not list(tmp_path.iterdir())
