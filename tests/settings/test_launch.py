"""Launching: exit codes, messages, sweeps, folders, and that nothing heavy is imported."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mora.errors import InputError
from mora.settings import launch as launching
from mora.settings.compose import compose
from mora.settings.launch import launch


def run(tree, *argv, task=None, command="train"):
    seen = []

    def record(cfg, overrides):
        seen.append((cfg, overrides))
        if task is not None:
            task(cfg)

    return launch(command, record, argv, tree), seen


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_task_gets_a_resolved_config_and_the_overrides(tree, tmp_path):
    code, seen = run(tree, "algo=dpo", "seed=3")
    (cfg, overrides) = seen[0]
    assert code == 0 and cfg.algo.beta == 0.1 and cfg.seed == 3 and overrides == ["algo=dpo", "seed=3"]
    assert Path.cwd() == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"conf"}  # nothing is left behind


def test_bad_override_is_refused_before_the_task(tree, capsys):
    code, seen = run(tree, "algo.cliip=0.1", "algo=nope")
    error = capsys.readouterr().err
    assert code == 2 and seen == []
    assert error.startswith("error: 2 problems with the settings of python -m mora.train:\n  1. ")
    assert "Hydra" not in error and "HYDRA" not in error


def refuse_13(cfg):
    if cfg.seed == 13:
        raise InputError("seed: 13 is taken; use another")
    if cfg.seed == 14:
        raise RuntimeError("boom")
    if cfg.seed == 15:
        raise KeyboardInterrupt
    if cfg.seed == 16:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")
    if cfg.seed == 17:
        raise SystemExit(0)


def test_input_error_of_the_task(tree, capsys):
    code, _ = run(tree, "seed=13", task=refuse_13)
    assert code == 2
    assert capsys.readouterr().err == "error: seed: 13 is taken; use another\n"


def test_unexpected_error_keeps_its_traceback(tree, capsys):
    code, _ = run(tree, "seed=14", task=refuse_13)
    error = capsys.readouterr().err
    assert code == 1 and "in refuse_13" in error and "RuntimeError: boom" in error


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train", "interrupted; the same command goes on from the last state that was kept\n"),
        ("generate", "interrupted\n"),
    ],
)
def test_interrupt(tree, capsys, command, said):
    def interrupted(cfg):
        raise KeyboardInterrupt

    more = ["run=x"] if command == "generate" else []
    assert run(tree, *more, task=interrupted, command=command)[0] == 130
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("seed", "left"), [(15, 130), (17, 0)])
def test_an_interruption_ends_the_sweep(tree, tmp_path, seed, left):
    """Ctrl-C, and what a scheduler's signal makes of a cell, do not begin the next cell."""
    seen = []

    def task(cfg, overrides):
        seen.append(cfg.seed)
        refuse_13(cfg)

    try:
        code = launch("train", task, ["-m", f"seed=1,{seed},2"], tree)
    except SystemExit as ended:
        code = ended.code
    assert code == left and seen == [1, seed]
    cells = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/sweeps/*/*/cell.json"))]
    assert {cell["overrides"][0]: cell["status"] for cell in cells} == {"seed=1": "finished", f"seed={seed}": "stopped"}


def test_what_the_system_refuses_is_one_message(tree, capsys):
    code, _ = run(tree, "seed=16", task=refuse_13)
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("error: runs/x/metrics.jsonl: No space left on device; free some space there")


@pytest.mark.parametrize(("seed", "kind"), [(13, "InputError"), (16, "OSError")])
def test_every_error_has_its_traceback_on_request(tree, capsys, monkeypatch, seed, kind):
    for value, shown in (("0", False), ("", False), ("1", True)):
        monkeypatch.setenv("HYDRA_FULL_ERROR", value)
        code, _ = run(tree, f"seed={seed}", task=refuse_13)
        error = capsys.readouterr().err
        assert code == 2 and "error: " in error and ("in refuse_13" in error and kind in error) == shown
    assert run(tree, "algo.cliip=1")[0] == 2 and "Traceback" in capsys.readouterr().err


