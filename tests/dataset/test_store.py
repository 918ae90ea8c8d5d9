from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.dataset import columns, row_writer, store
from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows, take, texts_digest
from mora.errors import InputError
from mora.files import remove_temporary
from mora.types import Row

OBJECTIVES = ("kind", "safe/2")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.floats(allow_nan=False)
RATINGS = st.lists(st.lists(NUMBER, max_size=3).map(tuple), max_size=2).map(tuple)
ROWS = st.builds(
    Row,
    prompt=TEXT,
    responses=st.lists(TEXT, max_size=2).map(tuple),
    labels=st.dictionaries(st.sampled_from(OBJECTIVES), st.none() | NUMBER),
    ratings=st.dictionaries(st.sampled_from(OBJECTIVES), RATINGS),
    strengths=st.dictionaries(st.sampled_from(OBJECTIVES), NUMBER),
    where=TEXT,
)


def _rows(count: int) -> list[Row]:
    """Rows of every kind in turn."""
    return [
        Row(
            prompt=f"question {i // 2}",
            responses=("", f"answer {i}\n", f"other \u00e9 {i}")[1 : 1 + i % 3],
            labels={"kind": None if i % 4 == 0 else i / 7, **({"safe/2": 1.0} if i % 5 else {})},
            ratings={"kind": ((0.1 + i, 1 / 3), ())} if i % 3 == 2 else {},
            strengths={"safe/2": i / 9} if i % 2 else {},
            where=f"file.jsonl:{i + 1}",
        )
        for i in range(count)
    ]


def _written(folder: Path, rows: list[Row], **more: int) -> StoredRows:
    with RowWriter(folder, OBJECTIVES, **more) as writer:
        for row in rows:
            writer.add(row)
    return StoredRows.open(folder)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, max_size=6))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    stored = _written(tmp_path_factory.mktemp("rows") / "rows", rows)
    assert list(stored) == rows and [stored[i] for i in range(len(rows))] == rows
    for name in ("labels", "ratings", "strengths"):
        assert [repr(getattr(a, name)) for a in stored] == [
            repr({o: getattr(b, name)[o] for o in OBJECTIVES if o in getattr(b, name)}) for b in rows
        ]  # to the bit, a null label told from none


@pytest.mark.parametrize("shard_bytes", [1, 2**30])
def test_shards_batches_slices_and_choices(tmp_path, monkeypatch, shard_bytes):
    for module in (row_writer, store):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    rows = _rows(23)
    stored = _written(tmp_path / "rows", rows, shard_bytes=shard_bytes)
    assert len(list((tmp_path / "rows").glob("*.arrow"))) == (6 if shard_bytes == 1 else 1)
    assert len(stored) == 23 and stored.objectives == OBJECTIVES and stored.folder == tmp_path / "rows"
    assert stored[-1] == rows[-1] and stored[np.int64(7)] == rows[7]
    assert [len(some) for some in stored.batches(10)] == [10, 10, 3]
    for part in (
        slice(3, 11),
        slice(None, None, 3),
        slice(20, 2, -2),
        slice(5, 5),
        slice(-4, None),
        slice(None, 0, -1),
    ):
        assert list(stored[part]) == rows[part]
        assert stored[part].row_ids.tolist() == [row.id for row in rows[part]]
    chosen = [7, 7, 2, 22, 3, 4, 5, 0, -1]
    view = stored.select(chosen)
    assert list(view) == [rows[i] for i in chosen] == take(rows, chosen) and view[3] == rows[22]
    assert list(view[2:6]) == [rows[i] for i in chosen[2:6]] and list(view.select([1, 0])) == [rows[7]] * 2
    assert list(stored[2:20:3].select([0, 2, -1])) == [rows[2], rows[8], rows[17]]
    assert list(take(stored, np.array([4]))) == [rows[4]]
    for outside in (23, -24):
        with pytest.raises(IndexError):
            stored[outside]
        with pytest.raises(IndexError, match="an index lies outside of 23 rows"):
            stored.select([outside])


def test_numbers_beside_the_texts_are_read_without_them(tmp_path, monkeypatch):
    rows = _rows(9)
    stored = _written(tmp_path / "rows", rows)
    monkeypatch.setattr(store, "rows_of", None)
    assert isinstance(stored.row_ids, np.memmap) and isinstance(stored.prompt_ids[2:5], np.memmap)
    assert stored.row_ids.tolist() == [row.id for row in rows] and stored.row_ids.dtype == np.int64
    assert stored.prompt_ids.tolist() == [row.prompt_id for row in rows]
    assert stored.response_counts.tolist() == [len(row.responses) for row in rows]
    assert stored.response_counts.dtype == np.int8
    assert stored.select([5, 1]).response_counts.tolist() == [2, 1]


