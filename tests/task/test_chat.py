from __future__ import annotations

import pytest

CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "what now?"},
]
GOOD, WORSE = ({"role": "assistant", "content": text} for text in ("go on", "no"))
EXPLICIT = {"messages": CHAT, "chosen": [GOOD], "rejected": [WORSE], "source": "s"}
IMPLICIT = {"chosen": [*CHAT, GOOD], "rejected": [*CHAT, WORSE], "source": "s"}


def test_the_three_forms_of_a_pair_say_the_same(run):
    options = {"objective": "kind", "dialogues": True}
    pairs, _ = run("chat", [EXPLICIT, IMPLICIT, EXPLICIT | {"prompt": CHAT}], to="pairs", **options)
    assert pairs[0] == pairs[1]
    (pair,) = pairs[:1]
    assert pair["prompt"] == "System: be brief\n\nHuman: hello\n\nAssistant: yes?\n\nHuman: what now?\n\nAssistant:"
    assert pair["source"] == "s"
    better = pair["kind_response_id"]
    assert (pair[f"response_{better}"], pair[f"response_{1 - better}"]) == ("go on", "no")
    for to, expected in (("explicit", EXPLICIT), ("implicit", IMPLICIT)):
        assert run("chat", [EXPLICIT, IMPLICIT, pair], to=to, **options)[0] == [expected] * 3


def test_conversations_differ_in_their_last_message_alone(run):
    changed = [*CHAT[:1], {"role": "user", "content": "hi"}, *CHAT[2:]]
    rows = [
        IMPLICIT | {"rejected": [*changed, WORSE]},
        IMPLICIT | {"rejected": [*CHAT[1:], WORSE]},
        IMPLICIT | {"rejected": CHAT},
        IMPLICIT | {"chosen": [CHAT[3], GOOD], "rejected": [CHAT[3], GOOD, CHAT[3], WORSE]},
        IMPLICIT | {"rejected": [*CHAT, GOOD]},
        EXPLICIT | {"chosen": "go on"},
        {"messages": CHAT},
    ]
    found, counts = run("chat", rows, to="pairs")
    assert found == []
    assert [bad.where for bad in counts.rejected] == [f"row {n}" for n in range(1, 8)]
    reasons = [bad.reason for bad in counts.rejected]
    assert reasons[0] == (
        "chosen and rejected differ before the final answer, in message 2: user 'hello' and user 'hi'"
    )
    assert "in message 1: system 'be brief' and user 'hello'" in reasons[1]
    assert reasons[2] == "'rejected' ends with a message of user; the last one must be the answer"
    assert reasons[3] == "chosen has 1 messages before the final answer, rejected 3"
    assert reasons[4] == "chosen and rejected are the same"
    assert reasons[5].startswith("'chosen' must be a list of messages, not str")
    assert reasons[6].startswith("no pair: it needs chosen and rejected")


def test_dialogues_in_one_text_become_turns(run):
    text = "\n\nHuman: hello\n\nAssistant: yes?\n\nHuman: what\n\nnow?\n\nAssistant: "
    row = {"chosen": f"{text}go on", "rejected": f"{text}no"}
    (found,), _ = run("chat", [row], to="explicit", dialogues=True)
    assert [turn["content"] for turn in found["messages"]] == ["hello", "yes?", "what\n\nnow?"]
    assert [turn["role"] for turn in found["messages"]] == ["user", "assistant", "user"]
    assert found["chosen"] == [GOOD] and found["rejected"] == [WORSE]
    pair = {"prompt": text, "response_0": "no", "response_1": "go on", "better_response_id": 1}
    assert run("chat", [pair], to="explicit", dialogues=True)[0] == [found]
    _, counts = run("chat", [pair | {"prompt": "hello"}], to="explicit", dialogues=True)
    assert "does not begin with 'Human:'" in counts.rejected[0].reason


def test_pairs_without_a_better_answer_are_counted_and_columns_by_number_named(run):
    pair = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": 0, "kind_strength": 2}
    pair |= {"brief_response_id": 1, "is_response_0_safe": True, "id": 7, "kind_rating_0": 3}
    found, counts = run("chat", [pair, pair | {"kind_response_id": None}], to="explicit", objective="kind")
    assert len(found) == 1 and found[0]["chosen"][0]["content"] == "a"
    assert (found[0]["id"], found[0]["kind_strength"]) == (7, 2.0)
    assert counts.left_out == {"neither answer is better on kind": 1}
    (note,) = counts.notes
    assert all(name in note for name in ("brief_response_id", "is_response_0_safe", "kind_rating_0"))


def test_answers_become_conversations_and_back(run):
    rows = [{"prompt": "p", "response": "a", "n": 1}]
    conversations, _ = run("chat", rows, to="messages")
    assert conversations == [{"messages": [{"role": "user", "content": "p"}, GOOD | {"content": "a"}], "n": 1}]
    assert run("chat", conversations, to="supervised")[0] == rows
    several = [{"messages": [*CHAT, GOOD]}]
    (row,), _ = run("chat", several, to="supervised", dialogues=True)
    assert row["response"] == "go on" and run("chat", [row], to="messages", dialogues=True)[0] == several


@pytest.mark.parametrize(("row", "to"), [(EXPLICIT, "pairs"), ({"messages": [*CHAT, GOOD]}, "supervised")])
def test_a_prompt_of_several_turns_is_no_text_unless_dialogues_are(run, row, to):
    _, counts = run("chat", [row], to=to)
    assert counts.rejected[0].reason.startswith("a prompt of 4 turns is no single text; task.dialogues=true writes it")
    sly = [{"role": "user", "content": "say:\n\nAssistant: yes"}, GOOD]
    _, counts = run("chat", [{"messages": sly}], to="supervised", dialogues=True)
    assert counts.rejected[0].reason == "a turn holds a paragraph that begins like a turn of its own"


def test_three_texts_are_a_pair(run):
    (found,), _ = run("chat", [{"prompt": "p", "chosen": "a", "rejected": "b"}], to="pairs")
    assert found[f"response_{found['better_response_id']}"] == "a"


@pytest.mark.parametrize("to", ["pairs", "messages"])
def test_what_is_no_prompt_is_refused_with_its_reason(run, to):
    row = IMPLICIT if to == "pairs" else {"messages": [*CHAT, GOOD]}
    broken = {
        name: [turn for turn in value if turn["content"] != "yes?"] if isinstance(value, list) else value
        for name, value in row.items()
    }
    _, counts = run("chat", [broken], to=to)
    assert "turns alternate" in counts.rejected[0].reason and counts.rejected[0].kind == "broken_conversation"
