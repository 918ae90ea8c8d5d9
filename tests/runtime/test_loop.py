from __future__ import annotations

import errno
import json
import os
import signal

import pytest
import torch

from mora.errors import InputError
from mora.files import read_lines
from mora.runtime import loop as loops
from mora.runtime.folder import RunFolder
from mora.runtime.loop import Loop, truncate_metrics
from mora.runtime.memory import PeakMemory
from mora.runtime.track import NoTracker


def steady(rows):
    return [{key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))} for row in rows]


class Trainer:
    """The driver's training in this process."""

    def __init__(self, driver, runtime, root, steps=10):
        self.driver, self.runtime, self.steps = driver, runtime, steps
        self.folder = RunFolder.open(root, "tiny", {}, config="a: 1\n", overrides="", diff="", runtime=runtime)
        self.average = driver.Average()
        self.engine = driver.make_engine(runtime, steps)
        self.loop = Loop(
            self.folder,
            runtime,
            self.engine,
            total=steps,
            stateful={"average": self.average},
            tracker=NoTracker(),
            memory=PeakMemory(runtime.device),
        )

    def go(self, stop_after=None, at_step=lambda step: None):
        for step in self.loop.steps():
            self.average.count += 1
            self.loop.log(self.engine.step(self.driver.closures(self.runtime, self.engine, step, 8)))
            self.loop.log({"count": self.average.count})
            at_step(step)
            if step == stop_after:
                return self
        return self

    @property
    def result(self):
        return self.driver.weights_hash(self.engine), steady(read_lines(self.folder.metrics)), self.average.count


@pytest.fixture
def trainer(driver, runtime):
    return lambda root: Trainer(driver, runtime, root)


def test_steps_rows_and_cadence(trainer, tmp_path):
    run = trainer(tmp_path).go()
    rows = read_lines(run.folder.metrics)
    assert [row["step"] for row in rows] == list(range(1, 11)) == [row["count"] for row in rows]
    assert set(rows[0]) == {"step", "count", "loss", "grad_norm", "lr", "time/step", "memory/peak"}
    # every 4 steps and at the end, two of them kept
    assert sorted(path.name for path in run.folder.checkpoints.iterdir()) == ["step-00000008", "step-00000010"]
    assert run.folder.status == {"state": "running", "step": 10, "total": 10}


@pytest.mark.parametrize("last", [1, 3, 4, 8])
def test_a_run_that_ended_anywhere_continues_exactly(trainer, tmp_path, last):
    whole = trainer(tmp_path / "whole").go().result
    trainer(tmp_path / "cut").go(stop_after=last)
    again = trainer(tmp_path / "cut")
    assert again.loop.done == last // 4 * 4  # the step that was cut never counts
    assert [row["step"] for row in read_lines(again.folder.metrics)] == list(range(1, again.loop.done + 1))
    assert again.go().result == whole
    assert list(trainer(tmp_path / "cut").loop.steps()) == []


def test_a_damaged_newest_state_is_refused_and_deleting_it_continues(trainer, tmp_path):
    whole = trainer(tmp_path / "whole").go().result
    run = trainer(tmp_path / "cut").go(stop_after=9)
    newest = run.folder.checkpoints / "step-00000008"
    weights = newest / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"step-00000008/weights\.safetensors is damaged"):
        trainer(tmp_path / "cut")
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    again = trainer(tmp_path / "cut")
    assert again.loop.done == 4 and again.go().result == whole


def test_a_row_has_the_most_memory_of_any_process(trainer, runtime, tmp_path, monkeypatch):
    run = trainer(tmp_path)
    gather = runtime.gather
    monkeypatch.setattr(run.loop._memory, "gib", lambda: 2.0)
    monkeypatch.setattr(run.engine, "_check_losses", lambda values: None)  # gathers as well
    monkeypatch.setattr(runtime, "gather", lambda own: torch.cat([gather(own), torch.full_like(own, 4.0)]))
    run.go()
    assert [row["memory/peak"] for row in read_lines(run.folder.metrics)] == [4.0] * 10


