from __future__ import annotations

from mora.dataset import overlap
from mora.dataset.corpus import Corpus
from mora.types import Row


def _by(wording=0, conversation=0, similar=0):
    return {"wording": wording, "conversation": conversation, "similar": similar}


def test_prompts_that_differ_in_case_and_punctuation_are_near():
    known = overlap.Known([_rows("How are you?", "What is 2 + 2?", "...", "Straße")])
    asked = ["how are you", "What is 22", "What  is: 2 2", "???", "STRASSE"]
    assert known.ways(asked).tolist() == [0, -1, 0, -1, 0]
    assert known.against(asked)["examples"] == ["how are you", "What  is: 2 2", "STRASSE"]


def _rows(*prompts, responses=()):
    return [Row(prompt=prompt, responses=responses) for prompt in prompts]


def test_a_corpus_says_what_its_sides_share():
    corpus = Corpus(
        name="c",
        objectives=("x",),
        supervised={"train": _rows("Only here", responses=("r",)), "test": []},
        pairs={"train": _rows("Both", responses=("a", "b")), "test": _rows("q", responses=("a", "b"))},
        prompts={"train": _rows("Both", "Prompt only"), "test": _rows("q", "only here!")},
        fingerprint="",
        max_prompt=1,
        max_response=2,
    )
    found = overlap.within(corpus)
    assert found["test_near_train"] == {"prompts": 1, "of": 2, "by": _by(wording=1), "examples": ["only here!"]}
    assert found["policy_in_reward_training"] == {"prompts": 1, "of": 2}
    (note,) = overlap.notes(found)
    assert note.startswith("1 of 2 test prompts are near a training prompt") and "'only here!'" in note


def _corpus(train, test):
    empty = {"train": [], "test": []}
    prompts = {"train": _rows(*train), "test": _rows(*test)}
    return Corpus(
        name="c", objectives=("x",), supervised=empty, pairs=empty, prompts=prompts, fingerprint="", max_prompt=1,
        max_response=2,
    )  # fmt: skip


def test_a_run_says_what_it_shares_with_the_data_of_its_reward_model():
    found = overlap.between(_corpus(["a b", "c", "d"], ["e", "f"]), _corpus(["A  b!", "D", "F?"], ["c", "e"]))
    assert found["policy_near_reward_training"] == {
        "prompts": 2,
        "of": 3,
        "by": _by(wording=2),
        "examples": ["a b", "d"],
    }
    assert found["test_near_reward_training"] == {"prompts": 1, "of": 2, "by": _by(wording=1), "examples": ["f"]}
    policy, test = overlap.notes_between(found, "RUN")
    assert policy == "2 of 3 training prompts are near one that RUN was trained on"
    assert test.startswith("1 of 2 test prompts are near one that RUN was trained on: its scores") and "'f'" in test


def test_prompts_of_a_benchmark_are_held_against_training_prompts():
    found = overlap.against(_corpus(["One two"], ["three"]), ["one, two", "one, two", "three"])
    assert found == {"prompts": 1, "of": 2, "by": _by(wording=1), "examples": ["one, two"]}


def test_a_prompt_of_which_one_word_was_changed_is_similar():
    long = "Please explain to a child of seven years how a steam engine turns heat into motion, step by step"
    found = overlap.against(_corpus([long, "b"], ["c"]), [long.replace("seven", "eight"), "how a steam engine works"])
    assert found["by"] == _by(similar=1) and found["prompts"] == 1
