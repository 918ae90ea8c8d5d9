"""Output to a terminal without a character, to a pipe that nobody reads, and to a full disk: never a traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from mora import terminal
from mora.errors import REFUSED, correctable, visible


@pytest.fixture
def stdout(monkeypatch):
    def of(handle, encoding):
        stream = io.TextIOWrapper(os.fdopen(handle, "wb"), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return of


def test_a_character_that_a_terminal_lacks_is_escaped(stdout):
    read, write = os.pipe()
    stdout(write, "ascii")
    terminal.opened()
    print("é – \u2028")
    assert terminal.closed(0) == 0
    sys.stdout.close()
    with os.fdopen(read, "rb") as got:
        assert got.read() == rb"\xe9 \u2013 \u2028" + b"\n"


def test_a_reader_that_went_away_is_no_failure(stdout):
    read, write = os.pipe()
    stream = stdout(write, "utf-8")
    print("to nobody")
    os.close(read)
    assert terminal.closed(0) == 0
    stream.flush()  # as the interpreter does at its end
    assert "gone away" in str(correctable(BrokenPipeError(32, "Broken pipe")))


def test_what_cannot_be_written_is_said(stdout, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is full")
    stdout(os.open("/dev/full", os.O_WRONLY), "utf-8")
    print("to a full disk")
    assert terminal.closed(0) == REFUSED
    assert "No space left" in capsys.readouterr().err


def test_a_command_without_any_output_ends_well():
    command = f"exec {sys.executable} -m mora.report --help >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_separators_of_lines_are_shown():
    assert visible("a\u2028b\u2029c") == "a␤b␤c"
