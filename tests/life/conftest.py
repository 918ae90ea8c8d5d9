"""Whole commands on a small garden, in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = [
    "dataset.supervised={train:300,test:20}",
    "dataset.pairs={train:300,test:40}",
    "model.config.hidden_size=32",
    "model.config.intermediate_size=64",
    "model.config.num_attention_heads=2",
    "model.config.num_key_value_heads=2",
    'start.sft=["algo.epochs=null","algo.steps=8","algo.batch_size=16","algo.optimizer.warmup=0.25"]',
    'start.reward_model=["algo.epochs=null","algo.steps=8","algo.batch_size=16","algo.optimizer.warmup=0.25"]',
    "algo.steps=8",
    "algo.rollout.prompts=8",
    "algo.rollout.samples=2",
    "algo.minibatches=2",
    "algo.ptx_coef=0.1",
    "algo.ptx_batch_size=8",
    "evaluation.prompts=4",
    "evaluation.samples=2",
    "runtime.save_every=2",
]
STAGES = ("sft", "reward_model", "panacea")


def environment() -> dict[str, str]:
    """What every process of these tests sees."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


def train_command(runs: Path, *overrides: str) -> list[str]:
    """The whole chain on the small garden."""
    return [sys.executable, "-m", "mora.train", *SMALL, f"paths.runs={runs}", *overrides]


def train(runs: Path, *overrides: str, launcher: tuple[str, ...] = ()) -> None:
    """Run the chain to its end; a failure shows the output."""
    command = train_command(runs, *overrides)
    if launcher:
        command = [command[0], *launcher, *command[1:]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr


def run_of(runs: Path, stage: str) -> Path:
    """The run folder of a stage."""
    return next(iter(runs.glob(f"{stage}-*")))


def weights(runs: Path) -> dict[str, str]:
    """SHA-256 of every weight file that a stage hands on, by stage and name."""
    products = {"sft": "model", "reward_model": "reward", "panacea": "policy"}
    return {
        f"{stage}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for stage, product in products.items()
        for file in sorted((run_of(runs, stage) / product).glob("*.safetensors"))
    }


def metrics(runs: Path, stage: str) -> list[dict[str, float]]:
    """The rows of metrics.jsonl without wall times and memory."""
    lines = (run_of(runs, stage) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(("time/", "memory/"))} for line in lines]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one uninterrupted chain."""
    runs = tmp_path_factory.mktemp("whole")
    train(runs)
    return runs