def test_digests_are_those_of_what_rows_say_and_of_their_order(tmp_path):
    rows = _rows(8)
    stored = _written(tmp_path / "a", rows)
    assert stored.texts == texts_digest(rows) == stored[:].texts == texts_digest(stored)
    elsewhere = [Row(**{**vars(row), "where": "other"}) for row in rows]
    again = _written(tmp_path / "b", elsewhere)
    assert (again.texts, again.content) == (stored.texts, stored.content)
    relabelled = _written(tmp_path / "c", [Row(**{**vars(rows[0]), "labels": {"kind": 1.0}}), *rows[1:]])
    assert relabelled.texts == stored.texts and relabelled.content != stored.content
    others = [
        _written(tmp_path / "d", rows[::-1]),
        stored[1:],
        stored[::2],
        stored.select([1, 2]),
        stored.select([2, 1]),
    ]
    assert len({stored.texts, *(other.texts for other in others)}) == 6
    assert stored.select([1, 2]).texts == StoredRows.open(tmp_path / "a").select([1, 2]).texts


def test_a_row_of_another_objective_and_an_error_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="file.jsonl:1: objectives that the rows do not have: {'kind'}"):
        with RowWriter(tmp_path / "rows", ("other",)) as writer:
            writer.add(_rows(1)[0])
    assert not any(tmp_path.iterdir())


def test_no_row_at_all_is_a_folder_of_none(tmp_path):
    stored = _written(tmp_path / "rows", [])
    assert len(stored) == 0 and list(stored) == [] and stored.row_ids.tolist() == []


KILLED = """
import sys, time
from mora.dataset.row_writer import RowWriter
from mora.types import Row
with RowWriter(sys.argv[1], ("kind",), shard_bytes=1) as writer:
    for i in range(5000):
        writer.add(Row(prompt=f"question {i}", responses=("yes",)))
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_that_looks_complete(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "rows")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "rows").exists() and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="rows.json does not exist"):
        StoredRows.open(tmp_path / "rows")
    assert len(remove_temporary(tmp_path)) == 1 and not any(tmp_path.iterdir())
    assert list(_written(tmp_path / "rows", _rows(3))) == _rows(3)


def test_another_schema_and_damage_are_told(tmp_path):
    _written(tmp_path / "rows", _rows(5))
    card = tmp_path / "rows" / store.CARD
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"schema": 7}))
    with pytest.raises(InputError, match=r"rows.json: of schema 7, and this version reads 2; delete the folder"):
        StoredRows.open(tmp_path / "rows")
    card.write_text(json.dumps(content))
    for name in ("row_ids.bin", "rows-00000.arrow"):
        path = tmp_path / "rows" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(InputError, match=f"{name}: .*damaged.*delete the folder"):
            StoredRows.open(tmp_path / "rows")
        path.write_bytes(whole)
    assert len(StoredRows.open(tmp_path / "rows")) == 5


def test_another_process_gets_the_name_of_the_folder_and_not_the_rows(tmp_path):
    rows = _rows(2000)
    stored = _written(tmp_path / "rows", rows)
    for view, expected in (
        (stored, rows),
        (stored[10:1000:7], rows[10:1000:7]),
        (stored.select([3, 1]), [rows[3], rows[1]]),
    ):
        content = pickle.dumps(view)
        assert len(content) < 500 and list(pickle.loads(content)) == expected


MEASURED = """
import sys, random
from mora.dataset.store import StoredRows
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
rows = StoredRows.open(sys.argv[1])
list(rows[:2000]), [rows[i] for i in range(0, len(rows), len(rows) // 1000)]
before = anonymous()
for row in rows:
    pass
generator = random.Random(0)
for _ in range(20000):
    rows[generator.randrange(len(rows))]
int(rows.row_ids.sum()), int(rows.prompt_ids.sum())
print(anonymous() - before, sum(path.stat().st_size for path in rows.folder.iterdir()) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_process_that_reads_holds_no_rows(tmp_path):
    with RowWriter(tmp_path / "rows", ("kind",), shard_bytes=2**23) as writer:
        for i in range(40_000):
            writer.add(Row(prompt=f"{i} " * 100, responses=("yes " * 40, "no " * 40), labels={"kind": 1.0}))
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path / "rows")], capture_output=True, text=True)
    grown, size = map(int, done.stdout.split())
    assert size > 30_000 and grown < 4_000, (grown, size, done.stderr)  # kB


def test_a_column_of_another_length_is_damage(tmp_path):
    np.arange(6, dtype="<i4").tofile(tmp_path / "numbers")
    assert columns.mapped(tmp_path / "numbers", "<i4", 2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(InputError, match="damaged, 24 bytes for 7 entries"):
        columns.mapped(tmp_path / "numbers", "<i4", 7)
    with pytest.raises(InputError, match="damaged, -1 bytes"):
        columns.mapped(tmp_path / "none", "<i4", 0)
