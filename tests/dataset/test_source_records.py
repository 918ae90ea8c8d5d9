from __future__ import annotations

import gzip
import json

import pytest

from mora.dataset.pinned import by_content
from mora.dataset.source_records import SourceRecords
from mora.errors import InputError


def _source(**keys):
    given = {
        "hub": None,
        "config": None,
        "snapshot": None,
        "subsets": None,
        "train_split": "train",
        "test_split": None,
        "test_where": None,
        "path": None,
        "test_path": None,
    }
    return SourceRecords(**given | keys)


def _write(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"n": name}) + "\n" for name in names)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _by_split(source):
    splits = ("train", "test") if source.has_test_set() else ("train",)
    return [[record.fields["n"] for record in source.records(side)] for side in splits]


def test_files_named_after_the_test_split_are_the_test_set(tmp_path):
    _write(tmp_path / "a" / "train.jsonl", "a1", "a2")
    _write(tmp_path / "a" / "test.jsonl.gz", "a3")
    _write(tmp_path / "b" / "data-test-0001.jsonl", "b1")
    _write(tmp_path / "b" / "latest.jsonl", "b2")  # no word of its own: not the test split
    source = _source(path=str(tmp_path), test_split="test")
    assert _by_split(source) == [["a1", "a2"], ["a3", "b1"]]
    assert any("named after neither train nor test: b/latest.jsonl" in note for note in source.notes())
    assert _by_split(_source(path=str(tmp_path))) == [
        ["a1", "a2"]
    ]  # no test split: a share of what is to be trained on
    assert _by_split(_source(path=str(tmp_path), train_split="other")) == [["a3", "a1", "a2", "b1", "b2"]]
    # a test set that is named takes the place of the one in the folder, which is still not trained on
    _write(tmp_path / "own.jsonl", "own")
    assert _by_split(_source(path=str(tmp_path / "a"), test_split="test", test_path=str(tmp_path / "own.jsonl"))) == [
        ["a1", "a2"],
        ["own"],
    ]


def test_a_test_split_that_no_file_is_named_after_is_told(tmp_path):
    _write(tmp_path / "train.jsonl", "a")
    for path in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(InputError, match=r"no file is named after dataset.test_split=tset \(there: train.jsonl\)"):
            _source(path=str(path), test_split="tset").has_test_set()
    single = _source(
        path=str(tmp_path / "train.jsonl"), test_split="test"
    )  # as for a source whose hub has a test split
    assert not single.has_test_set() and "no say in a single file" in single.notes()[0]


@pytest.mark.parametrize("folder", ["sp", "v1.0/sp", "v1.0.test-set.d"])
def test_the_parts_that_a_split_writes_are_read_as_what_they_are(tmp_path, folder):
    for part in ("train", "test", "valid"):
        _write(tmp_path / folder / f"rows.v2.{part}.jsonl", part)
    for path in (tmp_path / folder, tmp_path / folder / "*.jsonl"):
        source = _source(path=str(path), test_split="test")
        assert _by_split(source) == [["train"], ["test"]]
        assert [note.rpartition(": ")[2] for note in source.notes()] == ["rows.v2.valid.jsonl"]
        assert _by_split(_source(path=str(path))) == [["train"]]  # neither is trained on without a test split either


def test_the_name_of_a_file_says_more_than_that_of_its_folder(tmp_path):
    _write(tmp_path / "test-of-may" / "train.jsonl", "a")
    _write(tmp_path / "v1.0" / "test" / "part.0.jsonl", "b")
    assert _by_split(_source(path=str(tmp_path), test_split="test")) == [["a"], ["b"]]


def test_what_is_called_a_test_set_and_trained_on_is_told(tmp_path):
    for name in ("rows.jsonl", "val.jsonl"):
        _write(tmp_path / name, name)
    (note,) = _source(path=str(tmp_path)).notes()
    assert "though called a test set: val.jsonl" in note


def test_several_configurations_in_a_folder_are_named(tmp_path):
    for name in ("train.jsonl.gz", "validation.jsonl.gz", "preference/preference.jsonl", "disagreements/d.jsonl"):
        _write(tmp_path / name, name)
    with pytest.raises(InputError, match="several configurations") as caught:
        _source(path=str(tmp_path), test_split="validation").has_test_set()
    assert "disagreements, preference" in str(caught.value) and f"{tmp_path}/*.jsonl.gz" in str(caught.value)
    own = _source(path=f"{tmp_path}/*.jsonl.gz", test_split="validation")
    assert _by_split(own) == [["train.jsonl.gz"], ["validation.jsonl.gz"]]
    assert len(list(_source(path=f"{tmp_path}/**", train_split="none").records("train"))) == 4


