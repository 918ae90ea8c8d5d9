from __future__ import annotations

import json

import pytest
from tests.dataset.examples import source

from mora.dataset import overlap, split
from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows, conversation_ids
from mora.turns import joined, opening
from mora.types import Row

SYSTEM = {"role": "system", "content": "Be brief."}


def _turns(number: int, count: int) -> list[dict[str, str]]:
    """The first ``count`` turns of a dialogue."""
    said = [f"Question {number}, part {part} of a long talk?" for part in range(count)]
    return [{"role": ("user", "assistant")[part % 2], "content": text} for part, text in enumerate(said)]


def _dialogues(count: int) -> list[dict]:
    """Three pairs of each dialogue, one for each turn of the assistant."""
    return [
        {"prompt": _turns(number, turns), "response_0": "a", "response_1": "b", "better_response_id": number % 2}
        for turns in (1, 3, 5)
        for number in range(count)
    ]


def _file(folder, rows, name="rows.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def test_all_turns_of_a_dialogue_are_on_one_side(tmp_path):
    corpus = source("messages", path=_file(tmp_path, _dialogues(90)), test_share=0.3).load(("better",), 0)
    train, test = ({opening(row.prompt) for row in corpus.pairs[side]} for side in ("train", "test"))
    assert len(train) + len(test) == 90 and len(test) > 10 and not train & test
    assert len(corpus.pairs["train"]) == 3 * len(train)
    near = corpus.overlap["test_near_train"]
    assert near["by"]["conversation"] == near["by"]["wording"] == 0


def test_a_test_set_of_its_own_keeps_the_rest_of_its_dialogues_out_of_training(tmp_path):
    rows = _dialogues(10)
    test = _file(tmp_path, rows[10:12], "test.jsonl")  # three turns of dialogues 0 and 1
    corpus = source("messages", path=_file(tmp_path, rows), test_path=test).load(("better",), 0)
    assert len(corpus.pairs["train"]) == 24 and "6 training rows left out" in " ".join(corpus.notes)


@pytest.mark.parametrize("turns", [1, 3, 5])
def test_a_prompt_of_any_length_belongs_to_its_first_user_turn(turns):
    prompt = joined(_turns(4, turns))
    assert split.conversation_id(prompt) == Row(prompt=opening(prompt)).prompt_id
    assert split.conversation_id(joined([SYSTEM, *_turns(4, turns)])) == split.conversation_id(prompt)
    assert split.conversation_id(joined(_turns(5, turns))) != split.conversation_id(prompt)
    shares = {"train": 0.5, "valid": 0.3, "test": 0.2}
    for own in (split.in_test(prompt, 0.4), split.in_calibration(prompt, 0.4), split.part(prompt, shares)):
        assert own in (True, False, *shares)
    first = joined(_turns(4, 1))
    assert split.part(prompt, shares) == split.part(first, shares)
    assert split.in_calibration(prompt, 0.4) == split.in_calibration(first, 0.4)


def test_a_transcript_belongs_to_the_same_conversation_as_its_turns():
    spoken = "Human: How are you?\n\nAssistant: Well.\n\nHuman: Why?\n\nAssistant:"
    assert opening(spoken) == "How are you?" == opening("How are you?")
    for text in ("Human beings are many", "Assistant: I speak first", "", "System: alone"):
        assert opening(text) == text  # no conversation: the text itself


def test_rows_in_files_know_their_conversations(tmp_path):
    rows = [Row(prompt=joined(_turns(number, turns))) for number in (1, 2) for turns in (1, 3)]
    with RowWriter(tmp_path / "rows", ()) as writer:
        for row in rows:
            writer.add(row)
    stored = conversation_ids(StoredRows.open(tmp_path / "rows")).tolist()
    assert stored == conversation_ids(rows).tolist() and stored[0] == stored[1] != stored[2] == stored[3]


def test_a_part_of_a_mixture_takes_whole_dialogues(tmp_path):
    from mora.dataset.mixture import Mixture, Part

    path = _file(tmp_path, _dialogues(60))
    part = Part(source=source("messages", path=path), fraction=0.5, count=None, weight=None, seed=None)
    mixture = Mixture(name="m", sources=[part], max_prompt=64, max_response=64, overlong="error")
    rows = mixture.load(("better",), 0).pairs["train"]
    assert 20 < len({opening(row.prompt) for row in rows}) < 40
    assert len(rows) == 3 * len({opening(row.prompt) for row in rows})


def test_prompts_that_continue_or_begin_a_known_conversation_are_told():
    known = overlap.Known([[Row(prompt=joined(_turns(1, 3))), Row(prompt=joined([SYSTEM, *_turns(2, 5)]))]])
    prompts = [
        joined(_turns(1, 1)),  # its beginning
        joined(_turns(1, 5)),  # goes on
        joined([SYSTEM, *_turns(2, 3)]).replace("Question", "question"),
        joined(_turns(2, 5)),  # the same, without the system message
        joined([*_turns(2, 1), *_turns(3, 3)[1:]]),  # the same beginning, then another way: a similar text or not
        joined(_turns(3, 3)),
    ]
    assert known.ways(prompts).tolist()[:4] == [1, 1, 1, 0]
    assert known.ways(["An entirely different matter"]).tolist() == [-1]
