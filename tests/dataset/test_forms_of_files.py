"""Files as people have them: what each is read as, how many of its rows are bad, and what is said."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from tests.dataset.examples import source

from mora.dataset import messages, paths
from mora.dataset.cells import cell, written
from mora.dataset.pinned import by_content
from mora.dataset.read import records
from mora.errors import InputError

ROWS = [
    {"prompt": "What is 6 times 7?", "response_0": "42", "response_1": 'a line\nand, "another"', "x_response_id": 0},
    {"prompt": "né\u2028 – 面", "response_0": "true", "response_1": "[1, 2]", "x_response_id": 1},
    {"prompt": "1e3", "response_0": "=1+1", "response_1": "0.0", "x_response_id": None},
]
HEAD = "prompt,response_0,response_1,x_response_id\n"


def _lines(rows=ROWS, end="\n", **keys):
    return "".join(json.dumps(row, ensure_ascii=False, **keys) + end for row in rows).encode()


def _table(rows=ROWS, delimiter=",", end="\r\n", quoting=csv.QUOTE_MINIMAL):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _parquet(rows=ROWS):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()


def _zstd(content):
    stream = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(stream, "zstd") as packed:
        packed.write(content)
    return stream.getvalue().to_pybytes()


FLOATS = [row | {"x_response_id": label} for row, label in zip(ROWS, ("0.0", "1.0", ""), strict=True)]
BOM = b"\xef\xbb\xbf"

SAME = {  # each of these files says what ROWS says
    "lines.jsonl": _lines(),
    "lines in a .json.json": _lines(),
    "carriage returns.jsonl": _lines(end="\r\n"),
    "byte-order mark.jsonl": BOM + _lines(),
    "ascii.jsonl": json.dumps(ROWS[0]).encode() + b"\n\n" + _lines(ROWS[1:]),
    "no last line end.jsonl": _lines().rstrip(),
    "list.json": json.dumps(ROWS).encode(),
    "list.jsonl": json.dumps(ROWS, indent=2).encode(),
    "printed.jsonl": _lines(indent=4),
    "printed.json": BOM + _lines(indent=1, end="\r\n\r\n"),
    "printed.json.gz": gzip.compress(_lines(indent=4), mtime=0),
    "CAPITALS.JSONL": _lines(),
    "dots.v1.0.jsonl": _lines(),
    "a space and an 'apostrophe'.jsonl": _lines(),
    "pairs[v1].jsonl": _lines(),
    "what? all*.jsonl": _lines(),
    "{braces}.jsonl": _lines(),
    "packed.jsonl.gz": gzip.compress(_lines(), mtime=0),
    "twice.jsonl.gz": gzip.compress(_lines(ROWS[:1]), mtime=0) + gzip.compress(_lines(ROWS[1:]), mtime=0),
    "packed.jsonl.xz": lzma.compress(_lines()),
    "packed.jsonl.bz2": bz2.compress(_lines()),
    "packed.jsonl.zst": _zstd(_lines()),
    "packed.csv.GZ": gzip.compress(_table(), mtime=0),
    "commas.csv": _table(),
    "semicolons.csv": BOM + _table(delimiter=";"),
    "tabs.tsv": _table(delimiter="\t", end="\n"),
    "tabs.csv": _table(delimiter="\t"),
    "everything quoted.csv": _table(quoting=csv.QUOTE_ALL),
    "pandas.csv": _table(FLOATS, end="\n"),
    "blank first line.csv": b"\n" + _table(),
    "table.parquet": _parquet(),
}


def _load(path, dataset="jsonl", objectives=("x",), **keys):
    return source(dataset, path=str(path), on_bad_row="quarantine", **keys).load(objectives, 0)


def _said(corpus):
    """What the rows of a corpus say, without where they stand."""
    kinds = (corpus.pairs, corpus.prompts, corpus.scored, corpus.supervised)
    return [(r.prompt, r.responses, dict(r.labels), dict(r.ratings)) for kind in kinds for r in kind["train"]]


def _put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    path = _put(tmp_path_factory.mktemp("plain"), {"rows.jsonl": _lines()}) / "rows.jsonl"
    found = _said(_load(path))
    assert [(prompt, responses) for prompt, responses, *_ in found[:2]] == [
        (row["prompt"], (row["response_0"], row["response_1"])) for row in ROWS[:2]
    ]
    assert [labels for *_, labels, _ in found[:2]] == [{"x": 0.0}, {"x": 1.0}]
    return found


@pytest.mark.parametrize("name", SAME)
def test_one_content_in_every_form(tmp_path, said, name):
    path = _put(tmp_path, {name: SAME[name], "other.txt": b"no data"}) / name
    corpus = _load(path)
    assert _said(corpus) == said
    assert (corpus.records["read"], corpus.records["used"], corpus.records["set_aside"]) == (3, 3, 0)
    assert _said(_load(path.parent)) == said  # the folder that holds it


# --- numbers in cells -------------------------------------------------------------------------------------------------

CELLS = {
    "labels": (
        b"prompt,response_0,response_1,x_label\np,a,b,0.25\nq,a,b,1\nr,a,b,.5\ns,a,b,1e-1\nt,a,b, 0.75 \n",
        [{"x": 0.25}, {"x": 1.0}, {"x": 0.5}, {"x": 0.1}, {"x": 0.75}],
    ),
    "ids and strengths": (
        b"prompt,response_0,response_1,x_response_id,x_strength\np,a,b,1.0,2.5\nq,a,b,0,\nr,a,b,1,0\n",
        [{"x": 1.0}, {"x": 0.0}, {"x": 1.0}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_numbers_in_cells_are_numbers(tmp_path, name):
    content, labels = CELLS[name]
    corpus = _load(_put(tmp_path, {"a.csv": content}) / "a.csv")
    assert [dict(row.labels) for row in corpus.pairs["train"]] == labels


def test_ratings_in_cells_are_numbers_and_what_is_none_is_one_bad_row(tmp_path):
    content = b'prompt,response,x\np,a,3\np,b,4.5\nq,a,"[1, 2]"\nr,a,\ns,a,80 used\nt,a,-1e2\n'
    corpus = _load(_put(tmp_path, {"a.csv": content}) / "a.csv")
    assert [row.ratings["x"][0] for row in corpus.scored["train"]] == [(3.0,), (4.5,), (1.0, 2.0), (-100.0,)]
    (bad,) = corpus.quarantine
    assert bad.where.endswith("a.csv:6") and "'80 used'" in bad.reason


@pytest.mark.parametrize(("cell", "known"), [("2.0", True), ("nan", False), ("1,5", False), ("0x1", False)])
def test_a_number_is_what_json_calls_one(tmp_path, cell, known):
    content = f'prompt,response,x\np,a,1\np,b,2\nq,a,"{cell}"\n'.encode()
    corpus = _load(_put(tmp_path, {"a.csv": content}) / "a.csv")
    assert len(corpus.quarantine) == (0 if known else 1)


@pytest.mark.parametrize("output", ["rows.jsonl", "rows.parquet"])
def test_cells_are_written_as_what_they_stand_for(tmp_path, said, output):
    from mora.dataset.write import writing

    path = _put(tmp_path, {"a.csv": _table(FLOATS)}) / "a.csv"
    with writing(tmp_path / output, "output") as write:
        for record in records(str(path), "input"):
            write(record.fields)
    assert _said(_load(tmp_path / output)) == said


# --- conversations ----------------------------------------------------------------------------------------------------

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
NOTHING = {"role": "system", "content": ""}
PARTS = {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
CHATS = {
    "messages": {"messages": [USER, ANSWER]},
    "an empty system message": {"messages": [NOTHING, USER, ANSWER]},
    "a system message of spaces": {"messages": [NOTHING | {"content": " \n"}, USER, ANSWER]},
    "parts of a content": {"messages": [PARTS, ANSWER]},
    "ShareGPT": {"conversations": SHARED},
    "ShareGPT with an empty system message": {"conversations": [{"from": "system", "value": ""}, *SHARED]},
    "messages as JSON in a cell": {"messages": json.dumps([USER, ANSWER])},
}


@pytest.mark.parametrize("name", CHATS)
def test_one_conversation_in_every_form(tmp_path, name):
    cell = isinstance(CHATS[name].get("messages"), str)
    files = {"a.csv": _table([CHATS[name]])} if cell else {"a.jsonl": _lines([CHATS[name]])}
    corpus = _load(_put(tmp_path, files) / next(iter(files)), "messages")
    assert [(row.prompt, row.responses) for row in corpus.supervised["train"]] == [("Hi", ("Ho",))]
    counted = [note for note in corpus.notes if "1 of 1 records with a system message that says nothing" in note]
    assert len(counted) == ("system message" in name)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [IMAGE, ANSWER]}, r"messages\[1\].content\[1\] is no text but image_url"),
        ({"messages": [USER, ANSWER | {"role": "tool"}]}, "the role 'tool' is none of system, user, assistant"),
        ({"messages": [NOTHING]}, "'messages' holds no message"),
        ({"conversations": [{"from": "human"}]}, r"'conversations\[1\].value' is missing"),
    ],
)
def test_a_conversation_that_cannot_be_read_is_one_bad_row(tmp_path, record, reason):
    path = _put(tmp_path, {"a.jsonl": _lines([{"messages": [USER, ANSWER]}, record])}) / "a.jsonl"
    (bad,) = _load(path, "messages").quarantine
    with pytest.raises(ValueError, match=reason):
        raise ValueError(bad.reason)


@pytest.mark.parametrize("name", ["hh_rlhf", "helpsteer"])
def test_turns_are_seen_with_the_line_ends_of_windows(tmp_path, name):
    talk = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: "
    rows = {
        "hh_rlhf": [{"chosen": f"{talk}d", "rejected": f"{talk}e"}],
        "helpsteer": [
            {"prompt": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "response": answer}
            | dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), number)
            for number, answer in enumerate("de")
        ],
    }[name]
    windows = json.loads(json.dumps(rows).replace("\\n", "\\r\\n"))
    keys = {"subsets": ["helpful-base"]} if name == "hh_rlhf" else {}
    objectives = ("helpful",) if name == "hh_rlhf" else ("helpfulness",)
    both = [
        _load(_put(tmp_path, {f"{number}.jsonl": _lines(of)}) / f"{number}.jsonl", name, objectives, **keys)
        for number, of in enumerate((rows, windows))
    ]
    assert _said(both[0]) == _said(both[1]) and len(both[0].pairs["train"]) == 1


# --- columns that are null ------------------------------------------------------------------------------------------

PAIR = {"prompt": "p", "response_0": "a", "response_1": "b", "x_response_id": 1}
ANSWERS = [{"prompt": "q", "response": "c"}, {"prompt": "r", "response": "d", "x": 3}]
UNITED = {  # records of several forms, as a table has them: each with the columns of all
    "jsonl": [PAIR, *ANSWERS, {"prompt": "s"}],
    "messages": [
        {name: value for name, value in PAIR.items() if name != "prompt"}
        | {"conversations": [{"role": None, "content": None, "from": "human", "value": "p"}]},
        *({"completion": row["response"]} | {name: row[name] for name in row if name != "response"} for row in ANSWERS),
        {"messages": [{"role": "user", "content": "s", "from": None, "value": None}]},
    ],
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("dataset", UNITED)
def test_a_column_that_is_null_counts_as_absent(tmp_path, name, dataset):
    columns = dict.fromkeys(column for record in UNITED[dataset] for column in record)
    rows = [{**dict.fromkeys(columns), **record} for record in UNITED[dataset]]
    if name == "a.csv":
        rows = [{key: json.dumps(v) if isinstance(v, list) else v for key, v in row.items()} for row in rows]
    content = {"a.jsonl": _lines, "a.csv": _table, "a.parquet": _parquet}[name](rows)
    corpus = _load(_put(tmp_path, {name: content}) / name, dataset)
    assert corpus.records["set_aside"] == 0
    labelled = [row for row in corpus.pairs["train"] if row.labels["x"] is not None]
    assert [(row.prompt, dict(row.labels)) for row in labelled] == [("p", {"x": 1.0})]
    assert [(row.prompt, row.responses) for row in corpus.supervised["train"]] == [("q", ("c",))]
    assert [(row.prompt, row.ratings) for row in corpus.scored["train"]] == [("r", {"x": ((3.0,),)})]
    assert [row.prompt for row in corpus.prompts["train"]] == ["p", "r", "s"]


# --- which files a path means -----------------------------------------------------------------------------------------

MEANT = {  # path below the folder -> the files that it means
    "d": ["d/[v1]/a.jsonl", "d/a.jsonl", "d/b.csv.gz"],
    "d/": ["d/[v1]/a.jsonl", "d/a.jsonl", "d/b.csv.gz"],
    "d/*.jsonl": ["d/a.jsonl"],
    "d/[v1]": ["d/[v1]/a.jsonl"],
    "d/[v1]/*.jsonl": ["d/[v1]/a.jsonl"],
    "d/[v1]/[a-c].jsonl": ["d/[v1]/a.jsonl"],
    "d/*": ["d/[v1]/a.jsonl", "d/a.jsonl", "d/b.csv.gz", "d/read.me"],  # what matches itself is meant, but for notes
    "d/*.json": [],
    "*/dataset_infos.json": ["d/dataset_infos.json"],  # by its whole name
    "d/dataset_infos.json": ["d/dataset_infos.json"],
    "d/**": ["d/[v1]/a.jsonl", "d/a.jsonl", "d/b.csv.gz"],
    "**/*.jsonl": ["d/[v1]/a.jsonl", "d/a.jsonl", "e*/a.jsonl"],
    "e*": ["e*/a.jsonl"],
    "e[*]/a.jsonl": ["e*/a.jsonl"],
    "d/../e*/a.jsonl": ["d/../e*/a.jsonl"],
    "[de]/a.jsonl": ["d/a.jsonl"],
    "d/.hidden.jsonl": ["d/.hidden.jsonl"],
    "nothing*": [],
    "d/a.jsonl/x": [],
}


@pytest.mark.parametrize("path", MEANT)
@pytest.mark.parametrize("home", [False, True])
def test_a_path_means_the_same_files_to_all(tmp_path, monkeypatch, path, home):
    names = [
        "d/a.jsonl",
        "d/b.csv.gz",
        "d/read.me",
        "d/.hidden.jsonl",
        "d/.git/a.jsonl",
        "d/[v1]/a.jsonl",
        "e*/a.jsonl",
    ]
    _put(tmp_path, {**{name: name.encode() for name in names}, "d/dataset_infos.json": b"{}"})
    if home:
        monkeypatch.setenv("HOME", str(tmp_path))
    given = f"~/{path}" if home else f"{tmp_path}/{path}"
    expected = [tmp_path / name for name in MEANT[path]]
    assert list(paths.match_files(given).files) == sorted(expected)
    before = by_content({"path": given}, ())["path"]
    assert (before == given) == (not expected)  # nothing there: told when it is read
    for file in expected:
        content = file.read_bytes()
        file.write_bytes(b"another content")
        assert by_content({"path": given}, ())["path"] != before
        file.write_bytes(content)
        assert by_content({"path": given}, ())["path"] == before


def test_what_a_file_of_a_folder_is_called_is_part_of_the_identity(tmp_path):
    _put(tmp_path, {"a.valid.jsonl": b"a", "b.train.jsonl": b"b"})
    before = by_content({"path": str(tmp_path)}, ())
    (tmp_path / "a.valid.jsonl").rename(tmp_path / "a.test.jsonl")  # the order of names stays
    assert by_content({"path": str(tmp_path)}, ()) != before
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert by_content({"path": str(moved)}, ()) == by_content({"path": f"{moved}/"}, ())


# --- what is said -----------------------------------------------------------------------------------------------------

TOLD = {
    "a.jsonl": [
        (_lines().decode().encode("utf-16"), "written as UTF-16"),
        (_lines().decode().encode("utf-16-le"), "written as UTF-16"),
        (_lines().decode().encode("utf-32"), "written as UTF-16"),
        (gzip.compress(_lines(), mtime=0), r"compressed by gzip; let its name end in \.gz"),
        (lzma.compress(_lines()), r"compressed by xz; let its name end in \.xz"),
        (bz2.compress(_lines()), r"compressed by bzip2; let its name end in \.bz2"),
        (_zstd(_lines()), r"compressed by zstandard; let its name end in \.zst"),
        (b"PK\x03\x04rest", "a zip archive or a workbook"),
        (_parquet(), r"a Parquet file; let its name end in \.parquet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "a page of HTML"),
        (b'{\n "prompt": "a"\n}\n{\n "prompt": \n}\n', r"a\.jsonl:6: broken JSON"),
        (b'{\n "prompt": "a",\n "x": NaN\n}\n', r"a\.jsonl:3: broken JSON: NaN is no JSON"),
        (b"", "empty, no record"),
    ],
    "a.csv": [
        (_table().replace("é".encode(), b"\xe9"), r"a\.csv:\d+: byte .* save the file as UTF-8"),
        (_table(end="\r").replace(b"\n", b" "), "broken CSV"),
        (HEAD.encode(), "empty, no record"),
        (b'prompt,response_0\np,"a', "broken CSV"),
    ],
    "a.jsonl.gz": [(gzip.compress(_lines(), mtime=0)[:-9], "damaged"), (_lines(), "damaged")],
    "a.jsonl.bz2": [(bz2.compress(_lines())[:-9], "damaged"), (_lines(), "damaged")],
    "a.jsonl.zst": [(_zstd(_lines() * 99)[:-9], "damaged"), (_lines(), "damaged")],
    "a.parquet": [(b"version https://git-lfs", "a pointer of Git LFS"), (_parquet()[:-9], "damaged")],
    "a.arrow": [(b"", "a table of Arrow.*save_to_disk")],
    "a.jsonl.zip": [(b"", r"a\.jsonl\.zip is packed in a way that is not read")],
    "a.txt": [(b"", "unknown format")],
}  # fmt: skip


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, cases in TOLD.items() for n in range(len(cases))])
def test_a_file_that_is_not_read_says_why(tmp_path, name, number):
    content, message = TOLD[name][number]
    path = _put(tmp_path, {name: content}) / name
    with pytest.raises(InputError, match=message) as caught:
        list(records(str(path), "dataset.path"))
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "more.jsonl.zip", "more.csv.7z"])
def test_rows_in_another_form_are_not_left_out_of_a_folder_without_a_word(tmp_path, name):
    _put(tmp_path, {"a.jsonl": _lines(), name: b"", "figures.zip": b"", "state.json": b"{}"})
    with pytest.raises(InputError, match=name):
        list(records(str(tmp_path), "dataset.path"))
    (tmp_path / name).unlink()
    assert len(list(records(str(tmp_path), "dataset.path"))) == 3


def test_a_link_to_a_folder_with_rows_is_told(tmp_path):
    _put(tmp_path, {"d/a.jsonl": _lines(), "e/a.jsonl": _lines(), "f/readme.md": b""})
    (tmp_path / "d" / "notes").symlink_to(tmp_path / "f")
    assert len(list(records(str(tmp_path / "d"), "dataset.path"))) == 3
    (tmp_path / "d" / "more").symlink_to(tmp_path / "e")
    with pytest.raises(InputError, match="more is a link to the folder .*/e"):
        list(records(str(tmp_path / "d"), "dataset.path"))
    (tmp_path / "linked").symlink_to(tmp_path / "e")  # named itself, it is that folder
    assert len(list(records(str(tmp_path / "linked"), "dataset.path"))) == 3


def test_a_folder_of_a_snapshot_of_the_hub_may_be_named(tmp_path):
    snapshot = _put(tmp_path, {"datasets--a--b/blobs/0": _lines()}) / "datasets--a--b" / "snapshots" / "1" / "data"
    snapshot.mkdir(parents=True)
    (snapshot / "a.jsonl").symlink_to("../../../blobs/0")
    cache = tmp_path / "datasets--a--b"
    paths_of_it = [snapshot, snapshot.parent, f"{snapshot}/*.jsonl", cache / "snapshots", cache]
    paths_of_it += [f"{cache}/snapshots/*/data/*.jsonl", f"{cache}/snapshots/*", f"{cache}/snap*/**/*.jsonl"]
    (tmp_path / "current").symlink_to(snapshot.parent)  # a name for the newest one
    paths_of_it += [tmp_path / "current", f"{tmp_path}/current/*/*.jsonl", f"{tmp_path}/datasets--*/*/*/data/*"]
    for path in paths_of_it:
        assert len(list(records(str(path), "dataset.path"))) == 3
    (snapshot / "a.jsonl").unlink()
    (snapshot / "a.jsonl").symlink_to(_put(tmp_path, {"elsewhere.jsonl": _lines()}) / "elsewhere.jsonl")
    for path in paths_of_it[:-1]:  # the last one means files below a folder that holds both
        with pytest.raises(InputError, match=r"a.jsonl is a link out of .*elsewhere.jsonl"):
            list(records(str(path), "dataset.path"))


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.csv.gz", "v1.0", "e/gone", "loop.jsonl"])
def test_a_link_to_what_is_not_there_is_told(tmp_path, name):
    folder = _put(tmp_path / "d", {"a.jsonl": _lines(), "e/b.jsonl": _lines(), ".hidden/a.jsonl": b""})
    for link, target in {name: "loop.jsonl" if name == "loop.jsonl" else "nowhere", ".#lock": "user@host"}.items():
        (folder / link).symlink_to(target)
    said = rf"{name} is a link to \S+, which is not there; bring that back, or delete the link"
    for path in (folder, f"{folder}/**", f"{tmp_path}/*", folder / name, f"{folder}/{name[:-1]}?"):
        with pytest.raises(InputError, match=said):
            list(records(str(path), "dataset.path"))
    for path in (f"{folder}/{name}/*.jsonl", f"{folder}/{name[:-1]}*/*.jsonl"):  # on the way
        with pytest.raises(InputError, match=said):
            list(records(path, "dataset.path"))
    (folder / name).unlink()
    assert len(list(records(str(folder), "dataset.path"))) == 6


def test_bad_rows_of_one_reason_are_one_line(tmp_path):
    rows = [ROWS[0] | {"x_response_id": value} for value in (2, "yes", 1, [3], *range(10, 40))]
    path = _put(tmp_path, {"a.jsonl": _lines([*rows, {"prompt": "p", "response_0": "a"}])}) / "a.jsonl"
    with pytest.raises(InputError) as caught:
        _load(path)
    count, first, second, _ = str(caught.value).splitlines()
    assert "34 of 35 rows are bad" in count
    assert "a.jsonl:1: 'x_response_id' must be 0, 1 or null, not 2 (int) (33 such rows, also " in first
    assert "a.jsonl:2, " in first and "a.jsonl:35: field 'response_1' is missing" in second


def test_folders_whose_rows_have_another_form_are_named_instead_of_a_higher_share(tmp_path):
    _put(tmp_path, {"preference/a.jsonl": _lines([{"strength": 2}] * 3), "pairs/a.jsonl": _lines()})
    with pytest.raises(InputError, match=r"no row of \S+/preference has the format .* \S+/pairs have it") as caught:
        source("jsonl", path=str(tmp_path), max_bad_share=0.1, on_bad_row="quarantine").load(("x",), 0)
    assert "raise it" not in str(caught.value)
    allowed = source("jsonl", path=str(tmp_path), max_bad_share=0.6, on_bad_row="quarantine").load(("x",), 0)
    assert len(allowed.quarantine) == 3


@pytest.mark.parametrize("root", ["/", "/data", "/mnt/data", "/data/datasets--a--b/snapshots/c"])
def test_files_may_lie_right_below_the_root_of_the_disk(root):
    paths._refuse_links_out(paths.MatchedFiles(root=Path(root), files=()), "dataset.path")


def test_a_user_without_a_home_is_no_traceback(tmp_path):
    assert paths.match_files("~no-such-user/a.jsonl").files == ()


def test_lists_of_messages_in_cells_are_lists(tmp_path):
    path = tmp_path / "pairs.csv"
    turns = [json.dumps([{"role": role, "content": text}]) for role, text in (("user", "hi"), ("assistant", "good"))]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], [*turns, turns[1].replace("good", "[1]")]])
    (record,) = records(str(path), "dataset.path")
    (row,) = messages.rows(record.fields, {"help": "help"})
    assert (row.prompt, row.responses) == ("hi", ("good", "[1]"))


def test_ids_in_cells_keep_their_digits_and_ratings_become_numbers():
    fields = {
        name: cell(text) for name, text in {"id": "007", "long": "0.1234567890123456789", "rating": "4.50"}.items()
    }
    assert written(fields) == {"id": "007", "long": "0.1234567890123456789", "rating": 4.5}
