from __future__ import annotations

from mora.runtime import console
from mora.runtime.console import Progress, say


def test_without_a_terminal_there_is_a_line_every_ten_seconds(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    progress = Progress("sft", done=10, total=40, visible=True)
    for _ in range(30):
        clock[0] += 4.0
        progress.advance()
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    # a step takes 4 s: lines after 12, 24, ... 120 s, which is after every third step; 0.25 steps/s
    assert lines[0] == "mora: sft: step 13/40, 0.25 steps/s, 108 s left"
    assert len(lines) == 10 and lines[-1] == "mora: sft: step 40/40, 0.25 steps/s, 0 s left"


def test_other_ranks_are_silent(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    say("nothing")
    Progress("sft", done=0, total=1, visible=False).advance()
    assert capsys.readouterr().err == ""


def test_what_a_terminal_would_obey_is_shown(capsys):
    say("a folder called \x1b[2Jgone\x9b31m, a\ttab")
    assert capsys.readouterr().err == "mora: a folder called \u241b[2Jgone\ufffd31m, a\ttab\n"
