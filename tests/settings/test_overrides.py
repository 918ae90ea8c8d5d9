"""Free text from a shell reaches the task as it was typed."""

from __future__ import annotations

import pytest

from mora.settings.compose import compose
from mora.settings.overrides import parse, prepare


@pytest.mark.parametrize(
    "text",
    [
        "what now ?",
        "well, and then?",
        "f(x) = [1, 2",
        'she said "no"',
        "it's {here}",
        "a: b; c \\ d",
        "100% of ${HOME} and $x",
        "42",
        "true",
        "trailing space ",
        "two\nlines",
        "ends with a quote'",
        "",
    ],
)
def test_a_prompt_is_what_was_typed(tree, text):
    assert compose("generate", ["run=x", f"prompt={text}"], tree).prompt == text


def test_null_and_lists_keep_their_meaning(tree):
    assert compose("generate", ["run=x", "prompt=null"], tree).prompt is None
    assert list(compose("generate", ["run=x", "prompt=[one, two]"], tree).prompt) == ["one", "two"]
    assert compose("generate", ["run=x", "prompt='quoted, already'"], tree).prompt == "quoted, already"


def test_a_key_may_bear_the_name_of_a_group_of_another_command(tree):
    """``conf/preference`` is a folder; ``preference`` is a key of ``generate``, which has no such group."""
    assert list(compose("generate", ["run=x", "preference=[0.25,0.75]"], tree).preference) == [0.25, 0.75]


def test_paths_are_free_text_in_which_interpolation_works(tree):
    cfg = compose("generate", ["run=${paths.runs}/a, b (c)", "paths.runs=/data/x=y"], tree)
    assert cfg.run == "/data/x=y/a, b (c)" and cfg.paths.runs == "/data/x=y"


def test_free_text_is_left_alone_in_a_sweep():
    assert prepare(["run=a,b"], multirun=True) == ["run=a,b"]
    assert prepare(["run=a,b"]) == ["run='a,b'"]


def test_other_keys_are_left_to_the_grammar():
    assert prepare(["seed=1,2", "~x", "algo=ppo", "algo.x={a: 1}"]) == ["seed=1,2", "~x", "algo=ppo", "algo.x={a: 1}"]


def test_a_list_of_overrides_needs_no_quotes_around_its_items():
    given = ["start.sft=[algo.steps=50,algo.betas=[0.9,0.95]]", "start.sft=['algo.steps=50']", "start.sft=[]"]
    assert prepare(given) == ["start.sft=['algo.steps=50','algo.betas=[0.9,0.95]']", given[1], "start.sft=[]"]
    parsed, problems = parse(prepare(given))
    assert not problems and parsed[0].value() == ["algo.steps=50", "algo.betas=[0.9,0.95]"]
