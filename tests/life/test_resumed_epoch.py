"""A run that is killed in the middle of an epoch reads the rest of it in the same order, on one process or two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.life.conftest import environment, metrics

PROCESSES = {
    1: (),
    2: ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
}
ROWS, BATCH, STEPS = 100, 16, 14  # more than two epochs, and no border of an epoch at that of a batch
TOLERANCE = 2e-3  # of losses: the order of additions differs


def _data(folder: Path) -> Path:
    """Pairs of very different lengths, so that tokens tell which rows a step has read."""

    def numbers(count: int, of: int) -> str:
        return " ".join(str(of * k * 37 % 997) for k in range(1, count + 2))

    rows = [
        {
            "prompt": numbers(7 * n % 23, n),
            "response_0": numbers(13 * n % 31, n + 1),
            "response_1": numbers(29 * n % 37, n + 2),
            "better_response_id": n % 2,
        }
        for n in range(ROWS)
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _command(runs: Path, data: Path, processes: int, *driver: str) -> list[str]:
    settings = [
        "algo=reward_model",
        "reward=scalar",
        "model=micro",
        "dataset=jsonl",
        f"dataset.path={data}",
        "dataset.test_share=0",  # so nothing is measured
        "start.sft=[algo.epochs=null,algo.steps=1]",
        "algo.epochs=null",
        f"algo.steps={STEPS}",
        f"algo.batch_size={BATCH}",
        "algo.optimizer.warmup=0.2",
        "algo.length_window=3",
        "runtime.save_every=2",
        f"paths.runs={runs}",
    ]
    return [sys.executable, *PROCESSES[processes], *(driver or ("-m",)), "mora.train", *settings]


def _finish(runs: Path, data: Path, processes: int) -> list[dict[str, float]]:
    done = subprocess.run(
        _command(runs, data, processes), env=environment(), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return metrics(runs, "reward_model")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """The file of pairs, and what one process that is never killed logs of it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    data = _data(folder)
    return data, _finish(folder / "whole", data, 1)


@pytest.mark.truth
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_the_rest_of_an_epoch_is_read_in_the_same_order(
    uninterrupted: tuple[Path, list[dict[str, float]]], tmp_path: Path, before: int, after: int
) -> None:
    data, whole = uninterrupted
    driver = str(Path(__file__).with_name("killing.py"))
    killed = subprocess.run(
        _command(tmp_path / "killed", data, before, driver, "reward_model", "4"),
        env=environment(),
        capture_output=True,
        timeout=400,
        check=False,
    )
    assert killed.returncode != 0
    done = [path.name for path in (tmp_path / "killed").glob("reward_model-*/checkpoints/step-*")]
    assert max(int(name.removeprefix("step-")) for name in done) == 6  # of 6.25 batches of the first epoch
    resumed = _finish(tmp_path / "killed", data, after)
    assert [row["step"] for row in resumed] == [row["step"] for row in whole] == list(range(1, STEPS + 1))
    tokens = [[value for name, value in row.items() if name.startswith("spent/")] for row in whole]
    assert tokens == [[value for name, value in row.items() if name.startswith("spent/")] for row in resumed]
    assert len({tuple(row) for row in tokens[1:]}) > STEPS // 2  # they do tell steps apart
    assert max(abs(one["loss"] - other["loss"]) for one, other in zip(whole, resumed, strict=True)) < TOLERANCE
