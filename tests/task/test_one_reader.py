"""A column is read alike in all rows and by all: what training refuses, no task turns into nothing."""

from __future__ import annotations

import json

import pytest
from tests.dataset.examples import source

from mora.errors import InputError

TEXT = "80 used"
ANSWERS = [{"prompt": f"p{n // 2}", "response": f"a{n}", "kind": n % 3, "source": f"s{n}"} for n in range(6)]
PAIRS = [
    {
        "prompt": f"p{n}",
        "response_0": "a",
        "response_1": "b",
        "kind_label": 0.25,
        "kind_rating_0": 1,
        "kind_rating_1": 2,
    }
    for n in range(6)
]
SPOILED = {
    "ratings_to_pairs": (ANSWERS, "kind", {}),
    "disagreement": (ANSWERS, "kind", {}),
    "merge_annotators": (ANSWERS, "kind", {}),
    "statistics": (ANSWERS, "kind", {}),
    "check": (ANSWERS, "kind", {"form": "scored"}),
    "check of pairs": (PAIRS, "kind_label", {"form": "pairs"}),
    "statistics of pairs": (PAIRS, "kind_rating_1", {}),
    "rrm": (PAIRS, "kind_label", {}),
}


@pytest.mark.parametrize("place", [0, 3])  # before the first number of the column, and after it
@pytest.mark.parametrize("task", SPOILED)
def test_a_text_among_ratings_is_a_bad_row_for_tasks_and_for_training(run, tmp_path, task, place):
    rows, column, keys = SPOILED[task]
    rows = [row | {column: TEXT} if n == place else row for n, row in enumerate(rows)]
    _, counts = run(task.split(" of ")[0], rows, **keys)
    assert [bad.where for bad in counts.rejected] == [f"row {place + 1}"] and repr(column) in counts.rejected[0].reason
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=f"rows.jsonl:{place + 1}: '{column}' "):
        source("jsonl", path=str(path)).load(("kind",), 0)


def test_columns_that_are_named_alone_are_read(run):
    rows = [row | {"place": n if n else "first"} for n, row in enumerate(ANSWERS)]
    _, counts = run("ratings_to_pairs", rows)
    assert "task.objectives" in counts.rejected[0].reason and len(counts.rejected) == 1
    assert not run("ratings_to_pairs", rows, objectives=["kind"])[1].rejected


CHAT = [{"role": "user", "content": "p0"}]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in "ab")
WITH_NULLS = {  # a row, and null columns of other forms beside it
    "ratings_to_pairs": (ANSWERS, ("response_0", "response_1"), {}),
    "merge_annotators": (ANSWERS, ("response_0", "response_1", "kind_response_id"), {}),
    "statistics": (ANSWERS, ("response_0", "response_1"), {}),
    "check": (ANSWERS, ("response_0", "response_1"), {"form": "scored"}),
    "check of pairs": (PAIRS, ("response",), {"form": "pairs"}),
    "prompts": ([{"chosen": [*CHAT, *GOOD], "rejected": [*CHAT, *BAD]}], ("messages", "prompt", "conversations"), {}),
    "chat of answers": (ANSWERS, ("messages",), {"to": "messages"}),
    "chat of messages": ([{"messages": [*CHAT, *GOOD]}], ("prompt", "response"), {"to": "supervised"}),
    "chat of wholes": (
        [{"chosen": [*CHAT, *GOOD], "rejected": [*CHAT, *BAD]}],
        ("messages", "prompt", "response_0", "response_1", "kind_response_id"),
        {"to": "pairs"},
    ),
    "chat of pairs": (PAIRS, ("chosen", "rejected", "messages"), {"to": "explicit", "objective": "kind"}),
    "chat of prompts": ([{"prompt": CHAT, "chosen": GOOD, "rejected": BAD}], ("messages",), {"to": "explicit"}),
}


@pytest.mark.parametrize("task", WITH_NULLS)
def test_columns_that_are_null_change_nothing(run, task):
    rows, nulls, keys = WITH_NULLS[task]
    expected, _ = run(task.split(" of ")[0], rows, **keys)
    found, counts = run(task.split(" of ")[0], [dict.fromkeys(nulls) | row for row in rows], **keys)
    assert not counts.rejected and expected
    if task != "check":  # which gives rows back as they are
        spare = [{k: v for k, v in row.items() if k not in nulls or v is not None} for row in (*found, *expected)]
        assert repr(spare[: len(found)]) == repr(spare[len(found) :])  # as nan is nan


SAYS_NOTHING = {"role": "system", "content": " "}
WRITTEN_ANEW = {  # whether a task writes the messages of a row anew, and so leaves out a system message without a word
    "prompts": ({}, True),
    "chat": ({"to": "messages"}, True),
    "split": ({"shares": {"a": 0.5, "b": 0.5}}, False),
    "check": ({"form": "messages"}, False),
}


@pytest.mark.parametrize("task", WRITTEN_ANEW)
def test_a_system_message_that_is_left_out_is_told_and_one_that_is_copied_is_not(run, task):
    keys, anew = WRITTEN_ANEW[task]
    messages = [SAYS_NOTHING, *CHAT, *GOOD]
    found, counts = run(task, [{"messages": messages}], **keys)
    assert (found == [{"messages": messages}]) == (not anew)
    assert dict(counts.remarks) == ({"with a system message that says nothing, which is left out": 1} if anew else {})
