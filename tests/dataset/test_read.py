from __future__ import annotations

import csv
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest

from mora.dataset.cells import typed
from mora.dataset.paths import files
from mora.dataset.read import records
from mora.errors import InputError

ROWS = [
    {"prompt": "What is it?", "response_0": 'A line\nand "another"', "response_1": "né\u2028", "better_response_id": 0},
    {"prompt": "What is it?", "response_0": "A", "response_1": "B", "better_response_id": None},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def _fields(path, key="dataset.path"):
    return [_typed(record.fields) for record in records(str(path), key)]


def _typed(fields):
    return None if fields is None else {name: typed(value) for name, value in fields.items()}


def _written(folder, name):
    path = folder / name
    if name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ROWS[0])
            writer.writeheader()
            writer.writerows(ROWS)
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(LINES, mtime=0))
    elif name.endswith(".xz"):
        path.write_bytes(lzma.compress(LINES))
    elif name.startswith("list."):
        path.write_text(json.dumps(ROWS, indent=1))
    elif name == "crlf.jsonl":
        path.write_bytes(b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n") + b"\r\n")
    else:
        path.write_bytes(LINES)
    return path


NAMES = [
    "list.jsonl",
    "a.jsonl",
    "a.jsonl.gz",
    "a.jsonl.xz",
    "lines.json",
    "list.json",
    "a.csv",
    "a.parquet",
    "crlf.jsonl",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_form_gives_the_same_records(tmp_path, name):
    # crlf.jsonl has a byte-order mark and Windows' line ends; a line separator (U+2028) within a text is no line end.
    assert _fields(_written(tmp_path, name)) == ROWS


def test_folder_and_glob_are_read_in_order_of_name(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz"):
        _written(tmp_path, name)
    (tmp_path / "README.md").write_text("no data")
    assert [file.name for file in files(str(tmp_path), "dataset.path")] == ["a.jsonl.gz", "b.jsonl"]
    assert [file.name for file in files(str(tmp_path / "*.jsonl*"), "dataset.path")] == ["a.jsonl.gz", "b.jsonl"]
    assert _fields(tmp_path) == ROWS * 2


def test_a_record_knows_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.replace(b"\n", b"\n\n"))  # blank lines count as lines, but are no records
    assert [record.where for record in records(str(path), "dataset.path")] == [f"{path}:1", f"{path}:3"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"prompt": "a"', "broken JSON: .* at column"),
        (b'{"prompt": "a\xff"}', "byte 14 of the line is no UTF-8"),
        (b"[1, 2]", "must be a JSON object, not list"),
    ],
)
def test_an_unreadable_line_comes_with_its_problem(tmp_path, line, problem):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + line + b"\n" + LINES)
    read = list(records(str(path), "dataset.path"))
    assert [record.fields for record in read] == [*ROWS, None, *ROWS]
    assert read[2].where == f"{path}:3"
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(read[2].problem)


def test_a_csv_row_with_a_field_too_many_or_too_few_comes_with_its_problem(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,better_response_id\na,1\nb\nc,0,1\nd,\n")
    read = list(records(str(path), "dataset.path"))
    assert [_typed(record.fields) for record in read] == [
        {"prompt": "a", "better_response_id": 1},
        None,
        None,
        {"prompt": "d", "better_response_id": None},
    ]
    assert read[1].where == f"{path}:3" and "2 fields" in read[1].problem


PLACES = {  # a table, and the lines on which its rows begin
    "one line each": ("prompt,x\na,1\nb,2\n", [2, 3]),
    "blank lines before": ("\n \n\nprompt,x\na,1\n\n\nb,2\n", [5, 8]),
    "blank lines before, of Windows": ("\r\n\r\nprompt,x\r\na,1\r\n\r\nb,2\r\n", [4, 6]),
    "several lines": ('prompt,x\n"a\n\na",1\n"b\nb",2\nc,3\n', [2, 5, 7]),
    "names of several lines": ('\n"prompt\nof it",x\na,1\nb\n', [4, 5]),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_row_of_a_table_knows_the_line_on_which_it_begins(tmp_path, name):
    content, lines = PLACES[name]
    for ending, delimiter in ((".csv", ","), (".tsv", "\t")):
        path = tmp_path / f"a{ending}"
        path.write_bytes(content.replace(",", delimiter).encode())
        assert [record.where for record in records(str(path), "dataset.path")] == [f"{path}:{n}" for n in lines]


TABBED = {  # a table of tabs, whatever else its line of names holds, and what its row says
    "commas in a name": ("prompt\ta, b, c and d\np\t1\n", {"prompt": "p", "a, b, c and d": 1}),
    "semicolons in a name": ("a; b; c\tprompt\n1\tp;q\n", {"a; b; c": 1, "prompt": "p;q"}),
    "one column": ("prompt, in short\np, q\n", {"prompt, in short": "p, q"}),
}


@pytest.mark.parametrize("name", TABBED)
def test_a_tsv_file_is_separated_by_tabs(tmp_path, name):
    content, fields = TABBED[name]
    (tmp_path / "a.tsv").write_text(content)
    (tmp_path / "a.TSV.gz").write_bytes(gzip.compress(content.encode(), mtime=0))
    assert _fields(tmp_path / "a.tsv") == _fields(tmp_path / "a.TSV.gz") == [fields]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "empty, no record"),
        ("a.jsonl", b"\n  \n", "empty, no record"),
        ("a.jsonl", "a".encode("utf-16"), "UTF-16; write it as UTF-8"),
        ("a.json", b"", "empty, no record"),
        ("a.json", b"\xef\xbb\xbf \n" + b" " * 99, "empty, no record"),
        ("a.json.gz", gzip.compress(b"\n", mtime=0), "empty, no record"),
        ("a.json", b"[]", "empty, no record"),
        ("a.json", b'[{"prompt": "a"},\n', r"a.json:2: broken JSON"),
        ("a.json", b'["\xff"]', "byte 3 is no UTF-8"),
        ("a.csv", b"prompt\n\xff\n", "no UTF-8"),
        ("a.csv", b'prompt\n"a" b\n', "a.csv:2: broken CSV"),
        ("a.csv", b'\n\nprompt\n"a" b\n', "a.csv:4: broken CSV"),
        ("a.csv", b"\n\nprompt,prompt\na,b\n", "a.csv:3: two columns are named 'prompt'"),
        ("a.csv", b"\n \n", "empty, no record"),
        ("a.jsonl.gz", b"plain", "damaged"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12], "damaged"),
        ("a.jsonl.xz", b"plain", "damaged"),
        ("a.parquet", b"plain", "damaged"),
        ("a.txt", b"plain", "unknown format"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        _fields(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(("place", "message"), [("", "holds no file of a known format"), ("a.jsonl", "no such file")])
def test_a_missing_file_is_named_with_its_key(tmp_path, place, message):
    with pytest.raises(InputError, match=rf"dataset.test_path=.*{message}"):
        _fields(tmp_path / place, "dataset.test_path")
