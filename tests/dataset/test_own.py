"""The example of the README, word for word: a function that yields rows and a YAML make a dataset."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

from mora.settings.launch import launch
from mora.train import train

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_trains(tmp_path, monkeypatch, undrawn):
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
    monkeypatch.chdir(tmp_path)  # where Python finds birds.py, too
    monkeypatch.syspath_prepend(str(tmp_path))
    assert launch("train", train, [*shlex.split(command)[1:], *more]) == 0
    monkeypatch.delitem(sys.modules, "birds")
    (run,) = (tmp_path / "runs").glob("reward_model-micro-birds-*")
    data = json.loads((run / "dataset.json").read_text())
    assert data["records"]["used"] == 40 and sum(data["rows"]["pairs"].values()) == 40
