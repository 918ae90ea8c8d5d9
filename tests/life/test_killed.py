"""A chain that is killed in each of its stages and started again by the same command ends with the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.life.conftest import STAGES, environment, metrics, train, train_command, weights

# Finished steps after which a stage is killed: before its first state, right after one, and between two.
MOMENTS = {"sft": (1, 4), "reward_model": (3,), "panacea": (1, 3, 4)}


def _rows(runs: Path, stage: str) -> int:
    files = list(runs.glob(f"{stage}-*/metrics.jsonl"))
    return files[0].read_text().count("\n") if files else 0


def _kill_after(runs: Path, stage: str, rows: int) -> None:
    """Start the chain and kill it, without warning, once ``stage`` has written so many rows."""
    process = subprocess.Popen(
        train_command(runs), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while _rows(runs, stage) < rows and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, f"the chain ended before {stage} had {rows} rows"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.truth
def test_killed_at_any_step_continues_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        for rows in MOMENTS[stage]:
            _kill_after(tmp_path, stage, rows)
    train(tmp_path)
    assert weights(tmp_path) == weights(whole)
    for stage in STAGES:
        assert metrics(tmp_path, stage) == metrics(whole, stage)


@pytest.mark.truth
def test_killed_inside_a_save_of_every_stage_continues_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    driver = Path(__file__).with_name("killing.py")
    for stage in STAGES:
        command = [sys.executable, str(driver), stage, "2", "mora.train", *train_command(tmp_path)[3:]]
        killed = subprocess.run(command, env=environment(), capture_output=True, timeout=300)
        assert killed.returncode == -signal.SIGKILL, stage
    train(tmp_path)
    assert weights(tmp_path) == weights(whole)
    for name in STAGES:
        assert metrics(tmp_path, name) == metrics(whole, name)
