from __future__ import annotations

from pathlib import Path

import pytest

from mora.errors import InputError
from mora.files import read_lines
from mora.runtime.devices import Runtime
from mora.runtime.folder import RunFolder
from mora.runtime.quality_log import QualityLog, newest


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path, "reward", {"seed": 0}, config="", overrides="", diff="")


def quality(value: float) -> dict[str, dict[str, float]]:
    return {"cure": {"accuracy": value, "log_loss": 0.5, "ece": 0.1, "n": 8}}


def test_a_line_per_measurement_and_the_newest_is_the_last(folder: RunFolder, runtime: Runtime) -> None:
    log = QualityLog(folder, runtime, done=0)
    assert newest(log.path) is None
    for step in (10, 20, 30):
        log.append(step, quality(step / 100))
    assert [line["step"] for line in read_lines(folder.tables / "quality.jsonl")] == [10, 20, 30]
    assert newest(log.path) == (30, quality(0.3))


def test_a_resumed_run_drops_what_lies_beyond_its_state(folder: RunFolder, runtime: Runtime) -> None:
    log = QualityLog(folder, runtime, done=0)
    for step in (10, 20, 30):
        log.append(step, quality(0.1))
    again = QualityLog(folder, runtime, done=20)
    again.append(30, quality(0.9))
    assert [(line["step"], line["quality"]["cure"]["accuracy"]) for line in read_lines(again.path)] == [
        (10, 0.1),
        (20, 0.1),
        (30, 0.9),
    ]
    QualityLog(folder, runtime, done=0)
    assert newest(again.path) is None


def test_an_accuracy_without_pairs_is_null(folder: RunFolder, runtime: Runtime) -> None:
    log = QualityLog(folder, runtime, done=0)
    log.append(1, quality(float("nan")))
    assert read_lines(log.path)[0]["quality"]["cure"]["accuracy"] is None


def test_a_step_is_never_measured_twice(folder: RunFolder, runtime: Runtime) -> None:
    log = QualityLog(folder, runtime, done=0)
    log.append(10, quality(0.1))
    with pytest.raises(ValueError, match="step 10 does not follow step 10"):
        log.append(10, quality(0.2))
    log.path.write_text("{no json\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"quality\.jsonl:1"):
        newest(log.path)
