"""`~` in front of a path, in every key whose value is one and wherever it was set."""

from __future__ import annotations

import pytest

import mora
from mora.runtime.devices import available_cores
from mora.settings import home
from mora.settings.compose import compose
from mora.settings.declared import PATHS
from mora.settings.identity import flatten, plain
from mora.settings.overrides import parse, prepare


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("pattern", PATHS)
def test_every_key_that_takes_a_path_expands_alike(tmp_path, pattern):
    key = pattern.replace("*", "x")
    section = value = {}
    *above, last = key.split(".")
    for step in above:
        section = section.setdefault(step, {})
    section[last] = ["~/a", "b/~", None]
    assert flatten(home.in_settings(value, "")) == {key: [f"{tmp_path}/a", "b/~", None]}
    (override,) = parse(prepare([f"{key}=~/it's [1]"]))[0]
    assert override.value() == f"{tmp_path}/it's [1]"


def test_what_is_no_path_keeps_its_tilde():
    assert home.in_settings({"prompt": "~/a", "objectives": {"names": ["~"]}}, "") == {
        "prompt": "~/a",
        "objectives": {"names": ["~"]},
    }
    (override,) = parse(prepare(["prompt=~/a"]))[0]
    assert override.value() == "~/a"


def test_a_composition_names_the_home_folder_wherever_a_path_was_set(tmp_path):
    given = [
        "paths.runs=~/r",
        'start.policy="~/m"',
        "dataset=jsonl",
        "dataset.path=~/[v1]/*.jsonl",
        "objectives.names=[a]",
    ]
    flat = flatten(plain(mora.compose(*given)))
    assert [flat[key] for key in ("paths.runs", "start.policy", "dataset.path")] == [
        f"{tmp_path}/{name}" for name in ("r", "m", "[v1]/*.jsonl")
    ]
    several = compose("prepare", ["task=split", "input=[~/a.jsonl,b (1).jsonl]", "output=~/out.jsonl"])
    assert compose("prepare", ["task=split", "input=[ab]*,[cd]", "output=x.jsonl"]).input == "[ab]*,[cd]"
    assert several.input == [f"{tmp_path}/a.jsonl", "b (1).jsonl"] and several.output == f"{tmp_path}/out.jsonl"


def test_a_part_of_a_mixture_too(tmp_path):
    from mora.settings.mixture import expanded

    config = plain(mora.compose("dataset=mixture", "dataset.sources=['jsonl:1:~/a.jsonl']", "objectives.names=[a]"))
    (part,) = expanded(config)["dataset"]["sources"]
    assert part["source"]["path"] == f"{tmp_path}/a.jsonl"


def test_cores_are_counted_where_the_system_says_nothing_of_this_process(monkeypatch):
    import os

    assert available_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available_cores() == 3
