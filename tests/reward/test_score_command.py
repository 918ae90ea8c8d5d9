from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mora.errors import InputError
from mora.files import read_lines
from mora.reward.quantile import Quantile
from mora.reward.scorer import ModelScorer
from mora.runtime.folder import RunFolder
from mora.score import score
from mora.settings.compose import compose
from mora.settings.identity import to_yaml

MakeScorer = Callable[..., ModelScorer]
Texts = tuple[list[str], list[str]]
ROWS = [{"prompt": "a b", "response": "c d"}, {"prompt": "a", "response_0": "b", "response_1": "c c"}]


def make_run(root: Path, algo: str) -> RunFolder:
    config = compose("train", [f"algo={algo}", f"paths.runs={root}"])
    folder = RunFolder.open(root, "run", {"algo": algo}, config=to_yaml(config), overrides="[]", diff="{}")
    with folder.lock():
        folder.finish({})
    return folder


def settings(tmp_path: Path, folder: RunFolder, **changed: Any) -> Any:
    paths = {"input": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "out.jsonl")}
    base = {"run": folder.id, "batch_size": 2, "paths": {"runs": str(tmp_path / "runs")}, **paths}
    return OmegaConf.create(base | changed)


@pytest.fixture
def reward_run(tmp_path: Path, make_scorer: MakeScorer, texts: Texts) -> RunFolder:
    folder = make_run(tmp_path / "runs", "reward_model")
    scorer = make_scorer(Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.0))
    scorer.standardize(*texts, provenance={})
    scorer.save(folder.path / "reward")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return folder


def test_every_row_comes_back_scored(tmp_path: Path, reward_run: RunFolder) -> None:
    score(settings(tmp_path, reward_run), [])
    scored = read_lines(tmp_path / "out.jsonl")
    assert [{k: row[k] for k in given} for row, given in zip(scored, ROWS, strict=True)] == ROWS
    assert len(scored[0]["scores"]["many_a"]["quantiles"]) == 5
    assert set(scored[1]) - set(ROWS[1]) == {"scores_0", "scores_1"}


def test_what_the_model_does_not_read_is_counted(
    tmp_path: Path, reward_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model takes 16 tokens of a prompt and 12 of an answer; a text that stands in two rows is one."""
    score(settings(tmp_path, reward_run), [])
    assert "longer than" not in capsys.readouterr().out
    rows = [*ROWS, {"prompt": "a " * 30, "response": "b " * 20}, {"prompt": "a", "response": "b " * 20}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    score(settings(tmp_path, reward_run), [])
    said = capsys.readouterr().out
    assert said.count("longer than") == 2
    assert "1 of 3 prompts are longer than the 16 tokens that the model takes, and were scored by their end" in said
    assert (
        "1 of 4 answers are longer than the 12 tokens that the model takes, and were scored by their beginning" in said
    )


def test_without_input_and_output_it_says_what_the_model_is(
    tmp_path: Path, reward_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    score(settings(tmp_path, reward_run, input=None, output=None), [])
    said = capsys.readouterr().out
    assert "mora.reward.quantile.Quantile" in said and "many_a" in said and "(raw - mean) / std" in said
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("given", "missing"), [("input", "output"), ("output", "input")])
def test_input_and_output_go_together(tmp_path: Path, reward_run: RunFolder, given: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"{given}=.* without {missing}"):
        score(settings(tmp_path, reward_run, **{missing: None}), [])


def test_the_input_is_never_overwritten(tmp_path: Path, reward_run: RunFolder) -> None:
    before = (tmp_path / "in.jsonl").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is the input"):
        score(settings(tmp_path, reward_run, output=str(tmp_path / "runs" / ".." / "in.jsonl")), [])
    assert (tmp_path / "in.jsonl").read_text(encoding="utf-8") == before


def test_nothing_is_written_when_a_row_is_bad(tmp_path: Path, reward_run: RunFolder) -> None:
    with (tmp_path / "in.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "a"}\n')
    with pytest.raises(InputError, match=r"in\.jsonl:3"):
        score(settings(tmp_path, reward_run), [])
    assert not (tmp_path / "out.jsonl").exists()


def test_other_runs_and_other_outputs_are_refused(tmp_path: Path, reward_run: RunFolder) -> None:
    with pytest.raises(InputError, match="a run of sft"):
        score(settings(tmp_path, make_run(tmp_path / "runs", "sft")), [])
    with pytest.raises(InputError, match="is a folder"):
        score(settings(tmp_path, reward_run, output=str(tmp_path)), [])
    with pytest.raises(InputError, match="batch_size=0: "):
        compose("score", [f"run={reward_run.id}", "batch_size=0"])
    with pytest.raises(InputError, match="run=nowhere: "):
        score(settings(tmp_path, reward_run, run="nowhere"), [])


def test_importing_the_entry_point_imports_no_torch() -> None:
    code = "import sys, mora.score; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
