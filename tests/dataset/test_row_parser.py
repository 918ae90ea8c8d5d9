from __future__ import annotations

import json

import pytest

from mora.dataset.bad_rows import listed
from mora.dataset.read import Record
from mora.dataset.record_parser import quarantine_lines
from mora.dataset.row_parser import RowParser
from mora.dataset.schema import BadRow
from mora.errors import InputError
from mora.types import Row


def _records(*fields):
    return [Record(where=f"f:{n}", fields=one, raw=one, problem="torn") for n, one in enumerate(fields, start=1)]


def _read(fields):
    if fields["n"] < 0:
        raise BadRow("out_of_range", "n is negative")
    return [Row(prompt=f"{fields['n']}.{k}") for k in range(fields["n"])]


def test_every_record_is_used_set_aside_or_without_row():
    parser = RowParser("quarantine", 0.5)
    rows = list(parser.rows(_records({"n": 2}, {"n": -1}, {"n": 0}, None, {"n": 1}), _read))
    assert [(row.prompt, row.where) for row in rows] == [("2.0", "f:1"), ("2.1", "f:1"), ("1.0", "f:5")]
    assert parser.summary() == {
        "read": 5,
        "used": 3,
        "without_row": 1,
        "set_aside": 2,
        "reasons": {"broken_record": 1, "out_of_range": 1},
    }
    assert [(bad.where, bad.kind, bad.reason) for bad in parser.rejected] == [
        ("f:2", "out_of_range", "n is negative"),
        ("f:4", "broken_record", "torn"),
    ]


def test_what_a_function_of_the_user_raises_is_a_reason_and_what_ours_raises_is_a_defect():
    parser = RowParser("quarantine", 0.5)
    assert len(list(parser.rows(_records({"n": 1}, {"m": 1}), _read, custom=True))) == 1
    assert parser.rejected[0].kind == "reader_failed" and parser.rejected[0].reason == "KeyError: 'n'"
    with pytest.raises(KeyError):
        list(parser.rows(_records({"m": 1}), _read))


@pytest.mark.parametrize(("share", "refused"), [(0.2, True), (0.25, False)])
def test_a_share_above_the_ceiling_is_refused(share, refused):
    parser = RowParser("quarantine", share)
    list(parser.rows(_records({"n": 1}, {"n": 1}, {"n": -1}, {"n": 1}), _read))
    if refused:
        with pytest.raises(InputError, match=r"25.0%, more than dataset.max_bad_share=0.2 allows"):
            parser.close()
    else:
        assert parser.close() == ["1 of 4 rows are bad and were set aside:\n  f:3: n is negative"]


def test_the_quarantine_file_holds_what_cannot_be_written_otherwise():
    parser = RowParser("quarantine", 1.0)
    list(parser.rows(_records({"n": -1, "text": "half \ud83d", "bytes": b"x"}), _read))
    (line,) = quarantine_lines(parser.rejected).splitlines()
    assert json.loads(line.encode("ascii")) == {
        "where": "f:1",
        "kind": "out_of_range",
        "reason": "n is negative",
        "raw": {"n": -1, "text": "half \ud83d", "bytes": "b'x'"},
    }


REASONS = {  # reasons, and how many sorts of them there are
    "columns by number": (["field 'response_0' is missing", "field 'response_1' is missing"], 2),
    "columns without quotes": (["ended_0 says whether the answer ended", "ended_1 says whether the answer ended"], 2),
    "columns that are numbers": (["'1' is empty", "'2' is empty", "'a 3' is empty", "'a 4' is empty"], 4),
    "columns with an apostrophe": (['"it\'s 1" is empty', '"it\'s 2" is empty'], 2),
    "places in a column": (["'messages[1].content' is empty", "'messages[22].content' is empty"], 1),
    "places": (["messages[1]: the role 'x' is none of a, b", "messages[2]: the role 'x' is none of a, b"], 1),
    "values": (["'c' must be 0, 1 or null, not 3 (int)", "'c' must be 0, 1 or null, not 'c_1' (str)"], 1),
    "numbers": (["byte 3 of the line is no UTF-8", "byte 14 of the line is no UTF-8"], 1),
    "broken JSON": (
        ["broken JSON: Expecting ',' delimiter at column 3", "broken JSON: Expecting ',' delimiter at column 4"],
        1,
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons_differ_by_columns_and_not_by_what_one_row_holds(name):
    reasons, sorts = REASONS[name]
    lines = listed((f"f:{number}", reason) for number, reason in enumerate(reasons))
    assert len(lines) == sorts and lines[0].startswith(f"  f:0: {reasons[0]}")
