from __future__ import annotations

import random

import pytest

from mora.dataset import split
from mora.dataset.read import Record
from mora.errors import InputError
from mora.task.row_counts import RowCounts

PAIR = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": 1}


def prompts(count):
    return [{"prompt": f"prompt {n}"} for n in range(count)]


# --- split ------------------------------------------------------------------------------------------------------------


def test_parts_stay_what_they_are_when_rows_are_added(make_task):
    task = make_task("split", shares={"train": 0.7, "test": 0.2, "valid": 0.1})
    assert task.parts() == ("train", "test", "valid")
    place = {n: split.part(f"prompt {n}", task.shares) for n in range(3000)}
    assert all((part == "test") == split.in_test(f"prompt {n}", 0.2) for n, part in place.items())
    counts = [list(place.values()).count(part) for part in ("train", "test", "valid")]
    # standard deviations: 25, 22, 16; five of them
    assert abs(counts[0] - 2100) < 126 and abs(counts[1] - 600) < 110 and abs(counts[2] - 300) < 83


def test_rows_of_a_prompt_stay_together_in_their_order(run, make_task):
    rows = [{"prompt": f"p{n % 40}", "n": n} for n in range(200)]
    random.Random(0).shuffle(rows)
    records = [Record(where="", fields=row, raw=row) for row in rows]
    found = list(make_task("split", shares={"train": 0.6, "test": 0.4}).rows(iter(records), RowCounts()))
    assert [row for _, row in found] == rows
    sides = {}
    for part, row in found:
        sides.setdefault(row["prompt"], set()).add(part)
    assert all(len(side) == 1 for side in sides.values()) and len(set().union(*sides.values())) == 2


def test_conversations_go_by_the_turns_before_the_answer(make_task):
    rows = []
    for number in range(50):
        user = {"role": "user", "content": f"prompt {number}"}
        answers = [{"role": "assistant", "content": text} for text in "ab"]
        rows += [{"prompt": f"prompt {number}"}, {"messages": [user, answers[0]]}]
        rows += [{"chosen": [user, answers[0]], "rejected": [user, answers[1]]}]
    records = [Record(where="", fields=row, raw=row) for row in rows]
    parts = [part for part, _ in make_task("split").rows(iter(records), RowCounts())]
    assert parts[::3] == parts[1::3] == parts[2::3] and len(set(parts)) == 2


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.8}, "must sum to 1, not 0.8"),
        ({"a/b": 1.0}, "names a file"),
        ({"train": 1.1}, "task.shares.train=1.1"),
    ],
)
def test_shares_that_are_none_are_refused(make_task, shares, message):
    with pytest.raises(InputError, match=message):
        make_task("split", shares=shares)


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_are_unique_and_none_is_in_the_excluded_files(run, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"prompt": "held OUT"}\n{"prompt": "b"}\n')
    rows = [{"prompt": text, "response": "r"} for text in ("a", "b", "a", "A!", "Held out?", "c d e", "cccccc", "x")]
    exclude = str(tmp_path / "test.jsonl")
    found, counts = run("prompts", rows, exclude=exclude, max_words=2, max_characters=9)
    assert [row["prompt"] for row in found] == ["a", "A!", "Held out?", "cccccc", "x"]
    assert all(set(row) == {"prompt"} for row in found)
    assert counts.left_out == {f"in {exclude}": 1, "repeats a prompt": 1, "longer than 2 words": 1}
    found, counts = run("prompts", rows, exclude=exclude, match="normalized", max_characters=5)
    assert [row["prompt"] for row in found] == ["a", "c d e", "x"]
    assert counts.left_out == {f"in {exclude}": 2, "repeats a prompt": 2, "longer than 5 characters": 1}


def test_prompts_without_letters_are_not_all_the_same(run):
    found, _ = run("prompts", [{"prompt": "???"}, {"prompt": "!"}], match="normalized")
    assert len(found) == 2


