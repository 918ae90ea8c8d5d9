"""A checkpoint from a stranger is data: what it would run is found before anything is unpickled."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from mora.errors import InputError
from mora.manifest import seal
from mora.runtime.checkpoint import verify
from mora.runtime.pickles import check_pickles


class Shell:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Hidden:
    """Names an allowed module's parent, whose other functions are not allowed."""

    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize("make", [lambda folder: Shell(folder / "ran"), lambda folder: Hidden()])
def test_a_state_that_names_code_is_refused_and_runs_nothing(tmp_path, make):
    (tmp_path / "zero").mkdir()
    torch.save({"module": torch.zeros(2), "more": make(tmp_path)}, tmp_path / "zero" / "model_states.pt")
    with pytest.raises(InputError, match=r"model_states\.pt would run .* and was not"):
        check_pickles(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"PK\x03\x04 no archive"])
def test_what_is_no_state_is_refused(tmp_path, content):
    (tmp_path / "model_states.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model_states\.pt"):
        check_pickles(tmp_path)


def test_a_plain_pickle_in_its_place_is_refused(tmp_path):
    (tmp_path / "model_states.pt").write_bytes(pickle.dumps(Shell(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"model_states\.pt"):
        check_pickles(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_tensors_and_deepspeeds_own_data_pass(tmp_path):
    torch.save({"module": {"w": torch.zeros(2)}, "step": 3}, tmp_path / "model_states.pt")
    scaler = pytest.importorskip("deepspeed.runtime.fp16.loss_scaler")
    torch.save({"scaler": scaler.LossScaler(scale=1.0)}, tmp_path / "optim_states.pt")
    check_pickles(tmp_path)


@pytest.mark.parametrize("name", ["model_states.PT", "model_states.pth", "pytorch_model.bin", "state", "latest.txt"])
def test_a_state_by_any_name_is_looked_through(tmp_path, name):
    torch.save({"more": Shell(tmp_path / "ran")}, tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} would run"):
        check_pickles(tmp_path)


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint, and beside it a folder of a stranger."""
    folder = tmp_path / "step-00000010"
    folder.mkdir()
    torch.save({"w": torch.zeros(2)}, folder / "model_states.pt")
    seal(folder)
    (tmp_path / "elsewhere").mkdir()
    torch.save({"more": Shell(tmp_path / "ran")}, tmp_path / "elsewhere" / "evil.pt")
    verify(folder)
    check_pickles(folder)
    return folder


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/evil.pt", "absent"])
@pytest.mark.parametrize("check", [verify, check_pickles])
def test_links_in_a_checkpoint_are_refused(checkpoint, tmp_path, target, check):
    (checkpoint / "state").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"state is a link"):
        check(checkpoint)


@pytest.mark.parametrize("name", ["zero_pp_rank_0_mp_rank_00_optim_states.pt", "deep/notes.txt"])
def test_a_file_that_was_not_sealed_is_refused(checkpoint, name):
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(b"any")
    with pytest.raises(InputError, match=rf"{name} is not listed in manifest\.json"):
        verify(checkpoint)
