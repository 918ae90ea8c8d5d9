"""One process, two, and two under DeepSpeed ZeRO-2 train the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.life.conftest import STAGES, metrics, train

# The order of additions differs; the losses of these few fp32 steps agree to this.
TOLERANCE = 2e-3
ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "ddp": ("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "launch/accelerate/ddp.yaml")),
    "zero2": ("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "launch/accelerate/zero2.yaml")),
}


@pytest.mark.truth
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_have_the_losses_of_one(whole: Path, tmp_path: Path, launcher: str) -> None:
    train(tmp_path, launcher=LAUNCHERS[launcher])
    largest, flipped = 0.0, 0
    for stage in STAGES:
        ours, theirs = metrics(tmp_path, stage), metrics(whole, stage)
        assert len(ours) == len(theirs) == 8
        for one, other in zip(ours, theirs, strict=True):
            assert one.keys() == other.keys()
            assert all(one[k] == other[k] for k in one if k.startswith("spent/"))
            flipped += one.get("length") != other.get("length")
            largest = max(largest, *(abs(one[k] - other[k]) for k in one if k.startswith(("loss", "reward", "kl"))))
    print(f"{launcher}: largest difference of losses, rewards and KL {largest:.1e}; steps with another text: {flipped}")
    assert largest < TOLERANCE
    assert flipped == 0  # mean length of the sampled answers: equal to the last digit as long as no token flips


@pytest.mark.truth
def test_micro_batches_change_nothing_but_rounding(whole: Path, tmp_path: Path) -> None:
    train(tmp_path, "runtime.micro_batch=3")
    for stage in STAGES:
        for one, other in zip(metrics(tmp_path, stage), metrics(whole, stage), strict=True):
            assert all(abs(one[k] - other[k]) < TOLERANCE for k in one if k.startswith(("loss", "reward", "kl")))
