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
import json, sys
from mora.dataset.pinned import by_content
from mora.errors import InputError
from tests.dataset import examples
pinned = by_content({"hub": "org/birds", "path": None, "revision": None}, ())["revision"]
for revision in sys.argv[1:]:
    source = examples.source("hummer", hub="org/birds", subsets=None, revision=revision or None,
        read={"_target_": "mora.dataset.messages.rows", "_partial_": True})
    try:
        corpus = source.load(("tone",), 0)
    except InputError as error:
        print(json.dumps({"refused": str(error)}))
        continue
    read = {"pairs": len(corpus.pairs["train"]), "commits": dict(corpus.commits), "notes": list(corpus.notes)}
    print(json.dumps(read | {"pinned": pinned}))
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
def test_what_the_cache_holds_is_read_with_its_commit_and_a_revision_that_it_lacks_is_named(tmp_path, away):
    _cache(tmp_path)
    done = _run(tmp_path, away, "-c", READ, "", COMMIT, "v2")
    assert done.returncode == 0, done.stderr
    *held, lacking = (json.loads(line) for line in done.stdout.splitlines())
    assert len(held) == 2
    for read in held:
        assert (read["pairs"], read["commits"], read["pinned"]) == (3, {HUB: COMMIT}, COMMIT)
        assert any("local cache" in note and COMMIT in note for note in read["notes"])
    assert lacking.keys() == {"refused"} and "revision v2" in lacking["refused"]


@pytest.mark.parametrize("away", AWAY)
def test_what_the_cache_lacks_is_one_sentence_before_a_run_folder_is_made(tmp_path, away):
    runs = tmp_path / "runs"
    command = ("-m", "mora.train", "algo=sft", "model=tiny", "dataset=alpaca", f"paths.runs={runs}")
    done = _run(tmp_path, away, *command)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: dataset 'tatsu-lab/alpaca'") and "dataset.path=" in line and "cache" in line
    assert not runs.exists() or not [place for place in runs.iterdir() if not place.name.startswith(".")]
