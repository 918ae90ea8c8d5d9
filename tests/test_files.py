from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mora import errors, files, manifest
from mora.errors import InputError


class Crash(BaseException):
    """Stands for a process that ends in the middle."""


def test_a_crash_in_the_middle_of_a_write_leaves_the_old_content(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})

    def crash(*_):
        raise Crash

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, crash)
            with pytest.raises(Crash):
                files.write_json(target, {"new": 2})
        assert files.read_json(target) == {"old": 1}
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json"]
    files.write_json(target, {"new": 2})
    assert files.read_json(target) == {"new": 2}


def test_text_json_and_lines_come_back(tmp_path):
    files.write_text(tmp_path / "deep" / "t.txt", "naïve\n")
    assert (tmp_path / "deep" / "t.txt").read_text(encoding="utf-8") == "naïve\n"
    rows = [{"a": 1.5, "b": "é"}, {"a": float("nan"), "b": [float("inf"), 2]}]
    files.write_lines(tmp_path / "rows.jsonl", iter(rows))
    assert files.read_lines(tmp_path / "rows.jsonl") == [{"a": 1.5, "b": "é"}, {"a": None, "b": [None, 2]}]


def test_bad_files_are_named_with_their_line(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json does not exist"):
        files.read_json(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(InputError, match=r"bad\.json:2 is not JSON"):
        files.read_json(tmp_path / "bad.json")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n\n{"a"\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:3 is not JSON"):
        files.read_lines(tmp_path / "bad.jsonl")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bad\.txt cannot be read"):
        files.read_lines(tmp_path / "bad.txt")


def test_what_is_no_json_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_is_whole_or_absent(tmp_path):
    with pytest.raises(Crash), files.new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("half")
        raise Crash
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with files.new_folder(tmp_path / "model") as folder:
            (folder / "weights").write_text(content)
        assert (tmp_path / "model" / "weights").read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_leftovers_are_removed_and_a_folder_without_successor_is_put_back(tmp_path):
    (tmp_path / ".partial-x-1").mkdir()
    (tmp_path / ".partial-y-1").write_text("half")
    (tmp_path / ".replaced-model").mkdir()
    (tmp_path / ".replaced-model" / "weights").write_text("old")
    (tmp_path / "kept").write_text("kept")
    files.remove_temporary(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    # the digest of nothing, FIPS 180 test vector
    assert manifest.sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_names_are_bounded_in_bytes_and_stay_apart():
    long = "ä" * 300
    names = {files.file_name(text, room=64) for text in (long, f"{long}x", f"x{long}")}
    assert len(names) == 3 and all(len(name.encode()) <= 255 - 64 for name in names)
    assert files.file_name("front-1") == "front-1" and files.file_name("a/b\0c") == "a-b-c"


@pytest.mark.parametrize("write", [files.write_text, lambda path, text: (files.write_json(path, text), None)])
def test_the_longest_name_of_the_user_can_be_written(tmp_path, write):
    path = tmp_path / ("ä" * 127)  # 254 bytes: the temporary name beside it must not be longer
    write(path, "content")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with files.exclusive(tmp_path / ("b" * 255)), files.new_folder(tmp_path / ("b" * 255)) as folder:
        (folder / "x").write_text("x")
    assert (tmp_path / ("b" * 255) / "x").is_file()


def test_what_a_process_that_is_gone_left_is_removed_by_the_next_writer(tmp_path):
    target, dead = tmp_path / "out.jsonl", subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()[:32]
    left = tmp_path / f".partial-out.jsonl-{host}-{dead.pid}-0123abcd"
    alive = tmp_path / f".partial-out.jsonl-{host}-{os.getppid()}-0123abcd"
    elsewhere = tmp_path / f".partial-out.jsonl-not{host}-{dead.pid}-0123abcd"
    for path in (left, alive, elsewhere):
        path.write_text("half")
    files.write_text(target, "whole")
    assert {p.name for p in tmp_path.iterdir()} == {target.name, alive.name, elsewhere.name}


def test_the_lock_of_a_folder_spares_what_has_a_lock_of_its_own(tmp_path):
    for name in (".partial-report-host-1-x", ".replaced-report", ".partial-model-host-1-x"):
        (tmp_path / name).mkdir()
    files.remove_temporary(tmp_path, besides=["report"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [".partial-report-host-1-x", ".replaced-report"]
    with files.exclusive(tmp_path / "report"):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".report.lock", "report"]


@pytest.mark.parametrize("number", sorted(errors.REMEDIES))
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_is_named_and_leaves_nothing(tmp_path, monkeypatch, number, call):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    for write in (lambda path: files.write_json(path, 1), lambda path: files.record_json(path, 1), _folder):
        with pytest.raises(OSError) as caught:
            write(tmp_path / "target")
        said = errors.correctable(caught.value)
        assert str(tmp_path) in said and os.strerror(number) in said and errors.REMEDIES[number] in said
        assert list(tmp_path.iterdir()) == []


def _folder(path):
    with files.new_folder(path, sealed=True) as made:
        (made / "x").write_text("x")


def test_errors_of_libraries_that_hide_the_number_are_named(tmp_path):
    """What safetensors and tokenizers say when a disk is full."""
    for said in (
        "Error while serializing: I/O error: No space left on device (os error 28)",
        'Os { code: 28, kind: "x" }',
    ):
        with pytest.raises(OSError) as caught, files.new_folder(tmp_path / "model"):
            raise RuntimeError(said)
        assert errors.correctable(caught.value).startswith(
            f"{tmp_path / 'model'}: No space left on device; free some space"
        )
    with pytest.raises(RuntimeError, match="another"), files.new_folder(tmp_path / "model"):
        raise RuntimeError("another error")


def test_an_error_without_a_remedy_is_unexpected():
    assert errors.correctable(FileNotFoundError(2, "no such file", "x")) is None
    assert errors.correctable(OSError("no number")) is None and errors.correctable(KeyError("x")) is None
    assert errors.correctable(InputError("x: y")) == "x: y"
