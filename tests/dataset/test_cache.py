"""Corpora in files: what is found again is what was read, and it is read again where anything else would come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

import mora
from mora.dataset.cache import DatasetCache
from mora.dataset.corpus import KINDS, SPLITS
from mora.dataset.source_records import SourceRecords
from mora.dataset.store import StoredRows
from mora.errors import InputError
from mora.files import TEMPORARY
from mora.run.build import build
from mora.settings.identity import plain
from mora.settings.mixture import expanded

NAMES = ("kind", "brief")


def _rows(count=40):
    """Every kind of row: pairs with labels, ratings or neither, scored and supervised answers, prompts, bad rows."""
    rows = []
    for n in range(count):
        pair = {"prompt": f"pair {n}", "response_0": f"a{n}", "response_1": "b", "kind_response_id": n % 2}
        rows += [
            pair | ({"brief_response_id": 1, "brief_strength": 0.1 * n} if n % 3 else {"brief_rating_0": [1, 2.5]}),
            {"prompt": f"scored {n % 10}", "response": f"answer {n}", "kind": n, "brief": [n % 3, 1]},
            {"prompt": f"ask {n}"},
        ]
    rows += [{"prompt": f"tell {n}", "response": "No."} for n in range(9)]
    rows += [{"prompt": "none", "response_0": "x", "response_1": "y"}]
    return [*rows, {"prompt": ""}, {"prompt": "half \ud83d", "response": "r"}]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    return path


def _section(file, *words):
    given = [f"dataset.path={file}", "dataset.on_bad_row=quarantine", "dataset.test_share=0.3", *words]
    return plain(mora.compose("dataset=jsonl", f"objectives.names=[{','.join(NAMES)}]", *given))["dataset"]


def _load(section, root=None, seed=0):
    cache = None if root is None else DatasetCache(root, section)
    return build(section).load(NAMES, seed, cache)


def _same(one, other):
    for kind in KINDS:
        for side in SPLITS:
            assert list(getattr(one, kind)[side]) == list(getattr(other, kind)[side]), (kind, side)
    for name in ("name", "objectives", "fingerprint", "notes", "records", "overlap", "max_prompt", "overlong"):
        assert getattr(one, name) == getattr(other, name), name
    assert [(bad.where, bad.reason) for bad in one.quarantine] == [(bad.where, bad.reason) for bad in other.quarantine]


def test_rows_in_files_are_the_rows_in_memory(file, tmp_path):
    section = _section(file)
    memory, files = _load(section), _load(section, tmp_path / "cache")
    assert all(isinstance(getattr(files, kind)[side], StoredRows) for kind in KINDS for side in SPLITS)
    assert min(len(getattr(files, kind)["train"]) for kind in KINDS) > 0 and len(files.quarantine) == 2
    _same(memory, files)


def test_a_corpus_is_read_once(file, tmp_path, monkeypatch):
    section = _section(file)
    first = _load(section, tmp_path / "cache")
    monkeypatch.setattr(SourceRecords, "records", lambda self, side: pytest.fail("read again"))
    _same(first, _load(section, tmp_path / "cache"))
    longer = _load(section | {"max_prompt": 7}, tmp_path / "cache")  # limits of tokens change no row
    assert longer.max_prompt == 7 and longer.fingerprint == first.fingerprint


def test_other_data_settings_and_objectives_are_other_corpora(file, tmp_path):
    root = tmp_path / "cache"
    section = _section(file)
    first = _load(section, root)
    other = _load(section | {"test_share": 0.5}, root)
    assert len(other.pairs["test"]) > len(first.pairs["test"])
    file.write_text(file.read_text() + json.dumps({"prompt": "one more", "response": "Yes."}) + "\n")
    assert len(_load(section, root).supervised["train"]) == len(first.supervised["train"]) + 1
    assert build(section).load(("kind",), 0, DatasetCache(root, section)).objectives == ("kind",)


def test_a_mixture_in_files_is_the_mixture_in_memory(file, tmp_path):
    config = plain(mora.compose("dataset=mixture", f"objectives.names=[{','.join(NAMES)}]"))
    part = {"dataset": "jsonl", "path": str(file), "on_bad_row": "quarantine"}
    config["dataset"]["sources"] = [part | {"fraction": 1.5}, part | {"count": 5, "seed": 3, "test_share": 0.4}]
    section = expanded(config)["dataset"]
    memory, files = _load(section), _load(section, tmp_path / "cache")
    _same(memory, files)
    assert _load(section, tmp_path / "cache", seed=1).fingerprint != files.fingerprint
    assert len(files.pairs["train"]) > len(_load(_section(file)).pairs["train"])  # with copies


def test_bad_data_leaves_nothing_behind(file, tmp_path):
    section = _section(file) | {"max_bad_share": 0.0}
    for _ in range(2):
        with pytest.raises(InputError, match="more than dataset.max_bad_share=0 allows"):
            _load(section, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_removed(file, tmp_path):
    root, section = tmp_path / "cache", _section(file)
    code = """
        import json, os, sys
        from mora.run.build import build
        from mora.dataset import assemble
        from mora.dataset.cache import DatasetCache
        section, root = json.loads(sys.argv[1]), sys.argv[2]
        assemble.fingerprint = lambda *_: os._exit(9)  # all rows are written, the corpus is not
        from pathlib import Path
        build(section).load(("kind", "brief"), 0, DatasetCache(Path(root), section))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), json.dumps(section), str(root)], check=False)
    assert done.returncode == 9 and any(path.name.startswith(TEMPORARY) for path in root.iterdir())
    _same(_load(section), _load(section, root))
    assert not any(path.name.startswith(TEMPORARY) for path in root.iterdir())


def test_a_function_of_the_user_that_changes_reads_anew(tmp_path, monkeypatch):
    module, data = tmp_path / "own_reader.py", tmp_path / "own.jsonl"
    data.write_text('{"q": "a"}\n{"q": "b"}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "from mora.types import Row\n\ndef rows(fields, names):\n    yield Row(prompt=fields['q'] + '{}')\n"
    code = """
        import json, sys
        from pathlib import Path
        import mora
        from mora.run.build import load_corpus
        from mora.settings.identity import plain
        config = plain(mora.compose("dataset=jsonl", "dataset.read._target_=own_reader.rows", "plugins=[own_reader]",
            "dataset.path=own.jsonl", "dataset.test_share=0", "objectives.names=[x]", "paths.runs=runs"))
        print([row.prompt for row in load_corpus(config).prompts["train"]])
    """
    for mark in ("?", "!"):
        module.write_text(text.format(mark))
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == str([f"a{mark}", f"b{mark}"]), done.stderr