@pytest.mark.parametrize("test_path", [False, True])
@pytest.mark.parametrize("subsets", [None, ("x",)])
def test_a_folder_of_nothing_but_test_files_is_told(tmp_path, test_path, subsets):
    _write(tmp_path / "d" / "x" / "test.jsonl", "a")
    _write(tmp_path / "own.jsonl", "b")
    path, own = tmp_path / "d" / ("" if subsets else "x"), str(tmp_path / "own.jsonl") if test_path else None
    with pytest.raises(InputError, match="x: all files there are named test, none to train on; give others, or"):
        list(_source(path=str(path), test_split="test", test_path=own, subsets=subsets).records("train"))


LACKING = {  # files, the path, and what is said
    "folders": (["x/test.jsonl", "x/train.jsonl", "y/train.jsonl", "z/a.jsonl"], "", "no file of y, z is named"),
    "a file": (["x/test.jsonl", "x/train.jsonl", "y.jsonl", "z.jsonl"], "{subset}*", "no file of y, z is named"),
    "all but one": (["x/test.jsonl", "y/test.jsonl", "z/a.jsonl"], "", r"no file of z .*, as files of x, y are"),
}


@pytest.mark.parametrize("case", LACKING)
def test_subsets_of_which_some_have_no_test_file_are_named(tmp_path, case):
    names, path, said = LACKING[case]
    for name in names:
        _write(tmp_path / name, name)
    source = _source(path=f"{tmp_path}/{path}", subsets=("x", "y", "z"), test_split="test")
    with pytest.raises(InputError, match=rf"{said}.* dataset.test_split=null"):
        source.has_test_set()
    assert not _source(path=f"{tmp_path}/{path}", subsets=("x", "y", "z")).has_test_set()


APART = {  # dataset.test_path, and what the notes say is not read for its sake
    "own.jsonl": ["test.jsonl"],
    "d/test.jsonl": [],  # in the folder itself
    "d/valid.jsonl": ["test.jsonl"],
    "d/*t*.jsonl": [],
}


@pytest.mark.parametrize("path", APART)
@pytest.mark.parametrize("subsets", [None, ("d",)])
def test_test_files_that_a_test_path_replaces_are_told(tmp_path, path, subsets):
    for name in ("own.jsonl", "d/train.jsonl", "d/test.jsonl", "d/valid.jsonl"):
        _write(tmp_path / name, name)
    root = tmp_path if subsets else tmp_path / "d"
    source = _source(path=str(root), test_path=str(tmp_path / path), test_split="test", subsets=subsets)
    notes = [note.rpartition(": ")[::2] for note in source.notes()]
    assert [names for said, names in notes if "is the test set" in said] == APART[path]
    assert [names for said, names in notes if "named after neither" in said] == ["valid.jsonl"] * ("valid" not in path)
    assert _by_split(source)[0] == ["d/train.jsonl"]


def test_fields_tell_a_test_record(tmp_path):
    rows = [{"n": "a", "split": "train"}, {"n": "b", "split": "val"}, {"n": "c", "split": "train"}, {"n": "d"}]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = _source(path=str(path), test_where={"split": "val"})
    assert source.has_test_set() and _by_split(source) == [["a", "c", "d"], ["b"]]
    _write(tmp_path / "own.jsonl", "own")
    source = _source(path=str(path), test_where={"split": "val"}, test_path=str(tmp_path / "own.jsonl"))
    assert _by_split(source) == [["a", "c", "d"], ["own"]]
    assert any("records with these values are not read, since dataset.test_path=" in note for note in source.notes())


def test_subsets_are_folders_or_stand_in_the_path(tmp_path):
    for name in ("x", "y", "z"):
        _write(tmp_path / name / "train.jsonl", f"{name}1")
        _write(tmp_path / name / "test.jsonl", f"{name}2")
    source = _source(path=str(tmp_path), subsets=("y", "x"), test_split="test")
    assert _by_split(source) == [["y1", "x1"], ["y2", "x2"]]
    assert [record.fields["subset"] for record in source.records("test")] == ["y", "x"]
    marked = _source(path=f"{tmp_path}/{{subset}}/tr*.jsonl", test_path=f"{tmp_path}/{{subset}}/test*", subsets=("z",))
    assert _by_split(marked) == [["z1"], ["z2"]]
    with pytest.raises(InputError, match=r"no folder 'w' \(there: x, y, z\)"):
        list(_source(path=str(tmp_path), subsets=("w",)).records("train"))


