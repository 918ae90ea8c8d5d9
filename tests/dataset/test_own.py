"""The example of the README, word for word: a function that yields rows and a YAML make a dataset."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_trains(tmp_path):
    text = README.read_text()
    files = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["birds.py", "my_conf/dataset/birds.yaml"]
    assert sum(len(body.splitlines()) + 1 for _, body in files) < 15
    for name, body in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body)
    rows = [
        {"question": f"Which bird is number {n}?", "a": "A wren.", "b": "It may be a wren.", "winner": "ab"[n % 3 == 0]}
        for n in range(40)
    ]
    (tmp_path / "birds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (command,) = re.findall(r"^    python -m (mora\.train --config-dir .*)$", text, re.MULTILINE)
    short = ["model=micro", "algo.steps=1", "algo.epochs=null", "start.sft=[algo.steps=1,algo.epochs=null]"]
    more = [*short, "dataset.max_prompt=64", "dataset.max_response=64"]
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), *more],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").glob("reward_model-micro-birds-*")
    data = json.loads((run / "dataset.json").read_text())
    assert data["records"]["used"] == 40 and sum(data["rows"]["pairs"].values()) == 40
