from __future__ import annotations

import gzip
import json

import pytest

from mora.dataset.place import Place
from mora.errors import InputError


def _place(**keys):
    given = {
        "hub": None,
        "config": None,
        "copy": None,
        "subsets": None,
        "train_split": "train",
        "test_split": None,
        "test_where": None,
        "path": None,
        "test_path": None,
    }
    return Place(**given | keys)


def _write(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"n": name}) + "\n" for name in names)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _sides(place):
    sides = ("train", "test") if place.brings_test() else ("train",)
    return [[record.fields["n"] for record in place.records(side)] for side in sides]


def test_files_named_after_the_test_split_are_the_test_set(tmp_path):
    _write(tmp_path / "a" / "train.jsonl", "a1", "a2")
    _write(tmp_path / "a" / "test.jsonl.gz", "a3")
    _write(tmp_path / "b" / "data-test-0001.jsonl", "b1")
    _write(tmp_path / "b" / "latest.jsonl", "b2")  # no word of its own: not the test split
    place = _place(path=str(tmp_path), test_split="test")
    assert _sides(place) == [["a1", "a2", "b2"], ["a3", "b1"]]
    assert _sides(_place(path=str(tmp_path))) == [["a3", "a1", "a2", "b1", "b2"]]  # no test split: a share of all
    # a test set that is named takes the place of the one in the folder, which is still not trained on
    _write(tmp_path / "own.jsonl", "own")
    assert _sides(_place(path=str(tmp_path / "a"), test_split="test", test_path=str(tmp_path / "own.jsonl"))) == [
        ["a1", "a2"],
        ["own"],
    ]


def test_a_folder_without_test_files_brings_no_test_set(tmp_path):
    _write(tmp_path / "train.jsonl", "a")
    assert not _place(path=str(tmp_path), test_split="test").brings_test()
    assert not _place(path=str(tmp_path / "train.jsonl"), test_split="test").brings_test()


def test_a_folder_of_nothing_but_test_files_is_told(tmp_path):
    _write(tmp_path / "test.jsonl", "a")
    with pytest.raises(InputError, match="all files there are named test, none to train on"):
        list(_place(path=str(tmp_path), test_split="test").records("train"))


def test_fields_tell_a_test_record(tmp_path):
    rows = [{"n": "a", "split": "train"}, {"n": "b", "split": "val"}, {"n": "c", "split": "train"}, {"n": "d"}]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = _place(path=str(path), test_where={"split": "val"})
    assert place.brings_test() and _sides(place) == [["a", "c", "d"], ["b"]]


def test_subsets_are_folders_or_stand_in_the_path(tmp_path):
    for name in ("x", "y", "z"):
        _write(tmp_path / name / "train.jsonl", f"{name}1")
        _write(tmp_path / name / "test.jsonl", f"{name}2")
    place = _place(path=str(tmp_path), subsets=("y", "x"), test_split="test")
    assert _sides(place) == [["y1", "x1"], ["y2", "x2"]]
    assert [record.fields["subset"] for record in place.records("test")] == ["y", "x"]
    marked = _place(path=f"{tmp_path}/{{subset}}/tr*.jsonl", test_path=f"{tmp_path}/{{subset}}/test*", subsets=("z",))
    assert _sides(marked) == [["z1"], ["z2"]]
    with pytest.raises(InputError, match=r"no folder 'w' \(there: x, y, z\)"):
        list(_place(path=str(tmp_path), subsets=("w",)).records("train"))


def test_a_single_subset_may_be_given_as_its_files(tmp_path):
    _write(tmp_path / "a.jsonl", "a1")
    _write(tmp_path / "b.jsonl", "b1")
    for path in ("a.jsonl", "a*.jsonl"):
        place = _place(path=str(tmp_path / path), test_path=str(tmp_path / "b.jsonl"), subsets=("x",))
        assert _sides(place) == [["a1"], ["b1"]]
        assert [record.fields["subset"] for record in place.records("train")] == ["x"]
    with pytest.raises(InputError, match="no folder 'x'"):
        list(_place(path=str(tmp_path / "a.jsonl"), subsets=("x", "y")).records("train"))