def test_a_single_subset_may_be_given_as_its_files(tmp_path):
    _write(tmp_path / "a.jsonl", "a1")
    _write(tmp_path / "b.jsonl", "b1")
    for path in ("a.jsonl", "a*.jsonl"):
        source = _source(path=str(tmp_path / path), test_path=str(tmp_path / "b.jsonl"), subsets=("x",))
        assert _by_split(source) == [["a1"], ["b1"]]
        assert [record.fields["subset"] for record in source.records("train")] == ["x"]
    with pytest.raises(InputError, match="no folder 'x'"):
        list(_source(path=str(tmp_path / "a.jsonl"), subsets=("x", "y")).records("train"))


# --- what is read is what the identity of a run covers ----------------------------------------------------------------

LAYOUTS = {  # path below the folder, subsets, and the files that are read; of several objectives x and y are asked for
    "a folder of each subset": ("d", ["x", "y"], ["d/x/a.jsonl", "d/y/a.jsonl"]),
    "folders of objectives": ("d", "objectives", ["d/x/a.jsonl", "d/y/a.jsonl"]),
    "a link to a folder": ("links", ["x"], ["elsewhere/a.jsonl"]),
    "a link to a folder, of an objective": ("links", "objectives", ["elsewhere/a.jsonl", "links/y/a.jsonl"]),
    "links that stand in the path": ("links/{subset}", ["x"], ["elsewhere/a.jsonl"]),
    "brackets around it": ("[v]{subset}.jsonl", ["x", "y"], ["[v]x.jsonl", "[v]y.jsonl"]),
    "brackets in a folder": ("v[1]/{subset}.jsonl", ["x"], ["v[1]/x.jsonl"]),
    "brackets beside a pattern": ("v[1]/{subset}*", ["x"], ["v[1]/x.jsonl"]),
    "brackets and objectives": ("[v]{subset}.jsonl", "objectives", ["[v]x.jsonl", "[v]y.jsonl"]),
    "a single one by its file": ("d/x/a.jsonl", ["x"], ["d/x/a.jsonl"]),
    "a single one by its pattern": ("d/*/a.jsonl", ["x"], ["d/x/a.jsonl", "d/y/a.jsonl", "d/z/a.jsonl"]),
    "no subsets": ("{subset}/x.jsonl", None, ["{subset}/x.jsonl"]),
}


@pytest.mark.parametrize("key", ["path", "test_path"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_read_is_what_the_identity_covers(tmp_path, name, key):
    path, subsets, expected = LAYOUTS[name]
    names = [f"{folder}/a.jsonl" for folder in ("d/x", "d/y", "d/z", "elsewhere", "links/y")]
    for number, file in enumerate([*names, "[v]x.jsonl", "[v]y.jsonl", "v[1]/x.jsonl", "vx.jsonl", "{subset}/x.jsonl"]):
        _write(tmp_path / file, number)
    (tmp_path / "links" / "x").symlink_to(tmp_path / "elsewhere")
    section = {"path": str(tmp_path / "vx.jsonl"), "subsets": subsets} | {key: str(tmp_path / path)}
    objectives = ["x", "y"]
    of = objectives if subsets == "objectives" else subsets
    paths = {name: section[name] for name in ("path", "test_path") if name in section}
    source = _source(**paths, subsets=None if of is None else tuple(of))
    read = {json.dumps(r.fields["n"]) for r in source.records("train" if key == "path" else "test")}
    assert read == {json.dumps(json.loads((tmp_path / file).read_text())["n"]) for file in expected}
    before = by_content(section, objectives)
    for file in sorted(file for file in tmp_path.rglob("*.jsonl") if file.name != "vx.jsonl"):
        content = file.read_bytes()
        file.write_bytes(b"another content")
        assert (by_content(section, objectives) != before) == (str(file.relative_to(tmp_path)) in expected), file
        file.write_bytes(content)
    assert by_content(section, objectives) == before


def test_the_names_of_subsets_are_part_of_the_identity(tmp_path):
    for file in ("x/a.jsonl", "y/a.jsonl"):
        _write(tmp_path / file, file)
    section = {"path": str(tmp_path), "columns": {"n": "x", "m": "y"}, "subsets": "objectives"}
    found = [by_content(section, objectives)["path"] for objectives in (["n"], ["m"], ["n", "m"], ["m", "n"])]
    assert len(set(found)) == 4
