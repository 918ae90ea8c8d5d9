from __future__ import annotations

import importlib
import json
import os
import re

import pytest
import yaml

from mora.errors import InputError, install_hint
from mora.runtime.folder import RunFolder
from mora.runtime.track import NoTracker, Tensorboard, Wandb, flat_config

CONFIG = yaml.safe_dump(
    {"algo": {"lr": 0.1, "betas": [0.9, 0.99], "none": None}, "hub": {"api_key": "hush", "tokens": 5}}
)


@pytest.fixture
def folder(tmp_path):
    return RunFolder.open(tmp_path, "tiny", {}, config=CONFIG, overrides="", diff="")


def test_configs_are_flat_and_secrets_hidden():
    assert flat_config(CONFIG) == {
        "algo.lr": 0.1,
        "algo.betas": "- 0.9\n- 0.99",
        "algo.none": "null\n...",
        "hub.api_key": "(hidden)",
        "hub.tokens": 5,
    }
    assert flat_config("max_new_tokens: 7\nhf_token: abc\n") == {"max_new_tokens": 7, "hf_token": "(hidden)"}


def test_none_does_nothing(folder):
    tracker = NoTracker()
    tracker.start(folder, 0)
    tracker.log(1, {"loss": 0.5})
    tracker.finish()
    assert not (folder.path / "wandb.json").exists()


def test_tensorboard_drops_steps_that_are_done_again(folder):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for begin, values in ((0, {1: 1.0, 2: 2.0, 3: 3.0}), (2, {3: 30.0, 4: 40.0})):
        tracker = Tensorboard(folder="tb")
        tracker.start(folder, begin)
        for step, value in values.items():
            tracker.log(step, {"a/loss": value})
        tracker.finish()
    accumulator = events.EventAccumulator(str(folder.path / "tb"))
    accumulator.Reload()
    assert [(e.step, e.value) for e in accumulator.Scalars("a/loss")] == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]


def test_wandb_continues_the_same_run(folder, monkeypatch):
    wandb = pytest.importorskip("wandb")
    started = []

    class Run:
        def __init__(self):
            self.rows, self.ended = [], False

        def log(self, row, step):
            self.rows.append((step, row))

        def finish(self):
            self.ended = True

    def init(**arguments):
        started.append((arguments, Run()))
        return started[-1][1]

    monkeypatch.setattr(wandb, "init", init)
    for step in (0, 2):
        tracker = Wandb(project="p", entity=None, mode="offline", tags=["t"], kwargs={"group": "g"})
        tracker.start(folder, step)
        tracker.log(step + 1, {"loss": 0.5})
        tracker.finish()
    (first, run), (second, _) = started
    assert first == second and first["id"] == json.loads((folder.path / "wandb.json").read_text())["id"]
    assert (first["mode"], first["resume"], first["group"], first["dir"]) == ("offline", "allow", "g", str(folder.path))
    assert first["config"]["hub.api_key"] == "(hidden)"
    assert run.rows == [(1, {"loss": 0.5})] and run.ended


@pytest.mark.truth
def test_wandb_offline_writes_files(folder, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = Wandb(project="p", entity=None, mode="offline", tags=[], kwargs={})
    tracker.start(folder, 0)
    tracker.log(1, {"loss": 0.5})
    tracker.finish()
    assert list((folder.path / "wandb").glob("offline-run-*"))
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize(
    ("tracker", "package"),
    [
        (Tensorboard(folder="tb"), "tensorboard"),
        (Wandb(project="p", entity=None, mode="offline", tags=[], kwargs={}), "wandb"),
    ],
)
def test_a_missing_package_is_named(folder, monkeypatch, tracker, package):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=re.escape(f"needs the package {package}; {install_hint(package)}")):
        tracker.start(folder, 0)
