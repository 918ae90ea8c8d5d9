from __future__ import annotations

from pathlib import Path

import pytest

from mora.dataset.read import records
from mora.dataset.write import SUFFIXES, suffix, writing
from mora.errors import InputError

ROWS = [{"prompt": "ü\n", "n": 1, "r": [1.5, 2]}, {"prompt": "q", "m": [{"role": "user", "content": "c"}]}]


@pytest.mark.parametrize("end", SUFFIXES)
def test_what_is_written_is_read_again_and_equal_rows_give_equal_bytes(tmp_path, end):
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}{end}"
        with writing(path, "output") as write:
            for row in ROWS:
                write(row)
            assert not path.exists()
        written.append(path.read_bytes())
        found = [dict(record.fields) for record in records(str(path), "input")]
        assert [{k: v for k, v in row.items() if v is not None} for row in found] == ROWS
    assert written[0] == written[1]
    assert {path.name for path in tmp_path.iterdir()} == {f"a{end}", f"b{end}"}


@pytest.mark.parametrize("end", SUFFIXES)
def test_a_failure_leaves_nothing(tmp_path, end):
    with pytest.raises(RuntimeError), writing(tmp_path / f"a{end}", "output") as write:
        write(ROWS[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_parquet_refuses_a_column_of_several_kinds(tmp_path):
    with pytest.raises(InputError, match=r"the values of 'k' are of different kinds.*write a .jsonl file"):
        with writing(tmp_path / "a.parquet", "output") as write:
            write({"k": 1})
            write({"k": [1, 2]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.json", "a", ".jsonl", "a.csv", "a.jsonl.bz2"])
def test_a_suffix_that_says_nothing_is_refused(name):
    with pytest.raises(InputError, match=r"output=.*let the name end in .jsonl or .jsonl.gz"):
        suffix(Path(name), "output")


def test_half_of_a_surrogate_pair_and_a_date_do_not_stop_a_file(tmp_path):
    import datetime

    with writing(tmp_path / "a.jsonl", "output") as write:
        write({"t": "\ud83d", "d": datetime.date(2024, 1, 2)})
    (record,) = records(str(tmp_path / "a.jsonl"), "input")
    assert record.fields == {"t": "\ud83d", "d": "2024-01-02"}
