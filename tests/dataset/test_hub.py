"""Datasets of the hub where the hub is away: what the local cache holds is read, what it lacks is said."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.dataset.published import HUMMER

HUB, COMMIT = "org/birds", "0123456789abcdef0123456789abcdef01234567"
AWAY = [{"HF_HUB_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}]
READ = """
import sys
from mora.dataset.pinned import by_content
from mora.errors import InputError
from tests.dataset import examples
source = examples.source("hummer", hub="org/birds", subsets=None, revision=None if sys.argv[1] == "" else sys.argv[1],
    read={"_target_": "mora.dataset.messages.rows", "_partial_": True})
try:
    corpus = source.load(("tone",), 0)
except InputError as error:
    sys.exit(f"InputError {error}")
section = {"hub": "org/birds", "path": None, "revision": None}
print(len(corpus.pairs["train"]), dict(corpus.commits), by_content(section, ())["revision"], *corpus.notes, sep="\\n")
"""


def _cache(home: Path) -> None:
    """A dataset as the hub's own client keeps it: contents below blobs, names below snapshots, branches below refs."""
    folder = home / "hub" / "datasets--org--birds"
    rows = [HUMMER | {"prompt": f"{number}?"} for number in range(3)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    for place in (blob.parent, folder / "refs", folder / "snapshots" / COMMIT):
        place.mkdir(parents=True)
    blob.write_bytes(content)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT / "train.jsonl").symlink_to(Path("../../blobs") / blob.name)


def _run(home: Path, away: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    names = {**os.environ, **away, "HF_HOME": str(home)}
    for own in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE"):
        names.pop(own, None)
    return subprocess.run([sys.executable, *arguments], env=names, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("revision", ["", COMMIT])
def test_what_the_cache_holds_is_read_with_its_commit(tmp_path, away, revision):
    _cache(tmp_path)
    done = _run(tmp_path, away, "-c", READ, revision)
    assert done.returncode == 0, done.stderr
    count, commits, pinned, *notes = done.stdout.splitlines()
    assert (count, commits, pinned) == ("3", str({HUB: COMMIT}), COMMIT)
    assert any("local cache" in note and COMMIT in note for note in notes)


@pytest.mark.parametrize("away", AWAY)
def test_what_the_cache_lacks_is_one_sentence_before_a_run_folder_is_made(tmp_path, away):
    runs = tmp_path / "runs"
    command = ("-m", "mora.train", "algo=sft", "model=tiny", "dataset=alpaca", f"paths.runs={runs}")
    done = _run(tmp_path, away, *command)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: dataset 'tatsu-lab/alpaca'") and "dataset.path=" in line and "cache" in line
    assert not runs.exists() or not [place for place in runs.iterdir() if not place.name.startswith(".")]


def test_a_revision_that_the_cache_lacks_is_named(tmp_path):
    _cache(tmp_path)
    done = _run(tmp_path, AWAY[0], "-c", READ, "v2")
    assert "revision v2" in done.stderr and done.stderr.startswith("InputError")