def test_a_failure_of_a_cell_is_told_even_where_it_cannot_be_recorded(tree, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full", "cell.json")

    monkeypatch.setattr(launching, "write_json", full)
    assert run(tree, "-m", "seed=13,1", task=refuse_13)[0] == 2
    error = capsys.readouterr().err
    assert "seed: 13 is taken" in error and "cell.json: No space left on device" in error


def test_a_failing_cell_stops_no_other(tree, capsys, tmp_path):
    code, seen = run(tree, "-m", "seed=13,1,2", task=refuse_13)
    assert code == 2 and [cfg.seed for cfg, _ in seen] == [13, 1, 2]
    assert capsys.readouterr().err == "error: [seed=13] seed: 13 is taken; use another\n"
    cells = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/sweeps/*/*/cell.json"))]
    assert {cell["overrides"][0]: cell["status"] for cell in cells} == {
        "seed=13": "failed",
        "seed=1": "finished",
        "seed=2": "finished",
    }
    assert run(tree, "-m", "seed=13,14,1", task=refuse_13)[0] == 1


def test_sweep_folders_have_plain_names(tree, tmp_path):
    code, _ = run(tree, "-m", "algo.betas=[0.1,0.2],[0.3,0.4]", "paths.runs=out")
    assert code == 0
    names = [part for path in (tmp_path / "out").rglob("*") for part in path.relative_to(tmp_path).parts]
    assert len(list(tmp_path.glob("out/sweeps/*/*/cell.json"))) == 2
    assert not any(letter in name for name in names for letter in "[],= ")
    assert not list(tmp_path.rglob(".hydra")) and not list(tmp_path.rglob("*.log"))


def test_a_sweep_in_yaml_runs_its_cells(tree):
    code, seen = run(tree, "sweep=seeds")
    assert code == 0 and [cfg.seed for cfg, _ in seen] == [1, 2]


def test_flags_may_stand_anywhere(tree):
    code, seen = run(tree, "algo=dpo", "-m", "seed=1,2")
    assert code == 0 and len(seen) == 2


def test_showing_the_config_needs_no_required_key(tree, capsys):
    code, seen = run(tree, "--cfg", "job", "--package", "dataset", "dataset=jsonl")
    assert code == 0 and seen == []
    assert capsys.readouterr().out == "# @package dataset\npath: ???\nmax_prompt: 512\n"
    assert run(tree, "--cfg", "job", "nope=1")[0] == 2
    assert run(tree, "--info", "defaults")[0] == 0


def test_help_lists_the_groups_of_the_command_only(tree, capsys):
    with pytest.raises(SystemExit) as left:
        run(tree, "--help", command="generate")
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m mora.generate" in shown and "temperature: 1.0" in shown and "panacea" not in shown


def test_other_top_files_are_refused(tree, capsys):
    assert run(tree, "--config-name", "generate")[0] == 2
    assert "--config-dir" in capsys.readouterr().err


def test_a_folder_of_the_user_adds_choices(tree, tmp_path):
    own = tmp_path / "mine"
    (own / "algo").mkdir(parents=True)
    (own / "algo" / "mine.yaml").write_text("gamma: 0.5\n")
    code, seen = run(tree, "--config-dir", str(own), "algo=mine", "algo.gamma=0.25")
    assert code == 0 and seen[0][0].algo == {"gamma": 0.25}
    assert run(tree, "algo=mine")[0] == 2
    seen_inside = []
    run(tree, "--config-dir", str(own), task=lambda cfg: seen_inside.append(compose("train", ["algo=mine"], tree).algo))
    assert seen_inside == [{"gamma": 0.5}]  # a stage of the run sees the folder too
    assert run(tree, "--config-dir", str(tmp_path / "nowhere"))[0] == 2


def test_a_task_may_compose_other_configurations(tree):
    def nested(cfg):
        assert compose("train", ["algo=dpo"], tree).algo.beta == 0.1
        assert compose("generate", ["run=x"], tree).run == "x"

    code, seen = run(tree, "-m", "seed=1,2", task=nested)
    assert code == 0 and len(seen) == 2


SCRIPT = """
import sys
from mora.settings import launch as launching
from mora.settings.launch import launch
try:
    code = launch("train", lambda cfg, overrides: None, sys.argv[2:], sys.argv[1])
except SystemExit as left:
    code = left.code
heavy = [name for name in ("torch", "transformers", "numpy", "accelerate") if name in sys.modules]
print("heavy:", heavy)
sys.exit(code)
"""


@pytest.mark.parametrize(("argv", "expected"), [(["algo.cliip=3"], 2), (["--help"], 0), (["seed=1"], 0)])
def test_nothing_heavy_is_imported_and_the_answer_is_quick(tree, argv, expected, tmp_path):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tree), *argv],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    taken = time.perf_counter() - began
    print(f"{argv}: {taken:.2f} s")
    assert done.returncode == expected, done.stderr
    assert "heavy: []" in done.stdout
    assert taken < 5


