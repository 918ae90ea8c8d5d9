"""Classifiers of others through whole commands: measured, trained on, evaluated, compared by, and asked for scores."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.files import read_json, read_lines, write_json, write_lines
from mora.run.plan import Stage, plan
from mora.score import score
from mora.train import train
from tests.chain import ask, chain_options
from tests.reward.classifiers import WORDS, classifier


@pytest.fixture(scope="module")
def hub_chain(tmp_path_factory) -> tuple[list[str], list[Stage]]:
    root = tmp_path_factory.mktemp("hub")
    one = classifier(root / "one", labels=("help", "harm"))
    other = classifier(root / "other", "bert", seed=1)
    overrides = [
        *chain_options(root / "runs"),
        "reward=hub",
        "reward.max_length=48",
        f"reward.models.cure={{path: '{one}', label: help}}",
        f"reward.models.care.path={other}",
        "reward.models.care.sign=-1",
        "reward.models.care.zero=true",
        "reward.models.care.chat=pair",
    ]
    cfg = mora.compose(*overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mora.run.execute.report", lambda folder: None)  # it takes longest and is no different here
        train(cfg, overrides)
    return overrides, plan(cfg, overrides)


def test_the_run_of_classifiers_holds_their_units_and_what_measuring_spent(hub_chain) -> None:
    sft, reward, panacea = hub_chain[1]
    assert [stage.algo for stage in (sft, reward, panacea)] == ["sft", "reward_model", "panacea"]
    assert all(stage.finished for stage in hub_chain[1]) and "-hub-" in reward.id
    card = read_json(reward.path / "reward" / "reward.json")
    assert card["standardization"]["provenance"] == card["standardization"]["provenance"] | {
        "run": reward.id,
        "policy_run": sft.id,
        "samples": 16,
    }
    assert card["zero"] == [False, True] and sorted(path.name for path in (reward.path / "reward").iterdir()) == [
        "manifest.json",
        "reward.json",
    ]
    (row,) = read_lines(reward.path / "metrics.jsonl")
    assert row["spent/forward_passes"] == 2 * 16 and row["spent/trained_tokens"] == 0
    table = read_json(reward.path / "tables" / "reward.json")
    assert table["kind"] == "hub" and set(table["accuracy"]) == {"cure", "care"}


def test_the_policy_is_trained_in_these_units_and_counts_every_pass(hub_chain) -> None:
    reward, panacea = hub_chain[1][1:]
    assert panacea.identity["upstream"]["reward"] == reward.id
    units = read_json(panacea.path / "policy" / "standardization.json")
    known = read_json(reward.path / "reward" / "reward.json")["standardization"]
    assert units["mean"] == known["mean"] and units["std"] == known["std"]
    front = read_json(panacea.path / "tables" / "front.json")
    assert front["scorers"]["reward"]["run"] == reward.id and set(front["indicators"]) == {"gold", "reward"}


def test_the_same_command_makes_nothing_new(hub_chain, capsys) -> None:
    train(mora.compose(*hub_chain[0]), hub_chain[0])
    assert "already done" in capsys.readouterr().out


def test_answers_are_scored_and_reward_quality_is_measured_again(hub_chain, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("mora.run.execute.report", lambda folder: None)
    reward = hub_chain[1][1]
    rows = [{"prompt": "a b", "response": " ".join(WORDS * 6)}, {"prompt": "a", "response_0": "b", "response_1": "c"}]
    write_lines(tmp_path / "in.jsonl", rows)
    given = [
        f"run={reward.id}",
        f"paths.runs={reward.path.parent}",
        f"input={tmp_path / 'in.jsonl'}",
        f"output={tmp_path / 'out.jsonl'}",
    ]
    score(mora.compose(*given, command="score"), given)
    scored = read_lines(tmp_path / "out.jsonl")
    assert set(scored[0]["scores"]) == {"cure", "care"} and scored[0]["scores"]["cure"]["quantiles"] is None
    said = capsys.readouterr().out
    assert "1 of 3 texts lost their prompt and the beginning of their answer to fit into 48 tokens" in said
    before = read_json(reward.path / "tables" / "reward.json")
    other = reward.path / "tables" / "sections.json"
    write_json(other, {})  # of another evaluation: it is not shown
    ask("evaluate", (None, [reward]), "evaluation=reward_model")
    other.unlink()
    assert read_json(reward.path / "tables" / "reward.json") == before
    assert "accuracy" in capsys.readouterr().out


def test_classifiers_judge_runs_that_they_did_not_train(hub_chain, monkeypatch) -> None:
    monkeypatch.setattr("mora.run.compare.write_comparison", lambda folder: None)
    reward, panacea = hub_chain[1][1:]
    given = [
        "evaluation=compare",
        f"runs=[{panacea.id},{hub_chain[1][0].id}]",
        f"paths.runs={panacea.path.parent}",
        f"evaluation.judge={reward.id}",
        "evaluation.prompts=8",
        "evaluation.samples=2",
        "evaluation.resamples=100",
    ]
    evaluate(mora.compose(*given, command="evaluate"), given)
    (folder,) = panacea.path.parent.glob("compare-*")
    assert read_json(folder / "tables" / "compare.json")["judge"]["name"] == reward.id


def test_there_is_no_model_to_export(hub_chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained model"):
        ask("export", (None, [hub_chain[1][1]]), "to=classifier", f"out={tmp_path / 'out'}")


def test_the_stage_is_the_run_that_its_own_command_makes(hub_chain) -> None:
    for stage in hub_chain[1]:
        own = shlex.split(shlex.join(stage.overrides))
        assert plan(mora.compose(*own), own)[-1].id == stage.id
