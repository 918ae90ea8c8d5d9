"""Ctrl-C, damage between stages, and reports beside evaluations, with whole commands."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.life.conftest import environment, metrics, run_of, train, train_command, weights

# In the background of a shell SIGINT is ignored, and children inherit that.
HEARS = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
RUN = HEARS + "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"


def _start(command: list[str]) -> subprocess.Popen[str]:
    """A command of ``python -m``, which hears Ctrl-C."""
    listening = [command[0], "-c", RUN, *command[2:]]
    return subprocess.Popen(
        listening, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _rows(runs: Path, stage: str) -> int:
    files = list(runs.glob(f"{stage}-*/metrics.jsonl"))
    return files[0].read_text().count("\n") if files else 0


def _interrupt(runs: Path, process: subprocess.Popen[str], stage: str) -> str:
    deadline = time.monotonic() + 300
    while not _rows(runs, stage) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    return error


@pytest.mark.truth
def test_ctrl_c_loses_no_step_and_the_same_command_goes_on(whole: Path, tmp_path: Path) -> None:
    stages = ("reward_model", "panacea")
    for stage in stages:
        process = _start(train_command(tmp_path, "runtime.save_every=1000"))
        error = _interrupt(tmp_path, process, stage)
        assert process.returncode == 130, error
        assert "the same command goes on" in error and "Traceback" not in error
        status = json.loads((run_of(tmp_path, stage) / "status.json").read_text())
        assert status["state"] == "stopped" and status["step"] == _rows(tmp_path, stage) >= 1
    train(tmp_path)
    assert weights(tmp_path) == weights(whole)
    assert all(metrics(tmp_path, stage) == metrics(whole, stage) for stage in stages)


@pytest.mark.truth
def test_ctrl_c_ends_a_sweep(tmp_path: Path) -> None:
    process = _start(train_command(tmp_path, "-m", "seed=1,2"))
    error = _interrupt(tmp_path, process, "sft")
    assert process.returncode == 130, error
    assert len(list(tmp_path.glob("sft-*"))) == 1
    (cell,) = tmp_path.glob("sweeps/*/*/cell.json")
    assert json.loads(cell.read_text())["status"] == "stopped"


@pytest.mark.truth
@pytest.mark.parametrize(("stage", "product"), [("sft", "model"), ("reward_model", "reward")])
def test_a_flipped_bit_in_what_a_stage_hands_on_is_no_other_table(
    whole: Path, tmp_path: Path, stage: str, product: str
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole, runs)
    shutil.rmtree(run_of(runs, "panacea"))
    path = run_of(runs, stage) / product / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    done = subprocess.run(train_command(runs), env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert f"{path} is damaged" in done.stderr and "Traceback" not in done.stderr
    assert not list(runs.glob("panacea-*/tables"))


@pytest.mark.truth
def test_reports_beside_an_evaluation_disturb_neither(whole: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole, runs)
    run = run_of(runs, "panacea")
    python = sys.executable
    evaluate = [python, "-m", "mora.evaluate", f"run={run}", f"paths.runs={runs}", "evaluation.prompts=4"]
    commands = [[python, "-m", "mora.report", str(run)]] * 3 + [[*evaluate, "evaluation.samples=2"]]
    started = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert (run / "report" / "index.html").is_file()
    assert not [path.name for path in run.iterdir() if path.name.startswith((".partial-", ".replaced-"))]