LEAVING = """
import atexit, os, sys
from mora.errors import InputError
from mora.settings.launch import run

class Held:
    def __del__(self):
        os.write(2, b"torn down\\n")

held = Held()
atexit.register(lambda: print("first registered, last run"))
atexit.register(lambda: print("last registered, first run"))

def task(cfg, overrides):
    print("at", cfg.temperature)
    if cfg.temperature == 2:
        raise InputError("temperature: too hot")
    if cfg.temperature == 3:
        raise RuntimeError("boom")
    if cfg.temperature == 4:
        raise KeyboardInterrupt

run("generate", task, sys.argv[1:])
"""


def leave(tmp_path, *argv, script=LEAVING, **more):
    decided = ("WORLD_SIZE", "RANK", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in decided}
    command = [sys.executable, "-c", script, "run=x", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=kept | more, timeout=60)


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("temperature=1", 0, ""),
        ("temperature=2", 2, "error: temperature: too hot\n"),
        ("temperature=3", 1, "RuntimeError: boom"),
        ("temperature=4", 130, "interrupted\n"),
        ("warmth=1", 2, "warmth: unknown key"),
    ],
)
def test_one_of_several_processes_leaves_without_teardown(tmp_path, override, code, message):
    """Exit handlers run, what was printed into a pipe arrives, and the exit code is that of a single process."""
    done = leave(tmp_path, override, WORLD_SIZE="2")
    printed = [] if "warmth" in override else [f"at {override[-1]}"]
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() == [*printed, "last registered, first run", "first registered, last run"]
    assert message in done.stderr and "torn down" not in done.stderr


@pytest.mark.parametrize("world", [{}, {"WORLD_SIZE": "1"}])
def test_a_single_process_is_torn_down_as_usual(tmp_path, world):
    done = leave(tmp_path, "temperature=2", **world)
    assert done.returncode == 2 and done.stderr.endswith("torn down\n")
    assert done.stdout.splitlines()[-1] == "first registered, last run"


@pytest.mark.parametrize("world", [{}, {"WORLD_SIZE": "2"}])
def test_an_exit_handler_that_fails_changes_no_exit_code(tmp_path, world):
    failing = LEAVING.replace("def task", "atexit.register(lambda: 1 / 0)\n\ndef task", 1)
    done = leave(tmp_path, "temperature=1", script=failing, **world)
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr
    assert done.stdout.splitlines()[-1] == "first registered, last run"


@pytest.mark.parametrize(
    ("override", "said"), [("warmth=1", ""), ("temperature=2", "[rank 1] error: temperature: too hot\n")]
)
def test_other_ranks_say_only_what_is_their_own(tmp_path, override, said):
    done = leave(tmp_path, override, WORLD_SIZE="2", RANK="1")
    assert done.returncode == 2 and done.stderr == said


def test_the_folder_of_ones_own_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "it's [mine], $HOME"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "own.yaml").write_text("# @package _global_\nseed: 3\n")
    for name in (str(folder), f"~/{folder.name}"):
        seen = []
        arguments = ["--config-dir", name, "experiment=own"]
        code = launch("train", lambda cfg, overrides, seen=seen: seen.append(cfg.seed), arguments)
        assert (code, seen) == (0, [3])
