"""What a stranger's run folder links to is not shown, and no device is read from."""

from __future__ import annotations

import os

import pytest

from mora import regular
from mora.errors import InputError
from mora.evaluation.budget import chain
from mora.files import read_json, read_lines, write_json
from mora.manifest import check_content, entries_of
from mora.report.chain import redraw, stages_of

SECRET = "machine example.org password hunter2"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "sft-1a2b"
    (folder / "tables").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    (tmp_path / "netrc").write_text(SECRET)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "diff.yaml").write_text(SECRET)
    return folder


@pytest.mark.parametrize("name", ["diff.yaml", "overrides.yaml", "config.yaml", "environment.json"])
@pytest.mark.parametrize("target", ["netrc", "/dev/zero", "/proc/self/environ"])
def test_a_link_out_of_the_folder_is_not_shown(run, tmp_path, name, target):
    (run / name).symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=rf"{name} is a link that leads out of its folder"):
        redraw(run)
    assert not (run / "report").exists()


def test_a_link_within_the_folder_is_shown(run):
    (run / "own.yaml").write_text("algo: sft")
    (run / "diff.yaml").symlink_to("own.yaml")
    assert "algo: sft" in redraw(run).read_text()


@pytest.mark.parametrize("upstream", ["../elsewhere", "..", ".", "", "/etc", "a/../../elsewhere", "a\0b", 3, None])
def test_what_a_run_stands_on_is_looked_for_beside_it_alone(run, tmp_path, upstream):
    write_json(run / "identity.json", {"upstream": {"policy": upstream}})
    write_json(tmp_path / "elsewhere" / "identity.json", {})
    assert [folder for _, folder in stages_of(run)] == chain(run) == [run]
    assert SECRET not in redraw(run).read_text()


def test_the_run_below_is_found(run):
    (run.parent / "reward_model-3c4d").mkdir()
    write_json(run.parent / "reward_model-3c4d" / "identity.json", {})
    write_json(run / "identity.json", {"upstream": {"reward": "reward_model-3c4d"}})
    assert [folder.name for _, folder in stages_of(run)] == ["reward_model-3c4d", "sft-1a2b"]
    assert [folder.name for folder in chain(run)] == ["reward_model-3c4d", "sft-1a2b"]


@pytest.mark.parametrize("read", [read_json, read_lines])
def test_devices_and_pipes_are_not_read(tmp_path, read):
    (tmp_path / "status.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("status.json", "pipe.json"):
        with pytest.raises(InputError, match=rf"{name} is no regular file"):
            read(tmp_path / name)


def test_a_manifest_that_is_a_device_is_not_read(tmp_path):
    (tmp_path / "manifest.json").symlink_to("/dev/zero")
    for check in (entries_of, lambda folder: read_json(folder / "front.json")):
        (tmp_path / "front.json").write_text("{}")
        with pytest.raises(InputError, match=r"manifest\.json is no regular file"):
            check(tmp_path)
    check_content(tmp_path)  # what is no file is no manifest


@pytest.mark.parametrize(("size", "passes"), [(7, True), (8, True), (9, False)])
def test_no_more_is_read_than_the_bound(tmp_path, size, passes):
    (tmp_path / "file").write_bytes(b"x" * size)
    if passes:
        assert regular.read_bytes(tmp_path / "file", 8) == b"x" * size
    else:
        with pytest.raises(InputError, match="file: 9 bytes, more than the 8"):
            regular.read_bytes(tmp_path / "file", 8)


def test_a_file_that_states_no_size_is_bounded():
    with pytest.raises(InputError, match="more than the 4"):
        regular.read_bytes(regular.Path("/proc/self/status"), 4)
