from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from mora.errors import InputError
from mora.runtime import folder as folders
from mora.runtime.environment import describe
from mora.runtime.folder import RunFolder
from mora.settings.identity import identity_hash

TEXTS = {"config": "a: 1\n", "overrides": "- a=1\n", "diff": "a: 0 -> 1\n"}


def opened(root, identity=None):
    return RunFolder.open(root, "sft garden", identity or {"lr": 0.1}, **TEXTS)


def test_a_folder_is_made_once_and_found_again(tmp_path):
    run = opened(tmp_path)
    # ten digits of the sha256 of {"lr":0.1}
    assert run.id == "sft-garden-" + identity_hash({"lr": 0.1}) and len(run.id.rsplit("-", 1)[1]) == 10
    assert (run.path / "config.yaml").read_text() == "a: 1\n"
    assert (run.path / "overrides.yaml").read_text() == "- a=1\n"
    assert (run.path / "diff.yaml").read_text() == "a: 0 -> 1\n"
    assert json.loads((run.path / "identity.json").read_text()) == {"lr": 0.1}
    (run.path / "mark").write_text("kept")
    again = opened(tmp_path)
    assert again.path == run.path and (again.path / "mark").exists()
    assert opened(tmp_path, {"lr": 0.2}).path != run.path
    for handle in (run.id, run.path):
        assert RunFolder.find(handle, tmp_path).path == run.path


def test_finishing(tmp_path):
    run = opened(tmp_path)
    assert not run.finished and run.summary == {}
    run.finish({"score": 1.5})
    assert opened(tmp_path).finished and RunFolder.find(run.id, tmp_path).summary == {"score": 1.5}


def test_fresh_moves_the_old_content_aside(tmp_path):
    run = opened(tmp_path)
    for number in (1, 2):
        (run.path / "mark").write_text(str(number))
        run.finish({})
        with run.lock():
            run.fresh()
        assert not run.finished and not (run.path / "mark").exists()
        assert (tmp_path / f"{run.id}.before-{number}" / "mark").read_text() == str(number)


def test_fresh_leaves_a_folder_that_holds_nothing_yet(tmp_path):
    run = opened(tmp_path)
    with run.lock():
        run.fresh()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [run.id]


def _attempts(monkeypatch, **variables):
    for name in (name for pair in folders.RESTARTS.items() for name in pair):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("job", "restarts"), folders.RESTARTS.items())
def test_a_job_that_is_started_again_goes_on_with_what_it_began_anew(tmp_path, monkeypatch, job, restarts):
    """The first attempt moves aside, later ones of the same job do not, the first of another job does."""
    run = opened(tmp_path)
    asides = []
    for number, restarted in [("7", None), ("7", "1"), ("7", "2"), ("8", None), ("8", None), ("8", "1")]:
        _attempts(monkeypatch, **{job: number}, **({restarts: restarted} if restarted else {}))
        (run.path / "mark").write_text("trained")
        with opened(tmp_path).lock():
            run.fresh()
        asides.append(len(list(tmp_path.glob(f"{run.id}.before-*"))))
    assert asides == [1, 1, 1, 2, 3, 3]  # twice in one interactive allocation is twice anew
    assert (run.path / "mark").exists()


def test_without_a_scheduler_fresh_is_always_anew(tmp_path, monkeypatch):
    run = opened(tmp_path)
    for number in (1, 2):
        _attempts(monkeypatch, TORCHELASTIC_RUN_ID="none", TORCHELASTIC_RESTART_COUNT="1")
        (run.path / "mark").write_text("trained")
        with run.lock():
            run.fresh()
        assert len(list(tmp_path.glob(f"{run.id}.before-*"))) == number


def test_long_names_are_cut_and_stay_apart(tmp_path):
    runs = [RunFolder.open(tmp_path, "a" * 400, {"lr": lr}, **TEXTS) for lr in (0.1, 0.2)]
    assert runs[0].path != runs[1].path and all(len(run.id) < 200 for run in runs)
    with runs[0].lock():
        (runs[0].path / "mark").write_text("1")
        runs[0].fresh()
    assert all(len(name) <= 255 for name in os.listdir(tmp_path))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is no run folder: identity\.json, config\.yaml, status\.json missing"):
        RunFolder.find("empty", tmp_path)
    run = opened(tmp_path)
    with pytest.raises(InputError, match=f"run=sft-gardn: .*nearest: {run.id}"):
        RunFolder.find("sft-gardn", tmp_path)
    with pytest.raises(InputError, match="holds no run; train one first"):
        RunFolder.find("x", tmp_path / "nothing")
    (run.path / "identity.json").unlink()
    with pytest.raises(InputError, match=r"no whole run: identity\.json missing; move that folder away"):
        opened(tmp_path)


def test_another_identity_under_the_same_name_is_refused(tmp_path):
    run = opened(tmp_path)
    (run.path / "identity.json").write_text('{"lr": 0.3}')
    with pytest.raises(InputError, match="belongs to another identity"):
        opened(tmp_path)


def test_a_half_made_folder_of_a_killed_process_is_no_obstacle(tmp_path):
    run = opened(tmp_path)
    shutil.rmtree(run.path)
    half = tmp_path / f".partial-{run.id}-host-1"
    half.mkdir()
    (half / "config.yaml").write_text("half")
    assert opened(tmp_path).path.is_dir() and not half.exists()


HOLDER = """
import sys, time
from pathlib import Path
from mora.runtime.folder import RunFolder
from mora.settings.identity import identity_hash
run = RunFolder.find(sys.argv[1], ".")
with run.lock():
    print("held", flush=True)
    sys.stdin.readline()
    run.finish({"by": "other"})
"""


def test_a_second_process_waits_says_so_and_finds_the_run_finished(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folders, "POLL", 0.02)
    run = opened(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        assert not run.finished
        polls = []

        def released(_seconds):
            polls.append(1)
            if len(polls) == 3:
                holder.stdin.write("\n")
                holder.stdin.flush()

        monkeypatch.setattr(folders.time, "sleep", released)
        with run.lock():
            assert run.finished and run.summary == {"by": "other"}
    finally:
        holder.kill()
        holder.communicate()
    said = capsys.readouterr().err
    assert said.count("is being written by another process; waiting") == 1
    assert "is free; continuing" in said and len(polls) >= 3


def test_several_processes_need_the_runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="needs the runtime"):
        opened(tmp_path)


def test_the_environment_file_names_versions_and_no_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hush-hush")
    run = opened(tmp_path)
    text = (run.path / "environment.json").read_text()
    assert set(json.loads(text)) == {"mora", "commit", "python", "platform", "packages"} == set(describe())
    assert "torch" in json.loads(text)["packages"]
    assert "hush-hush" not in text and os.path.expanduser("~") not in text


def test_other_versions_are_mentioned(tmp_path, capsys):
    run = opened(tmp_path)
    content = json.loads((run.path / "environment.json").read_text())
    content["packages"]["torch"] = "1.0"
    (run.path / "environment.json").write_text(json.dumps(content))
    opened(tmp_path)
    assert "other versions (torch 1.0 -> " in capsys.readouterr().err
