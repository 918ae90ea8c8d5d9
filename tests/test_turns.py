from __future__ import annotations

import pytest

from mora.turns import MARK, joined, readable, turns_of


def _turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


SEVERAL = _turns(("system", "Be kind."), ("user", "user\nHi\n"), ("assistant", "Yo"), ("user", "system\n"))


@pytest.mark.parametrize("turns", [SEVERAL, SEVERAL[1:], SEVERAL[1:2], _turns(("system", "s"), ("user", "u"))])
def test_turns_come_back_as_they_were(turns):
    assert turns_of(joined(turns)) == turns


def test_one_user_turn_is_its_own_text():
    assert joined(_turns(("user", "Hi"))) == "Hi" and readable("Hi") == "Hi"


@pytest.mark.parametrize("text", [MARK, f"{MARK}user", f"a{MARK}user\nb", f"{MARK}system\na", f"{MARK}nobody\na"])
def test_a_text_with_marks_of_its_own_is_one_user_turn(text):
    assert turns_of(text) == _turns(("user", text)) and readable(text) == text


def test_a_person_reads_each_turn_under_its_role():
    assert readable(joined(SEVERAL)) == "System: Be kind.\n\nUser: user\nHi\n\n\nAssistant: Yo\n\nUser: system\n"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "there is no turn"),
        (_turns(("user", " ")), "turn 1 .user. is empty"),
        (_turns(("human", "x")), "the role 'human' is none of system, user, assistant"),
        (_turns(("user", f"a{MARK}b")), "turn 1 .user. holds the control character"),
        (_turns(("user", "x"), ("user", "y")), "turn 2: user where assistant is due"),
        (_turns(("assistant", "x"), ("user", "y")), "turn 1: assistant where user is due"),
        (_turns(("user", "x"), ("system", "y"), ("user", "z")), "turn 2: system where assistant is due"),
        (_turns(("user", "x"), ("assistant", "y")), "the last turn is assistant"),
        (_turns(("system", "x")), "the last turn is system"),
    ],
)
def test_turns_that_are_no_prompt_are_told(turns, reason):
    with pytest.raises(ValueError, match=reason):
        joined(turns)
