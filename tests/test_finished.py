"""The command of a finished run: what it asks for anew is done, or said."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

import mora
from mora.errors import InputError
from mora.files import read_json
from mora.latest import find_run
from mora.run.conclude import conclude
from mora.run.opened import open_run
from mora.run.plan import pending, plan
from mora.train import train
from tests.chain import chain_options, last, without_pictures


def run_chain(root, *more: str) -> None:
    given = [*chain_options(root), *more]
    train(mora.compose(*given), given)


@pytest.fixture(scope="module")
def measured(chain, tmp_path_factory):
    """A copy of the runs of the chain, whose tables, whatever another test measured last, are those it asks for."""
    root = tmp_path_factory.mktemp("finished") / "runs"
    shutil.copytree(last(chain).path.parent, root)
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        run_chain(root)
    return root


@pytest.fixture
def again(chain, measured, tmp_path, undrawn):
    """The command of the chain on a copy of its runs, with more overrides; and the folder of its run."""
    root = shutil.copytree(measured, tmp_path / "runs")
    return partial(run_chain, root), root / last(chain).id


def test_another_evaluation_is_measured_and_the_same_is_only_shown(again, capsys):
    command, run = again
    front, weights = run / "tables" / "front.json", run / "policy"
    before = front.read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in weights.rglob("*")}
    command()
    assert front.read_bytes() == before
    command("evaluation.samples=3")
    assert read_json(front)["samples_per_prompt"] == 3 and "measuring" in capsys.readouterr().err
    known = front.read_bytes()
    command("evaluation.samples=3", "evaluation.batch_size=7")  # changes no number
    assert front.read_bytes() == known and "measuring" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in weights.rglob("*")} == stamps


def test_what_a_run_was_measured_with_is_known_per_table(again):
    _, run = again
    given = [f"paths.runs={run.parent}"]
    whole = [*chain_options(run.parent)]
    stage = plan(mora.compose(*whole), whole)[-1]
    assert stage.path == run and not pending(stage) and given[0] in whole
    (run / "tables" / "measured.json").unlink()
    assert pending(stage)


def test_a_tracker_of_a_finished_run_is_said(again, capsys):
    command, _ = again
    command("tracker=tensorboard")
    assert "tracker" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", {}),
        ("status.json", []),
        ("identity.json", []),
        ("tables/front.json", {}),
        ("tables/front.json", {"judge": "gold", "objectives": 3}),
    ],
)
def test_a_stored_file_of_another_shape_is_named(again, name, content):
    _, run = again
    (run / name).write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        conclude(open_run(run.name, str(run.parent))[0].path)
    assert name.rpartition("/")[2] in str(caught.value)


def test_a_configuration_without_its_sections_is_named(again):
    _, run = again
    (run / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(InputError, match=r"config\.yaml: algo"):
        open_run(run.name, str(run.parent))


def test_a_name_that_is_none_is_answered_with_the_nearest(again):
    _, run = again
    with pytest.raises(InputError, match=run.name):
        find_run(run.name[:-1], run.parent)


def test_training_that_diverges_is_said_and_not_finished(again):
    command, run = again
    with pytest.raises(InputError, match="diverged"):
        command("adapter.lr=1e30", "adapter.singular_lr=1e30", "algo.optimizer.warmup=0", "algo.steps=3")
    states = {path.name: read_json(path / "status.json")["state"] for path in run.parent.glob("panacea-*")}
    assert states.pop(run.name) == "finished" and set(states.values()) == {"diverged"}
