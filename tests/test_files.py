from __future__ import annotations

import os

import pytest

from mora import files, manifest
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
