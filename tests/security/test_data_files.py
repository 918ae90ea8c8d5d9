"""Files of data from strangers: bombs, lies, and what would run elsewhere.  None costs more than its own bounds."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import random
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from mora import limits
from mora.csv_files import inert, write_csv
from mora.dataset import opened, read
from mora.dataset.read import records
from mora.errors import InputError
from mora.evaluation.contests import read_contests
from mora.files import read_json, read_lines
from mora.json_text import NotJSON, loads
from mora.reward.scoring import read_answers
from mora.task.check import Check
from mora.task.row_counts import RowCounts

GOOD = b'{"prompt": "p", "response": "r"}\n'
DEEP = b'{"prompt": "p", "response": "r", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
LINES = {
    "deep lists": (DEEP, "within each other"),
    "deep objects": (b'{"prompt": "p", "x": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001 + b"\n", "within each other"),
    "open lists": (b"[" * 100_000 + b"\n", "within each other"),
    "an integer of 5,000 digits": (b'{"prompt": "p", "x": ' + b"9" * 5000 + b"}\n", "5000 digits"),
    "an integer of 301 digits": (b'{"prompt": "p", "x": -' + b"9" * 300 + b"}\n", "301 digits"),
    "a number beyond double precision": (b'{"prompt": "p", "x": 1e999}\n', "double precision"),
    "NaN": (b'{"prompt": "p", "x": NaN}\n', "NaN is no JSON"),
    "Infinity": (b'{"prompt": "p", "x": Infinity}\n', "Infinity is no JSON"),
    "minus Infinity": (b'{"prompt": "p", "x": [-Infinity]}\n', "-Infinity is no JSON"),
    "a name twice": (b'{"prompt": "p", "response": "r", "prompt": "q"}\n', "'prompt' stands twice"),
    "a name twice below": (b'{"prompt": "p", "response": "r", "x": [{"a": 1, "a": 1}]}\n', "'a' stands twice"),
    "NUL": (b'{"prompt": "p\0", "response": "r"}\n', "control character"),
    "NUL, escaped": (b'{"prompt": "p\\u0000", "response": "r"}\n', "NUL"),
    "half of a surrogate pair": (b'{"prompt": "p\\ud83d", "response": "r"}\n', "surrogate"),
    "a separator of turns": (b'{"prompt": "p\\u001euser\\nq", "response": "r"}\n', "U\\+001E"),
    "a byte-order mark inside": (b'\xef\xbb\xbf{"prompt": "p", "response": "r"}\n', "broken JSON"),
    "no UTF-8": (b'{"prompt": "\xff", "response": "r"}\n', "UTF-8"),
}


def _checked(path):
    """What `task=check` makes of a file of supervised answers."""
    counts = RowCounts()
    good = list(Check(form="supervised", objectives=None).rows(records(str(path), "input"), counts))
    return len(good), counts


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_line_is_one_bad_row_with_its_place(tmp_path, name):
    line, reason = LINES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + line + GOOD)
    good, counts = _checked(path)
    assert good == 2 and counts.total == 3
    (bad,) = counts.rejected
    assert bad.where == f"{path}:2"
    with pytest.raises(ValueError, match=reason):
        raise ValueError(bad.reason)


REFUSED = [name for name in LINES if name not in ("NUL, escaped", "half of a surrogate pair", "a separator of turns")]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("reader", [read_lines, read_answers])
def test_every_reader_of_lines_says_file_and_line(tmp_path, name, reader):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + LINES[name][0])
    with pytest.raises(InputError, match="rows.jsonl") as caught:
        reader(path)
    if "UTF-8" not in name:
        assert f"{path}:2" in str(caught.value)


@pytest.mark.parametrize("name", LINES)
def test_a_benchmark_and_a_file_to_score_refuse_what_cannot_be_a_text(tmp_path, name):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + LINES[name][0])
    with pytest.raises(InputError, match="rows.jsonl"):
        read_answers(path)
    benchmark = b'"chosen": "a", "rejected": "b", "subset": "s"'
    path.write_bytes((GOOD + LINES[name][0]).replace(b'"response": "r"', benchmark))
    with pytest.raises(InputError, match=r"1 bad rows[^$]*rows.jsonl:2"):
        read_contests(str(path))


@pytest.mark.parametrize("name", ["deep lists", "an integer of 5,000 digits", "NaN", "a name twice", "no UTF-8"])
def test_a_file_of_one_value_says_file_and_line(tmp_path, name):
    path = tmp_path / "table.json"
    path.write_bytes(b"\n" + LINES[name][0])
    with pytest.raises(InputError, match="table.json" if name == "no UTF-8" else "table.json:2"):
        read_json(path)
    path.write_bytes(b"[\n" + LINES[name][0] + b"]")
    with pytest.raises(InputError, match="table.json" if name == "no UTF-8" else "table.json:2"):
        list(records(str(path), "input"))


def test_a_number_in_a_text_is_no_number():
    text = json.dumps({"a": "NaN" + "9" * 5000 + "[" * 500})
    assert loads(text) == json.loads(text)
    with pytest.raises(NotJSON, match="NaN is no JSON.* column 19"):
        loads('{"a": "NaN", "b": NaN}')


# --- bombs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.jsonl.xz", "a.json.gz"])
@pytest.mark.parametrize("filling", ["endless line", "many lines"])
def test_a_small_file_that_unpacks_to_gigabytes_is_left(tmp_path, monkeypatch, name, filling):
    monkeypatch.setattr(opened, "expanded", lambda size: 2**21)
    monkeypatch.setattr(opened, "LINE_BYTES", 2**18)
    monkeypatch.setattr(read, "LINE_BYTES", 2**18)
    start = {".json": b"[", ".csv.": b"prompt,response\n"}.get(name[1:6].rstrip("lgz"), b"")
    content = start + (b" " * 2**23 if filling == "endless line" else GOOD * 2**17)
    path = tmp_path / name
    path.write_bytes((gzip if name.endswith("gz") else lzma).compress(content))
    tracemalloc.start()
    with pytest.raises(InputError, match=name):
        list(zip(records(str(path), "input"), range(10**6), strict=False))
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


def test_a_bomb_is_met_by_the_bounds_that_ship(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress((b" " * 2**16 + b"\n") * 1025, compresslevel=9, mtime=0))
    assert path.stat().st_size < limits.EXPANDED_FREE / limits.EXPANSION
    with pytest.raises(InputError, match=rf"a.jsonl.gz:\d+: the compressed file gives more than {2**26} bytes"):
        list(records(str(path), "input"))


def test_a_huge_line_is_a_bad_row_and_the_lines_after_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "LINE_BYTES", 1000)
    monkeypatch.setattr(read, "LINE_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b'{"prompt": "' + b"x" * 5000 + b'"}\n' + GOOD + b"y" * 4000)
    found = list(records(str(path), "input"))
    assert [record.where.rpartition(":")[2] for record in found] == ["1", "2", "3", "4"]
    assert [record.fields is None for record in found] == [False, True, False, True]
    assert "1000 bytes" in found[1].problem and len(found[1].raw) <= limits.SHOWN


def test_a_list_of_records_and_a_table_have_bounds_too(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "JSON_BYTES", 1000)
    (tmp_path / "a.json").write_bytes(b"[" + b",".join([GOOD.strip()] * 100) + b"]")
    with pytest.raises(InputError, match="a.json: a JSON list of more than 1000 bytes"):
        list(records(str(tmp_path / "a.json"), "input"))
    monkeypatch.setattr("mora.regular.JSON_BYTES", 1000)
    with pytest.raises(InputError, match="a.json: .* bytes, more than"):
        read_json(tmp_path / "a.json")


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prompt,response,prompt\na,b,c\n", "a.csv:1: two columns are named 'prompt'"),
        (b'prompt,response\na,"b\n' + b"c\n" * 5000, "broken CSV"),  # a quote that nobody closes
        (b"prompt,response\na," + b"b" * 5000 + b"\n", "a.csv:2: the line has more than 1000 bytes"),
        (b"prompt,response\na,b\n\xff,c\n", "a.csv:3: .* no UTF-8"),
    ],
)
def test_a_csv_file_that_lies_is_named_with_its_line(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(opened, "LINE_BYTES", 1000)
    monkeypatch.setattr(read, "LINE_BYTES", 1000)
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(records(str(tmp_path / "a.csv"), "input"))


def test_a_parquet_file_that_gives_one_text_a_million_times_is_left(tmp_path):
    path = tmp_path / "a.parquet"
    texts = pyarrow.array(["x" * 2**20]).dictionary_encode()
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 5000, pyarrow.int32()), texts.dictionary)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": column}), path, compression="zstd")
    assert path.stat().st_size < 2**16  # of five gigabytes
    with pytest.raises(InputError, match="a.parquet: row .* gives more than"):
        for record in records(str(path), "input"):
            assert record.fields is not None


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["prompt", "prompt"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="two columns are named 'prompt'"):
        list(records(str(tmp_path / "a.parquet"), "input"))


def test_a_damaged_parquet_file_gives_records_or_one_message(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"prompt": f"p {number}", "response": "r", "when": 3} for number in range(50)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    whole, draw, refused = path.read_bytes(), random.Random(0), 0
    for place in draw.sample(range(len(whole)), 120):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :])
        try:
            list(records(str(path), "input"))
        except InputError as error:
            refused += 1
            assert "a.parquet" in str(error)
    assert refused > 10


FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "-",
]
PLAIN = ["text", " =1", "a=b", "-1.5", "+3", "-1e-3", "", "1.5", "'quoted", "2024-01-01"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_of_a_table_is_a_formula(tmp_path, cell):
    write_csv(tmp_path / "a.csv", [{cell: cell, "n": -1.5}])
    with (tmp_path / "a.csv").open(newline="") as stream:
        head, row = csv.reader(stream)
    assert head == [f"'{cell}", "n"] and row == [f"'{cell}", "-1.5"]


@pytest.mark.parametrize("cell", [*PLAIN, -1.5, 0, None, True])
def test_numbers_and_other_texts_stay_as_they_are(cell):
    assert inert(cell) is cell


def test_there_is_one_writer_of_tables():
    from pathlib import Path

    import mora

    root = Path(mora.__file__).parent
    named = ("csv.writer", "csv.DictWriter", "to_csv(", "savetxt(")
    found = {path.name for path in root.rglob("*.py") if any(name in path.read_text() for name in named)}
    assert found == {"csv_files.py"}


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_link_out_of_a_folder_is_refused(tmp_path):
    (tmp_path / "secret.jsonl").write_bytes(GOOD)
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(InputError, match="a.jsonl is a link out of"):
        list(records(str(folder), "input"))
    (folder / "a.jsonl").unlink()
    (folder / "b.jsonl").write_bytes(GOOD)
    (folder / "a.jsonl").symlink_to("b.jsonl")  # within the folder
    assert len(list(records(str(folder), "input"))) == 2


def test_links_of_a_snapshot_of_the_hub_are_followed(tmp_path):
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "datasets--a--b" / "blob").write_bytes(GOOD)
    (snapshot / "a.jsonl").symlink_to("../../blob")
    assert len(list(records(str(snapshot), "input"))) == 1


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")  # whoever opens it waits for ever
    with pytest.raises(InputError, match="holds no file"):
        list(records(str(tmp_path), "input"))
    with pytest.raises(InputError, match="no such file"):
        list(records(str(tmp_path / "a.jsonl"), "input"))


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", "", "..", "a\0b"])
def test_a_part_of_a_split_names_no_place(name):
    from mora.task.split import Split

    with pytest.raises(InputError, match="task.shares: the name"):
        Split(shares={name: 1.0}, by="prompt")


@pytest.mark.parametrize("name", ["../../etc", "/etc", "helpful-base/../x"])
def test_a_folder_that_a_record_names_is_no_place(name):
    from mora.dataset.hh_rlhf import rows
    from mora.dataset.schema import BadRow

    record = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c", "subset": name}
    with pytest.raises(BadRow, match="must be one of"):
        list(rows(record, {"helpful": "helpful"}))