# --- check ------------------------------------------------------------------------------------------------------------

USER, ANSWER = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}
GOOD = {
    "pairs": PAIR | {"kind_label": 0.7, "kind_rating_0": [1, 2], "kind_strength": 1},
    "scored": {"prompt": "p", "response": "a", "kind": [1, 2.5]},
    "supervised": {"prompt": "p", "response": "a"},
    "prompts": {"prompt": "p"},
    "messages": {"messages": [USER, ANSWER]},
    "explicit": {"messages": [USER], "chosen": [ANSWER], "rejected": [ANSWER | {"content": "b"}]},
    "implicit": {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER | {"content": "b"}]},
}
BAD = {
    "pairs": [
        ({"kind_response_id": 2}, "'kind_response_id' must be 0, 1 or null, not 2 (int)"),
        ({"kind_label": 0.2}, "'kind_label' says 0.2, and 'kind_response_id' says 1"),
        ({"kind_label": 1.5}, "'kind_label' must be a number from 0 to 1 or null, not 1.5 (float)"),
        ({"response_1": "a"}, "the two responses are identical, yet one of them is said to be the better one"),
        ({"kind_rating_0": "3"}, "'kind_rating_0' must be a number, a list of numbers or null, not '3' (str)"),
        ({"kind_strength": -1}, "'kind_strength' must be a number of at least 0 or null, not -1 (int)"),
    ],
    "scored": [({"kind": None}, "no column of numbers rates the response; it has prompt, response, kind")],
    "supervised": [({"response": " "}, "'response' is empty")],
    "prompts": [({"prompt": None}, "'prompt' must be a text, not None (NoneType)")],
    "messages": [({"messages": [USER]}, "'messages' ends with a message of user; the last one must be the answer")],
    "explicit": [({"chosen": [USER, ANSWER]}, "'chosen' must be one message of the assistant with a text, not 2: user, "
                  "assistant")],
    "implicit": [({"rejected": [USER | {"content": "v"}, ANSWER]}, "chosen and rejected differ before the final "
                  "answer, in message 1: user 'u' and user 'v'")],
}  # fmt: skip


@pytest.mark.parametrize("form", list(GOOD))
def test_every_row_goes_through_the_form_and_none_stops_the_check(run, form):
    rows = [GOOD[form], *(GOOD[form] | change for change, _ in BAD[form]), GOOD[form]]
    found, counts = run("check", rows, form=form)
    assert found == [GOOD[form]] * 2
    assert [(bad.where, bad.reason) for bad in counts.rejected] == [
        (f"row {n}", reason) for n, (_, reason) in enumerate(BAD[form], 2)
    ]
    assert [bad.raw for bad in counts.rejected] == rows[1:-1]
    assert "1 good rows repeat an earlier one word for word" in counts.notes


def test_a_prompt_of_several_turns_stays_a_conversation(run):
    turns = [USER, ANSWER, USER | {"content": "v"}]
    rows = [{"messages": [*turns, ANSWER]}, {"chosen": [*turns, ANSWER], "rejected": [*turns, ANSWER]}]
    found, counts = run("prompts", [*rows, {"messages": [USER]}, {"prompt": "u"}])
    assert found == [{"messages": turns}, {"prompt": "u"}] and counts.left_out == {"repeats a prompt": 2}


def test_a_held_out_dialogue_is_found_however_its_turns_are_written(run, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"prompt": "Human: u\\n\\nAssistant: a\\n\\nHuman: V!\\n\\nAssistant:"}\n')
    longer = [USER, ANSWER, USER | {"content": "v"}]  # held out, as is what it begins with
    rows = [{"messages": longer}, {"messages": [USER]}, {"prompt": "w"}]
    found, _ = run("prompts", rows, exclude=str(tmp_path / "test.jsonl"), match="normalized")
    assert found == [{"prompt": "w"}]
