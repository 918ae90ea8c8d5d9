"""``python -m mora.config``: differences, snapshots, and their exit codes."""

from __future__ import annotations

import shutil

import pytest

from mora import config
from mora.settings import snapshot
from mora.settings.tree import conf_dir


def leave(capsys, *argv):
    with pytest.raises(SystemExit) as left:
        config.main(list(argv))
    out = capsys.readouterr()
    return left.value.code, out.out.splitlines(), out.err


def test_equal_sides(capsys):
    assert leave(capsys, "diff", "seed=3", "seed=3 risk=mean") == (0, [], "")


def test_override_lists(capsys):
    code, lines, _ = leave(capsys, "diff", "risk=mean", "risk=cvar seed=3")
    assert code == 1
    assert "seed: 0 -> 3" in lines
    assert 'risk._target_: "mora.functional.risk.mean" -> "mora.functional.risk.cvar"' in lines
    assert "risk.alpha: only in the second: 0.1" in lines
    assert "runtime.seed: 0 -> 3" in lines  # ${seed}: differences are those of resolved configurations
    assert len(lines) == 4


def test_files_and_run_folders(capsys, tmp_path):
    run = tmp_path / "run-0123456789"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 1\nalgo: {lr: 0.1}\n")
    other = tmp_path / "other.yaml"
    other.write_text("seed: 1\nalgo: {clip: 0.2}\n")
    code, lines, _ = leave(capsys, "diff", str(run), str(other))
    assert code == 1
    assert lines == ["algo.clip: only in the second: 0.2", "algo.lr: only in the first: 0.1"]
    assert leave(capsys, "diff", str(run), str(run / "config.yaml"))[0] == 0


@pytest.mark.parametrize("side", ["nothere.yaml", "risk=cvra", "FOLDER"])
def test_what_cannot_be_compared(capsys, tmp_path, side):
    code, lines, error = leave(capsys, "diff", str(tmp_path) if side == "FOLDER" else side, "")
    assert code == 2 and lines == [] and error.startswith("error: ")


def test_show(capsys):
    code, lines, _ = leave(capsys, "show", "seed=5", "risk=lcb")
    assert code == 0 and "seed: 5" in lines and "  k: 1.0" in lines
    code, lines, _ = leave(capsys, "show", "export", "run=x")
    assert code == 0 and "to: lora" in lines


def test_snapshots_notice_an_edit(tmp_path, monkeypatch):
    root = tmp_path / "conf"
    shutil.copytree(conf_dir(), root, ignore=shutil.ignore_patterns("_resolved"))
    monkeypatch.setattr(snapshot, "CANONICAL", {"train": (), "train_sft": ("algo=sft",)})
    assert len(snapshot.write(root)) == 2
    assert snapshot.stale(root) == []
    first = (root / "_resolved" / "train.yaml").read_text()
    assert first.startswith("# python -m mora.train\n")
    (root / "risk" / "mean.yaml").write_text((root / "risk" / "minimum.yaml").read_text())
    assert [path.name for path in snapshot.stale(root)] == ["train.yaml", "train_sft.yaml"]
    (root / "_resolved" / "gone.yaml").write_text("x: 1\n")
    assert [path.name for path in snapshot.write(root)] == ["gone.yaml", "train.yaml", "train_sft.yaml"]
    assert not (root / "_resolved" / "gone.yaml").exists()


def test_snapshots_of_the_tree_are_fresh():
    assert snapshot.stale() == [], "run python -m mora.config snapshot and look at the difference"
