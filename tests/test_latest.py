from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mora.errors import InputError
from mora.files import write_json
from mora.latest import find_latest
from mora.report.__main__ import main as report
from mora.runtime.folder import RunFolder


def run(root: Path, name: str, day: int | None, *, algo: str = "sft", state: str = "finished", **more: Any) -> Path:
    time = {} if day is None else {"finished_at": f"2026-01-{day:02d}T00:00:00+00:00"}
    write_json(root / name / "status.json", {"state": state, **time})
    write_json(root / name / "identity.json", {"algo": {"_target_": "mora.algo.some.Some", "name": algo}} | more)
    (root / name / "config.yaml").write_text("a: 1\n", encoding="utf-8")
    return root / name


def test_the_newest_finished_run_by_the_time_it_noted(tmp_path: Path) -> None:
    old = run(tmp_path, "z-old", 1)
    new = run(tmp_path, "a-new", 3)
    run(tmp_path, "later-but-running", 4, state="running")
    os.utime(old / "status.json")  # the file's own time, which a copy changes, does not count
    assert find_latest("latest", tmp_path) == new


def test_time_zones_are_compared_as_times(tmp_path: Path) -> None:
    run(tmp_path, "east", 1)
    west = run(tmp_path, "west", 1)
    write_json(tmp_path / "east" / "status.json", {"state": "finished", "finished_at": "2026-01-02T08:00:00+09:00"})
    write_json(west / "status.json", {"state": "finished", "finished_at": "2026-01-02T00:30:00+00:00"})
    assert find_latest("latest", tmp_path) == west


def test_the_newest_of_an_algorithm(tmp_path: Path) -> None:
    run(tmp_path, "sft-1", 9)
    reward = run(tmp_path, "reward-1", 2, algo="reward_model")
    run(tmp_path, "reward-0", 1, algo="reward_model")
    assert find_latest("latest:reward_model", tmp_path) == reward
    with pytest.raises(InputError, match=r"latest:panacea.*\(finished ones of: reward_model, sft\)"):
        find_latest("latest:panacea", tmp_path)


def test_comparisons_and_runs_moved_aside_do_not_count(tmp_path: Path) -> None:
    mine = run(tmp_path, "sft-1", 1)
    run(tmp_path, "sft-1.before-1", 3)
    run(tmp_path, "compare-garden", 4)
    write_json(tmp_path / "compare-garden" / "identity.json", {"runs": {}})
    assert find_latest("latest", tmp_path) == mine


def test_another_name_is_none_of_this(tmp_path: Path) -> None:
    assert find_latest("sft-1", tmp_path) is None and find_latest("./latest", tmp_path) is None
    assert find_latest("latest-run", tmp_path) is None


def test_what_cannot_be_decided_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such finished run"):
        find_latest("latest", tmp_path / "nowhere")
    with pytest.raises(InputError, match="latest:reward_model"):
        find_latest("latest:", tmp_path)
    run(tmp_path, "sft-1", None)
    with pytest.raises(InputError, match="noted no time"):
        find_latest("latest", tmp_path)
    timed = run(tmp_path, "sft-0", 1)
    assert find_latest("latest", tmp_path) == timed
    for odd in ("yesterday", "2026-01-01T00:00:00", 5):
        write_json(timed / "status.json", {"state": "finished", "finished_at": odd})
        with pytest.raises(InputError, match="no time with a zone"):
            find_latest("latest", tmp_path)


def test_finishing_notes_the_time_and_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = {"algo": {"_target_": "mora.algo.some.Some", "name": "sft"}}
    run(tmp_path, "earlier", 1)
    begin = datetime.now(UTC)
    folder = RunFolder.open(tmp_path, "sft", identity, config="a: 1\n", overrides="[]", diff="{}")
    folder.finish({"loss": 1.0})
    noted = datetime.fromisoformat(folder.status["finished_at"])
    assert abs((noted - begin).total_seconds()) < 60 and folder.summary == {"loss": 1.0}
    assert RunFolder.find("latest:sft", tmp_path).path == folder.path
    assert f"latest:sft is {folder.path}" in capsys.readouterr().err


def test_the_page_of_the_newest_run_can_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = run(tmp_path, "sft-1", 2)
    (newest / "metrics.jsonl").write_text("", encoding="utf-8")
    assert report(["latest", "--runs", str(tmp_path)]) == 0
    assert str(newest / "report" / "index.html") in capsys.readouterr().out
    assert report(["latest:panacea", "--runs", str(tmp_path)]) == 2


def test_finding_it_needs_no_torch() -> None:
    code = "import sys, mora.latest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
