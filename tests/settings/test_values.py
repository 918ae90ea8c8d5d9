"""Settings that cannot work are refused by key before the first stage, by the bounds that annotations state."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml
from tests.settings.impossible import IMPOSSIBLE, PLACES

import mora
from mora import bounds
from mora.bounds import Betas, Count, Number, Share
from mora.errors import InputError
from mora.files import check_writable, read_object, write_json
from mora.settings import kinds
from mora.settings.check import check
from mora.settings.launch import launch
from mora.settings.overrides import prepare
from mora.settings.targets import spelled
from mora.settings.tree import conf_dir, opened


def refused(command: str, overrides: list[str]) -> str:
    """The message with which the settings, or else the plan, refuse."""
    with pytest.raises(InputError) as caught:
        config = mora.compose(*overrides, command=command)
        if command == "train":
            importlib.import_module("mora.run.plan").plan(config, overrides)
        else:
            vars(importlib.import_module(f"mora.{command}"))[command](config, overrides)
    return str(caught.value)


@pytest.mark.parametrize(("command", "given", "key"), IMPOSSIBLE)
def test_what_cannot_work_is_refused_by_its_key(command, given, key, tmp_path):
    message = refused(command, [*given.split(), f"paths.runs={tmp_path / 'runs'}"])
    assert key in message and "Traceback" not in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("command", "given", "key"), PLACES)
def test_places_that_cannot_be_written_are_refused(command, given, key, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    argv = [word.format(file=file) for word in given.split()]
    assert launch(command, lambda config, overrides: pytest.fail("the command began"), argv) == 2
    said = capsys.readouterr().err
    assert f"{key}=" in said and "is no folder" in said


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a" / "b", "out")
    check_writable(tmp_path, "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="out=/proc/"):
        check_writable("/proc/nothing/there", "out")


@pytest.mark.parametrize("words", ["-m --cfg job seed=0,1", "-m seed=0,1 hydra/launcher=submitit_slurm"])
def test_what_cannot_be_launched_is_said(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert launch("train", lambda config, overrides: pytest.fail("the command began"), words.split()) == 2
    said = capsys.readouterr().err
    assert any(word in words and word in said for word in ("--cfg", "hydra/launcher"))


@pytest.mark.parametrize(
    "given", ["model.rates=null", "model.rates=3", "model.rates=[1]", "algo.rollout=null", "algo.optimizer=null"]
)
def test_a_section_is_not_replaced_by_what_is_none(given):
    key = given.partition("=")[0]
    with opened("train") as tree:
        (problem,) = check(tree, prepare([given])).problems
    assert problem.startswith(f"{key}: this is a section with the keys ") and problem.endswith("; set one of them")
    assert "_target_" not in problem


@pytest.mark.parametrize("key", ["dataset.pairing", "model.config"])
def test_a_section_that_may_be_absent_may_be_null(key):
    given = ["dataset=jsonl", "dataset.path=rows.jsonl", "model.path=some/model", f"{key}=null"]
    with opened("train") as tree:
        assert check(tree, prepare(given), complete=False).problems == ()


def test_a_refusal_loads_no_torch():
    """One process for one case of each command and kind: settings, relations, names, places."""
    cases = [
        ("train", ["algo.steps=-3"]),
        ("train", ["objectives.names=[cure,cure]"]),
        ("train", ["start.policy=nope"]),
        ("train", ["paths.runs=/proc/nothing"]),
        ("evaluate", ["run=nope"]),
        ("generate", ["run=nope"]),
        ("export", ["run=nope", "preference=[1,0]"]),
        ("score", ["run=nope"]),
        ("prepare", ["input=x", "task=statistics", "task.bins=0"]),
    ]
    program = (
        "import importlib, sys\n"
        "from mora.settings.launch import launch\n"
        f"for command, argv in {cases!r}:\n"
        "    task = vars(importlib.import_module(f'mora.{command}'))[command]\n"
        "    assert launch(command, task, argv) == 2, command\n"
        "    assert 'torch' not in sys.modules, (command, argv)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_values_of_every_source_are_checked(tmp_path):
    """An experiment of one's own, a group file of one's own, the parameters of a sweep."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "algo").mkdir()
    (tmp_path / "experiment" / "long.yaml").write_text("# @package _global_\nalgo: {steps: -1}\n")
    own = yaml.safe_load((conf_dir() / "algo" / "panacea.yaml").read_text()) | {"critic_lr": -1.0}
    (tmp_path / "algo" / "mine.yaml").write_text(yaml.safe_dump(own))
    for overrides, key in ((["experiment=long"], "algo.steps=-1"), (["algo=mine"], "algo.critic_lr=-1")):
        with opened("train", searchpath=[str(tmp_path)]) as tree:
            (problem,) = check(tree, overrides).problems
        assert key in problem
    with opened("train") as tree:
        (problem,) = check(tree, prepare(["algo.minibatches=3,4"], True), multirun=True).problems
    assert problem.startswith("algo.minibatches=3: must divide")


@pytest.mark.parametrize(
    ("annotation", "inside", "outside"),
    [
        ("Count", [1, 5], [0, -1, 1.5, None, True, "1"]),
        ("Count | None", [1, None], [0, "null"]),
        ("Seed", [0, 2**63 - 1], [-1, 2**63]),
        ("Share", [0, 1, 0.5], [-0.1, 1.1, float("nan")]),
        ("Inside", [0.5], [0, 1]),
        ("Number", [-1e9, 0], [float("inf"), float("nan"), "x"]),
        ("Number | list[Number]", [1, [1, 2]], [[float("nan")], ["x"]]),
        ("Betas", [[0.9, 0]], [[0.9], [0.9, 1], 0.9, [0.1, 0.2, 0.3]]),
        ("Mapping[str, Natural]", [{"a": 0}], [{"a": -1}, 1]),
        ("list[list[Share]] | None", [None, [[0.5]]], [[[2]], [1]]),
    ],
)
def test_an_annotation_says_what_is_inside(annotation, inside, outside):
    kind = kinds.of_annotation(spelled(annotation))
    assert kind.bounded
    assert [value for value in inside if not kind.accepts(value)] == []
    assert [value for value in outside if kind.accepts(value)] == []


@dataclass
class Given:
    count: Count
    shares: list[list[Share]] | None
    betas: Betas
    ideal: Number | list[Number]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count": 0}, "x.count=0: must be at least 1"),
        ({"shares": [[0.5, 2]]}, "x.shares[0][1]=2: must be at least 0 and at most 1"),
        ({"betas": (0.9, 1.0)}, "x.betas[1]=1.0: must be at least 0 and below 1"),
        ({"ideal": [1.0, float("nan")]}, "x.ideal[1]=nan: must be a finite number"),
    ],
)
def test_the_same_bounds_hold_for_objects_made_in_python(changed, said):
    usual = {"count": 1, "shares": [[0.5, 0.5]], "betas": (0.9, 0.95), "ideal": 1.0}
    bounds.check(Given(**usual), "x")
    with pytest.raises(InputError) as caught:
        bounds.check(Given(**usual | changed), "x")
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [[], 3, {}, {"a": 1}, {"a": {}}])
def test_a_stored_object_has_the_keys_that_it_must_have(content, tmp_path):
    path = tmp_path / "status.json"
    write_json(path, content)
    with pytest.raises(InputError) as caught:
        read_object(path, ["a.b"])
    assert str(path) in str(caught.value)
    write_json(path, {"a": {"b": 1}})
    assert read_object(path, ["a.b"]) == {"a": {"b": 1}}
