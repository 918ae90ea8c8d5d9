from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.files import read_json, write_json
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.run.conclude import conclude
from mora.runtime.folder import RunFolder
from mora.settings.compose import compose
from mora.settings.identity import to_yaml

SCALAR = Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0)
ROWS = [
    {"prompt": "a b", "chosen": "c d", "rejected": "d c", "subset": "donotanswer"},
    {"prompt": "a b", "chosen": "c", "rejected": ["e", "c"], "subset": "mine"},
    {"prompt": "a " * 40, "chosen": "c", "rejected": "d " * 40, "subset": "mine"},  # 16 and 12 tokens are taken
]


@pytest.fixture
def runs(tmp_path: Path, make_scorer: Callable[..., ModelScorer], texts: tuple[list[str], list[str]]) -> Path:
    identity = {"algo": {"_target_": "mora.algo.reward_model.RewardModel", "name": "reward_model"}}
    pair = {"response_0": "c", "response_1": "d", "many_b_response_id": 1}
    data = [pair | {"prompt": "A b!"}, pair | {"prompt": "other"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    keys = [f"dataset.path={tmp_path / 'pairs.jsonl'}", "dataset.test_share=0", f"paths.runs={tmp_path / 'runs'}"]
    config = to_yaml(compose("train", ["algo=reward_model", "dataset=jsonl", "objectives.names=[many_b]", *keys]))
    folder = RunFolder.open(tmp_path / "runs", "reward", identity, config=config, overrides="[]", diff="{}")
    with folder.lock():
        scorer = make_scorer(SCALAR)
        scorer.standardize(*texts, provenance={})
        scorer.save(folder.path / "reward")
        folder.finish({})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return tmp_path / "runs"


def settings(runs: Path, *more: str) -> Any:
    path = f"evaluation.path={runs.parent / 'rows.jsonl'}"
    given = ["run=latest:reward_model", f"paths.runs={runs}", "evaluation=sections", path, *more]
    return compose("evaluate", given)


def test_a_benchmark_of_the_newest_reward_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(settings(runs, "evaluation.objective=many_b"), [])
    (folder,) = runs.glob("reward-*")
    table = read_json(folder / "tables" / "sections.json")
    scorer = ModelScorer.load(folder / "reward", "cpu")
    score = {text: float(scorer.raw(["a b"], [text]).atoms[0, 1, 0]) for text in ("c d", "d c", "c", "e")}
    shared = {entry["section"]: entry["shared"] for entry in table["sections"]}
    assert shared["Safety"] == float(score["c d"] > score["d c"])
    first = 0.5 if score["c"] > score["e"] else 0.0  # "c" ties with itself
    assert shared["mine"] in (first / 2, (first + 1) / 2)
    assert table["run"] == folder.name and table["judge"] == {"objective": "many_b"}
    assert table["left_out"] == ["Chat", "Chat Hard", "Reasoning"] and table["unmapped"] == ["mine"]
    by = {"conversation": 0, "wording": 1, "similar": 0}
    assert table["near_training"] == {"prompts": 1, "of": 2, "by": by, "examples": ["a b"]}
    assert "1 of 2 prompts are near one that the run was trained on" in table["notes"]
    assert {key: table["cut"][key] for key in ("prompts", "answers")} == {"prompts": 1, "answers": 1}
    assert "1 of 5 answers are longer than the 12 tokens" in " ".join(table["notes"])
    printed = capsys.readouterr()
    assert "judged by many_b" in printed.out and f"latest:reward_model is {folder}" in printed.err
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert '<section id="benchmark">' in page and (folder / "report" / "figures" / "benchmark.png").is_file()


def test_only_the_evaluation_that_was_asked_for_is_shown(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mora.run.execute.report", lambda folder: None)
    (folder,) = runs.glob("reward-*")
    known = {"accuracy": {"value": None}, "temperature": None, "log_loss": 0.5, "calibration": {"ece": 0.25}}
    quality = {key: {"many_a": entry} for key, entry in known.items()}
    write_json(folder / "tables" / "reward.json", {"objectives": ["many_a"], **quality})
    evaluate(settings(runs, "evaluation.objective=many_b"), [])
    said = capsys.readouterr().out
    assert "judged by many_b" in said and "ECE" not in said
    conclude(folder)  # of a run as a whole, everything
    said = capsys.readouterr().out
    assert "judged by many_b" in said and "ECE 0.250" in said


def test_a_utility_of_all_objectives_judges(runs: Path) -> None:
    evaluate(settings(runs, "evaluation.preference=[0.25,0.75]"), [])
    (table,) = (read_json(path) for path in runs.glob("reward-*/tables/sections.json"))
    assert table["judge"] == {"preference": {"many_a": 0.25, "many_b": 0.75}}


def test_sections_and_weights_are_the_users(runs: Path) -> None:
    own = ["+evaluation.sections.Mine=[mine]", "evaluation.weights.donotanswer=3", "+evaluation.weights.mine=2"]
    evaluate(settings(runs, "evaluation.objective=many_a", *own), [])
    (table,) = (read_json(path) for path in runs.glob("reward-*/tables/sections.json"))
    assert [(e["subset"], e["section"], e["weight"]) for e in table["subsets"]] == [
        ("donotanswer", "Safety", 3),
        ("mine", "Mine", 2),
    ]


def test_a_policy_has_no_sections(runs: Path) -> None:
    (folder,) = runs.glob("reward-*")
    shutil.move(folder / "reward", folder / "policy")
    with pytest.raises(InputError, match="is no reward model"):
        evaluate(settings(runs), [])


def test_the_file_must_be_named(runs: Path) -> None:
    with pytest.raises(InputError, match=r"evaluation.path is needed.*evaluation=sections evaluation.path=rows.jsonl"):
        compose("evaluate", ["run=x", "evaluation=sections"])


def test_training_takes_no_benchmark() -> None:
    from mora.run.meaning import refuse_without_meaning
    from mora.run.plan import plan

    command = ["algo=reward_model", "evaluation=sections", "evaluation.path=rows.jsonl"]
    with pytest.raises(InputError, match="evaluation=sections takes a finished reward run"):
        refuse_without_meaning(plan(mora.compose(*command), command)[-1])
