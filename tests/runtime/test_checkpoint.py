from __future__ import annotations

import json

import pytest
import torch

from mora.errors import InputError
from mora.runtime.checkpoint import Checkpoints
from mora.runtime.state import read_state, write_state


@pytest.fixture
def kept(runtime, tmp_path):
    checkpoints = Checkpoints(folder=tmp_path, runtime=runtime, keep=2)
    for step in (10, 20, 30):
        checkpoints.write(step, lambda folder, step=step: (folder / "weights").write_text(f"after {step}") and None)
    return checkpoints


def test_the_newest_is_found_and_old_ones_go(kept):
    assert kept.steps() == [20, 30]
    step, folder = kept.newest()
    assert (step, folder.name, (folder / "weights").read_text()) == (30, "step-00000030", "after 30")
    assert sorted(path.name for path in kept.folder.iterdir()) == ["step-00000020", "step-00000030"]


def test_the_old_one_stays_until_the_new_one_is_in_place(kept):
    def fail(folder):
        (folder / "weights").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        kept.write(40, fail)
    assert kept.steps() == [20, 30]
    kept.clean()
    assert sorted(path.name for path in kept.folder.iterdir()) == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda folder: (folder / "weights").write_text("after 31"),
            "weights is damaged: its content differs",
        ),
        (lambda folder: (folder / "weights").unlink(), r"weights is missing, and manifest\.json lists it"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing or damaged"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json is missing or damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"manifest\.json is missing or damaged"),
    ],
)
def test_damage_is_refused_with_the_way_out(kept, damage, said):
    damage(kept.path(30))
    remedy = (
        r"delete the folder .*step-00000030 to continue from the one before, or begin anew with runtime\.fresh=true"
    )
    with pytest.raises(InputError, match=rf"step-00000030/{said}.*; {remedy}"):
        kept.newest()


def test_state_comes_back_to_the_bit(tmp_path):
    third = 1 / 3
    state = {
        "a": {"lagrange": torch.tensor([third, -0.0], dtype=torch.float64), "best": -float("inf"), "third": third},
        "list": [1, None, "text", True, torch.ones((), dtype=torch.bfloat16)],
        "empty": {},
    }
    write_state(tmp_path, state)
    back = read_state(tmp_path)
    assert back["a"]["third"] == third and back["a"]["best"] == -float("inf") and back["empty"] == {}
    assert torch.equal(back["a"]["lagrange"].view(torch.int64), state["a"]["lagrange"].view(torch.int64))
    assert back["list"][:4] == [1, None, "text", True] and back["list"][4].dtype == torch.bfloat16


@pytest.mark.parametrize("state", [{"x": object()}, {"x": {1: 2}}, {"x": {1, 2}}])
def test_state_that_is_neither_json_nor_tensor_is_refused(tmp_path, state):
    with pytest.raises(TypeError, match="x"):
        write_state(tmp_path, state)
    assert not json.loads("[]") and list(tmp_path.iterdir()) == []