def test_metrics_are_cut_to_the_state(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [f'{{"step": {step}, "loss": 0.5}}\n' for step in range(1, 6)]
    path.write_text("".join(rows) + '{"step": 3, "lo')  # a torn last row must go, whatever its number
    truncate_metrics(path, 3)
    assert path.read_text() == "".join(rows[:3])
    before = path.stat().st_ino
    truncate_metrics(path, 3)
    assert path.stat().st_ino == before
    truncate_metrics(path, 0)
    assert path.read_text() == ""
    truncate_metrics(tmp_path / "none.jsonl", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_keeps_the_state_and_leaves_with_0(trainer, tmp_path, capsys, number):
    whole = trainer(tmp_path / "whole").go().result
    before = signal.getsignal(number)
    run = trainer(tmp_path / "cut")
    with pytest.raises(SystemExit) as left:
        run.go(at_step=lambda step: os.kill(os.getpid(), number) if step == 5 else None)
    assert left.value.code == 0 and signal.getsignal(number) == before
    assert "stopped after step 6 of 10, state kept; the same command goes on" in capsys.readouterr().err
    assert json.loads((run.folder.path / "status.json").read_text()) == {"state": "stopped", "step": 6, "total": 10}
    again = trainer(tmp_path / "cut")
    assert again.loop.done == 6 and again.go().result == whole


@pytest.fixture
def heard():
    """SIGINT as in the foreground of a terminal; in the background of a shell it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("step", [5, 9])
def test_ctrl_c_finishes_the_step_keeps_the_state_and_interrupts(trainer, tmp_path, capfd, heard, step):
    whole = trainer(tmp_path / "whole").go().result
    run = trainer(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run.go(at_step=lambda at: os.kill(os.getpid(), signal.SIGINT) if at == step else None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    said = capfd.readouterr().err
    assert f"leaving after step {step + 1}, state kept; again: leave at once" in said
    assert f"stopped after step {step + 1} of 10, state kept; the same command goes on" in said
    assert run.folder.status == {"state": "stopped", "step": step + 1, "total": 10}
    again = trainer(tmp_path / "cut")
    assert again.loop.done == step + 1 and again.go().result == whole


def test_ctrl_c_again_leaves_at_once(trainer, tmp_path, heard, monkeypatch):
    """What a launcher hands on of the same press does not count as a second one."""

    def press(step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after one press")
            monkeypatch.setattr(loops, "ONE_PRESS", 0.0)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after two")

    reached = []
    run = trainer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.go(at_step=press)
    assert reached == ["after one press"]
    assert sorted(path.name for path in run.folder.checkpoints.iterdir()) == ["step-00000004"]


def test_a_run_in_the_background_goes_on_ignoring_ctrl_c(trainer, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = trainer(tmp_path).go(at_step=lambda at: os.kill(os.getpid(), signal.SIGINT) if at == 1 else None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.loop.done == 10


def test_a_full_disk_names_the_file_that_could_not_be_written(trainer, tmp_path, monkeypatch):
    def full(row):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = trainer(tmp_path)
    monkeypatch.setattr(loops, "json_line", full)
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        run.go()


def test_a_schedulers_own_handler_is_called_after_the_state_is_kept(trainer, tmp_path):
    run = trainer(tmp_path)
    seen = []

    def requeue(number, frame):
        seen.append((number, [path.name for path in run.folder.checkpoints.iterdir()]))
        raise SystemExit(3)

    previous = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit) as left:
            run.go(at_step=lambda step: os.kill(os.getpid(), signal.SIGUSR2) if step == 1 else None)
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert left.value.code == 3 and seen == [(signal.SIGUSR2, ["step-00000002"])]


def kill_everywhere(run, root, stride):
    """Every ``stride``-th fsync or rename of a run with two saves is once the last thing that its process did."""
    code, out, err = run("single", root, "--campaign", stride, "--steps", 7)
    assert code == 0, err
    assert json.loads(out)["cases"] >= 50 // stride


def test_kills_at_some_durable_operations(run, tmp_path):
    kill_everywhere(run, tmp_path, 8)


@pytest.mark.truth
def test_kills_at_every_durable_operation(run, tmp_path):
    kill_everywhere(run, tmp_path, 1)


@pytest.mark.truth
def test_kills_between_steps(start, run, tmp_path):
    code, out, _ = run("single", tmp_path / "whole")
    assert code == 0
    for last in (0, 3, 6):
        process = start("single", tmp_path / f"cut{last}", "--slow", 0.3)
        for line in process.stdout:
            if line == f"step {last}\n":
                process.kill()
                break
        assert process.wait() == -signal.SIGKILL
        assert run("single", tmp_path / f"cut{last}")[:2] == (0, out)
