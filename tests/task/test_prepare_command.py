"""The command as a user calls it: files in, files out, and what it refuses."""

from __future__ import annotations

import json
import sys

import pytest

from mora.dataset.read import records
from mora.files import read_json, read_lines
from mora.prepare import prepare
from mora.settings.launch import launch

PAIR = {"prompt": "p", "response_0": "a", "response_1": "b", "kind_response_id": 1}
SCORED = [{"prompt": f"p{n % 7}", "response": f"r{n}", "kind": n % 4} for n in range(28)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words):
    return launch("prepare", prepare, list(words))


def put(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_parts_of_a_file_are_files_and_counts_are_printed(folder, capsys):
    put(folder / "rows.jsonl", [{"prompt": f"p{n}"} for n in range(200)])
    assert call("task=split", "input=rows.jsonl", "output=out/parts.parquet", "task.shares.test=0.2",
                "task.shares.train=0.7", "task.shares.valid=0.1", "summary=out/counts.json") == 0  # fmt: skip
    found = {part: list(records(f"out/parts.{part}.parquet", "")) for part in ("train", "test", "valid")}
    said = read_json(folder / "out" / "counts.json")
    assert said["rows_out"] == {part: len(rows) for part, rows in found.items()}
    assert sum(said["rows_out"].values()) == said["rows_in"] == said["used"] == 200
    printed = capsys.readouterr().out
    assert f"out/parts.test.parquet: {len(found['test'])} rows" in printed and "rows in 200 = 200 used" in printed


def test_several_inputs_are_one_file(folder):
    put(folder / "a.jsonl", SCORED[:13])
    put(folder / "b.jsonl", SCORED[13:])
    put(folder / "whole.jsonl", SCORED)
    assert call("task=ratings_to_pairs", "input=[a.jsonl,b.jsonl]", "output=two.jsonl") == 0
    assert call("task=ratings_to_pairs", "input=whole.jsonl", "output=one.jsonl") == 0
    assert (folder / "two.jsonl").read_bytes() == (folder / "one.jsonl").read_bytes()


def test_a_bad_row_stops_the_task_and_leaves_nothing_or_is_set_aside(folder, capsys):
    put(folder / "rows.jsonl", [*SCORED, "{broken\n", {"prompt": "p", "response": "r", "kind": [None]}])
    before = names(folder)
    assert call("task=ratings_to_pairs", "input=rows.jsonl", "output=out.jsonl", "task.objectives=[kind]") == 2
    said = capsys.readouterr().err
    assert "2 of 30 rows are bad" in said and "rows.jsonl:29: broken JSON" in said and "rows.jsonl:30: 'kind'" in said
    assert names(folder) == before
    assert call("task=ratings_to_pairs", "input=rows.jsonl", "output=out.jsonl", "task.objectives=[kind]",
                "on_bad_row=quarantine") == 0  # fmt: skip
    bad = read_lines(folder / "out.quarantine.jsonl")
    assert [set(row) for row in bad] == [{"row", "where", "kind", "reason"}] * 2
    assert bad[0]["row"] == "{broken" and bad[1]["row"]["kind"] == [None] and bad[1]["where"] == "rows.jsonl:30"
    assert "rows in 30 = 28 used + 2 bad" in capsys.readouterr().out


def test_check_goes_on_to_the_end_and_accounts_for_every_row(folder):
    put(folder / "rows.jsonl", [PAIR, PAIR | {"kind_response_id": 3}, "[1]\n", PAIR | {"prompt": ""}])
    assert call("task=check", "input=rows.jsonl", "output=good.jsonl", "summary=counts.json") == 0
    assert read_lines(folder / "good.jsonl") == [PAIR]
    said = read_json(folder / "counts.json")
    assert said["rows_in"] == 4 == said["used"] + len(read_lines(folder / "good.quarantine.jsonl"))
    assert sum(said["bad"].values()) == 3
    assert call("task=check", "task.form=scored", "input=rows.jsonl", "quarantine=all.jsonl") == 0
    assert len(read_lines(folder / "all.jsonl")) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=prompts", "output=rows.jsonl"], "output=rows.jsonl is an input"),
        (["task=prompts", "output=./sub/../rows.jsonl"], "is an input"),
        (["task=prompts", "output=other.jsonl", "task.exclude=other.jsonl"], "output=other.jsonl is an input"),
        (["task=prompts", "output=o.jsonl", "summary=rows.jsonl"], "summary=rows.jsonl is an input"),
        (["task=prompts", "output=sub"], "output=sub is a folder"),
        (["task=prompts", "output=o.txt"], "let the name end in .jsonl"),
        (["task=prompts"], "output is needed"),
        (["task=check"], "quarantine is needed"),
        (["task=check", "output=o.jsonl", "quarantine=o.jsonl"], "two outputs have this name"),
        (["task=prompts", "output=o.jsonl", "quarantine=q.jsonl"], "is for on_bad_row=quarantine"),
        (["task=prompts", "output=o.jsonl", "on_bad_row=skip"], "on_bad_row takes error or quarantine"),
        (["task=prompts", "output=o.jsonl", "task.exclude=none.jsonl"], "task.exclude=none.jsonl: no such file"),
        (["task=chat", "output=o.jsonl", "task.to=messages"], "4 of 4 rows are bad"),
        (["task=prompts", "output=o.jsonl", "task.exclude=other.jsonl"], "no row is left to write"),
        (["task=statistics", "output=sub"], "output=sub exists and holds no statistics"),
        (["task=prompts", "output=o.jsonl", "task.max_word=3"], "the nearest is task.max_words"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(folder, capsys, words, message):
    put(folder / "rows.jsonl", [PAIR] * 4)
    put(folder / "other.jsonl", [PAIR])
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.txt").write_text("mine")
    before = names(folder)
    assert call("input=rows.jsonl", *words) == 2
    assert message in capsys.readouterr().err
    assert names(folder) == before and names(folder / "sub") == {"mine.txt"}
    assert len(read_lines(folder / "rows.jsonl")) == 4


def test_statistics_replace_their_own_folder(folder):
    put(folder / "rows.jsonl", [PAIR, PAIR | {"prompt": "q"}])
    for figures in ("true", "false"):
        assert call("task=statistics", "input=rows.jsonl", "output=said", f"task.figures={figures}") == 0
    assert names(folder / "said") == {"statistics.json", "statistics.txt"}
    assert read_json(folder / "said" / "statistics.json")["rows"] == 2


def test_no_task_loads_torch(folder):
    import subprocess

    put(folder / "rows.jsonl", [PAIR, PAIR | {"prompt": "q"}])
    code = (
        "import sys; from mora.prepare import prepare; from mora.settings.launch import launch; "
        "code = launch('prepare', prepare, ['task=statistics', 'input=rows.jsonl', 'output=said']); "
        "sys.exit(code or 3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_page_are_accepted():
    import re
    import shlex
    from pathlib import Path

    from mora.settings.check import check
    from mora.settings.overrides import prepare as prepared
    from mora.settings.tree import conf_dir, opened

    root = conf_dir()
    blocks = re.findall(r"```bash\n(.*?)```", (root.parent / "docs" / "data_preparation.md").read_text(), re.DOTALL)
    stated = re.findall(r"^python -m mora\.(.+)$", "\n".join(blocks), re.MULTILINE)
    used = set()
    for line in stated:
        command, *words = shlex.split(line)
        used |= {word.removeprefix("task=") for word in words if word.startswith("task=")}
        with opened(command) as tree:
            assert check(tree, prepared(words)).problems == (), line
    assert used == {Path(path).stem for path in (root / "task").glob("*.yaml")}
