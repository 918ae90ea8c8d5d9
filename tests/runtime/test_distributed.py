"""Two processes over gloo give the update of one."""

from __future__ import annotations

import json
import signal

import pytest
import torch


def weights(path):
    content = json.loads(path.read_text())
    return content["world"], {name: torch.tensor(value) for name, value in content["weights"].items()}


def rows(root):
    (metrics,) = (path for path in root.glob("*/metrics.jsonl") if ".before-" not in path.parent.name)
    read = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "memory/")) and k != "noise"} for row in read]


@pytest.fixture
def same_as_one(run, tmp_path, driver, runtime):
    """Run under a launcher and, here, alone; weights and every logged number must agree."""

    def check(launcher, *arguments, **more):
        one, two = ([tmp_path / name, "--out", tmp_path / f"{name}.json", *arguments] for name in ("one", "two"))
        driver.train(driver.parsed([str(argument) for argument in one]))
        code, _, err = run(launcher, *two, **more)
        assert code == 0, err
        (alone, expected), (together, found) = weights(tmp_path / "one.json"), weights(tmp_path / "two.json")
        assert (alone, together) == (1, 2)
        for name, weight in expected.items():
            # fp32 sums in another order; ten updates of at most 0.05 each
            torch.testing.assert_close(
                found[name], weight, rtol=0, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
            )
        for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
            assert two == pytest.approx(one, rel=2e-5)

    return check


def test_two_processes_give_the_update_of_one(same_as_one):
    same_as_one("forked", "--micro", 2)


@pytest.mark.truth
@pytest.mark.parametrize(
    ("launcher", "arguments"),
    [
        ("torchrun", ("--micro", 2)),
        ("ddp", ("--micro", 1)),
        ("ddp", ("--micro", 2, "--stages", 2)),
        ("zero2", ("--micro", 4)),
        ("zero2", ("--micro", 1)),
        ("zero2", ("--micro", 2, "--clip", 0)),
        ("zero2", ("--micro", 2, "--stages", 2)),
    ],
)
def test_launchers_give_the_update_of_one_process(same_as_one, launcher, arguments):
    same_as_one(launcher, *arguments)


@pytest.mark.truth
def test_zero_under_torchrun(same_as_one):
    same_as_one("torchrun", "--micro", 2, ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE="1")


@pytest.mark.truth
@pytest.mark.parametrize("launcher", ["torchrun", "zero2"])
def test_killed_and_continued_equals_uninterrupted(run, tmp_path, launcher):
    """Rank 0 dies inside a save; the launcher ends the rest; the same command gives the same weights to the bit."""
    code, out, err = run(launcher, tmp_path / "whole")
    assert code == 0, err
    for kill in (30, 60):
        assert run(launcher, tmp_path / f"cut{kill}", "--kill", kill)[0] != 0
        code, again, err = run(launcher, tmp_path / f"cut{kill}")
        assert (code, again) == (0, out), err
        assert rows(tmp_path / f"cut{kill}") == rows(tmp_path / "whole")


@pytest.mark.truth
def test_sigterm_to_the_launcher_keeps_the_state(start, run, tmp_path):
    code, out, _ = run("torchrun", tmp_path / "whole")
    process = start("torchrun", tmp_path / "cut", "--slow", 3)
    for line in process.stdout:
        if line == "step 1\n":
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=60)
    assert "state kept; the same command goes on" in err
    (status,) = (tmp_path / "cut").glob("*/status.json")
    assert json.loads(status.read_text())["state"] == "stopped"
    assert run("torchrun", tmp_path / "cut")[:2] == (0, out)


@pytest.mark.truth
def test_zero_state_is_not_continued_in_another_mode(run, tmp_path):
    run("zero2", tmp_path, "--kill", 45)
    code, _, err = run("single", tmp_path)
    assert code == 2
    assert "was written by 2 processes in mode zero and cannot be continued by 1 in mode plain" in err


@pytest.mark.truth
def test_zero_3_is_refused(run, tmp_path):
    code, _, err = run("torchrun", tmp_path, ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE="3")
    assert code != 0
    assert "ZeRO stage 3 is not supported" in err


@pytest.mark.truth
def test_ctrl_c_at_the_launcher_keeps_the_state(start, run, tmp_path):
    code, out, _ = run("torchrun", tmp_path / "whole")
    process = start("torchrun", tmp_path / "cut", "--slow", 3)
    for line in process.stdout:
        if line == "step 1\n":
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert "state kept; the same command goes on" in err and "interrupted" in err
    (status,) = (tmp_path / "cut").glob("*/status.json")
    assert json.loads(status.read_text())["state"] == "stopped"
    assert run("torchrun", tmp_path / "cut")[:2] == (0, out)


def test_a_rank_that_hangs_is_named_with_its_phase_and_its_stack(run, tmp_path):
    """Rank 1 sleeps before its third update: in seconds, not at torch's own limit, all end and say who and where."""
    code, _, err = run("forked", tmp_path, "--hang", 1, "--limit", 3)
    assert code != 0
    assert "rank 1 is " in err and "at step 3 of tiny-" in err
    assert "rank 0 waits at gather in step 3 of tiny-" in err and "runtime.timeout_step=3" in err
    assert "driver.py" in err and "in train" in err  # the stack of rank 1
    (status,) = tmp_path.glob("*/status.json")
    assert json.loads(status.read_text())["state"] == "running"
