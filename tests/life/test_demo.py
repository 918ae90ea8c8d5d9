"""The demo as it is shipped: the default command from nothing to a front, and once more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.life.conftest import environment, run_of


def _train(runs: Path) -> str:
    """The default command; what it printed."""
    command = [sys.executable, "-m", "mora.train", f"paths.runs={runs}"]
    environ = environment()
    environ.pop("OMP_NUM_THREADS")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.truth
@pytest.mark.timeout(1200)
def test_the_demo_traces_a_steerable_front(tmp_path: Path) -> None:
    """Bounds lie below the worst of three seeds: hypervolume .45, accuracy .97 of Bayes, valid .99, tau 1."""
    first = _train(tmp_path)
    assert "report/index.html" in first
    run = run_of(tmp_path, "panacea")
    front = json.loads((run / "tables" / "front.json").read_text())
    gold = front["indicators"]["gold"]
    assert gold["hypervolume"]["value"] > 0.42
    assert min(gold["kendall_tau"]["value"]) > 0.9
    assert min(point["valid"] for point in front["points"]) > 0.97
    reward = json.loads((run_of(tmp_path, "reward_model") / "tables" / "reward.json").read_text())
    assert min(entry["share_of_bayes"] for entry in reward["accuracy"].values()) > 0.95
    second = _train(tmp_path)
    assert second.startswith("already done")
    assert second.splitlines()[1:] == first.splitlines()[first.splitlines().index("") :]
