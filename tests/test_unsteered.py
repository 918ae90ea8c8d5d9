"""Policies that no preference steers, on a LoRA and on all weights: from training to answers, exports and tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.export import export
from mora.files import read_json, read_lines
from mora.generate import PLAIN_HELP, generate
from mora.model.stored import load_policy
from mora.settings.stored import stored_config
from mora.train import train
from tests.adapters import sequences
from tests.chain import without_pictures

SMALL = (
    "dataset=oracle_constraint",
    "dataset.topics=4",
    "dataset.held_out=2",
    "model=micro",
    "reward=gold",
    "start.sft=['algo.epochs=null','algo.steps=3','algo.batch_size=16','algo.test_rows=8']",
    "algo.steps=2",
    "algo.epochs=1",
    "algo.minibatches=2",
    "algo.critic_width=8",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=2",
    "algo.reference_prompts=4",
    "algo.reference_samples=8",
    "evaluation.prompts=3",
    "evaluation.samples=2",
    "evaluation.resamples=0",
)
KINDS = {"lora": ("algo=ppo",), "full": ("algo=ppo", "adapter=full")}
WEIGHTS = "preference.weights=[0.75,0.25]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("unsteered")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        for kind in (*KINDS.values(), ("algo=panacea",)):
            fixed = [] if kind == ("algo=panacea",) else [WEIGHTS]
            given = [*kind, *SMALL, *fixed, f"paths.runs={root}", "evaluation.preferences=null"]
            train(mora.compose(*given), given)
    return root


def folder(runs: Path, kind: str) -> Path:
    found = [path for path in runs.glob("ppo-*") if read_json(path / "policy" / "adapter.json")["kind"] == kind]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_its_front_is_one_point_at_the_preference_that_it_was_trained_at(runs, kind):
    table = read_json(folder(runs, kind) / "tables" / "front.json")
    assert [point["preference"] for point in table["points"]] == [[0.75, 0.25]] and not table["steered"]
    assert table["reference"]["kl"] == 0 and table["points"][0]["kl"] != 0
    rows = read_lines(folder(runs, kind) / "tables" / "samples.jsonl")
    assert [row["preference"] for row in rows] == [None] * 6 + [[0.75, 0.25]] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is_loaded_from_moved_away_from_its_reference(runs, kind):
    policy, _ = load_policy(folder(runs, kind) / "policy", torch.device("cpu"))
    ids, mask = torch.tensor([[2, 3, 4, 5]]), torch.ones(1, 4, dtype=torch.bool)
    reference = policy.reference(sequences(ids, mask, response=2))
    at = [policy.logps(sequences(ids, mask, row, response=2)) for row in (None, torch.tensor([[1.0, 0.0]]))]
    assert not policy.steered and torch.equal(*at) and not torch.allclose(at[0], reference, atol=1e-4)
    (base,) = runs.glob("sft-*")
    stock = AutoModelForCausalLM.from_pretrained(base / "model")
    with torch.no_grad():
        logs = stock(input_ids=ids).logits.log_softmax(-1)[0, 1:3].gather(-1, ids[0, 2:, None])
    assert torch.allclose(reference[0], logs[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_it_is_a_plain_model_with_its_own_numbers(runs, kind, tmp_path):
    run = folder(runs, kind)
    given = [f"run={run}", "to=merged", f"out={tmp_path / 'merged'}"]
    export(mora.compose(*given, command="export"), given)
    policy, _ = load_policy(run / "policy", torch.device("cpu"))
    ids, mask = torch.tensor([[2, 3, 4, 5]]), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        stock = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ids).logits
        logs = stock.log_softmax(-1)[0, 1:3].gather(-1, ids[0, 2:, None])
    assert torch.allclose(policy.logps(sequences(ids, mask, None, response=2))[0], logs[:, 0], atol=1e-5)


def test_a_lora_is_exported_for_peft_and_all_weights_are_not(runs, tmp_path):
    peft = pytest.importorskip("peft")
    run = folder(runs, "lora")
    given = [f"run={run}", "to=lora", f"out={tmp_path / 'lora'}"]
    export(mora.compose(*given, command="export"), given)
    (base,) = runs.glob("sft-*")
    loaded = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base / "model"), tmp_path / "lora")
    policy, _ = load_policy(run / "policy", torch.device("cpu"))
    ids, mask = torch.tensor([[2, 3, 4, 5]]), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        logs = loaded(input_ids=ids).logits.log_softmax(-1)[0, 1:3].gather(-1, ids[0, 2:, None])
    assert torch.allclose(policy.logps(sequences(ids, mask, None, response=2))[0], logs[:, 0], atol=1e-5)
    assert "help, safe" in (tmp_path / "lora" / "README.md").read_text()
    given = [f"run={folder(runs, 'full')}", "to=lora", f"out={tmp_path / 'none'}"]
    with pytest.raises(InputError, match="all weights of this policy were trained"):
        export(mora.compose(*given, command="export"), given)
    assert not (tmp_path / "none").exists()


def test_a_preference_is_refused_where_none_steers(runs):
    run = folder(runs, "lora")
    for command, task, more in (("generate", generate, ["prompt=a e"]), ("export", export, ["to=merged"])):
        given = [f"run={run}", "preference=[0.5,0.5]", *more]
        with pytest.raises(InputError, match="preference: no preference steers the policy of"):
            task(mora.compose(*given, command=command), given)


def test_it_answers_prompts(runs, capsys):
    given = [f"run={folder(runs, 'full')}", "prompt=a e", "temperature=0"]
    generate(mora.compose(*given, command="generate"), given)
    assert capsys.readouterr().out.startswith("\na e\n  ")


def test_a_preference_in_a_conversation_is_told_which_one_there_is(runs, capsys, monkeypatch):
    lines = iter(["/preference 0.3,0.7", "/help", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    run = folder(runs, "lora")
    generate(mora.compose(f"run={run}", command="generate"), [f"run={run}"])
    said = capsys.readouterr().out.splitlines()
    weights = stored_config(run)["preference"]["weights"] or [0.5, 0.5]
    named = f"help {weights[0]:g}, safe {weights[1]:g}"
    assert said[-2:] == [f"{run.name} has one preference, which it was trained at: {named}", PLAIN_HELP]


@pytest.mark.parametrize("preferences", ["null", "[[1,0],[0.5,0.5],[0,1]]"])  # none of them its own
def test_compared_with_a_steered_policy_it_is_one_policy_at_every_preference(runs, undrawn, preferences):
    """Its answers are judged once and stand at each preference; its KL is that of a policy that was trained."""
    (steered,) = runs.glob("panacea-*")
    listed = ",".join(str(path) for path in (steered, folder(runs, "lora"), folder(runs, "full")))
    given = [
        "evaluation=compare",
        f"runs=[{listed}]",
        "evaluation.prompts=8",
        "evaluation.samples=4",
        f"evaluation.preferences={preferences}",
        f"paths.runs={runs}",
    ]
    evaluate(mora.compose(*given, command="evaluate"), given)
    table = max(runs.glob("compare-*/tables/compare.json"), key=lambda path: path.stat().st_mtime_ns)
    methods = json.loads(table.read_text())["methods"]
    assert [method["steered"] for method in methods] == [True, False, False]
    for method in methods:
        scores = [tuple(point["scores"]) for point in method["points"]]
        assert len(scores) == (11 if preferences == "null" else 3) and (method["steered"] or len(set(scores)) == 1)
        assert all(point["kl"] != 0 for point in method["points"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo=panacea", "adapter=lora"], "adapter=lora is steered by no preference, and preference=row draws many"),
        (["algo=ppo", "preference=group"], "adapter=lora is steered by no preference"),
        (["algo=ppo", "preference.weights=[0.5,0.4]"], r"preference.weights: the weights \[0.5,0.4\] must sum to 1"),
        (["algo=ppo", "preference.weights=[1]"], "preference.weights: .* give 2, one for each of help, safe"),
        (
            ["algo=ppo_lag", "scalarize.floors={safer: 0.9}"],
            "scalarize.floors: safer is no objective; there are help",
        ),
        (["algo=ppo_lag", "scalarize.floors=[0.9]"], r"scalarize.floors=\[0.9\]: must be a mapping"),
        (["algo=ppo_lag", "scalarize.floors={safe: high}"], "scalarize.floors.safe=high: must be a number"),
        (["algo=ppo_lag", "scalarize.floors={safe: 0.9, help: 0.1}"], "and leave one without"),
        (
            ["algo=ppo_lag", "scalarize.floors={safe: 0.9}", "preference.weights=[0.0,1.0]"],
            r"preference \[0,1\]: gives no weight to an objective without a floor",
        ),
        (["algo=ppo", "adapter=full", "model.quantization=4bit"], "adapter=full trains all of them"),
        (
            ["algo=ppo_lag", "scalarize.floors={safe: 0.9}", "algo.rollout.tracking=ema"],
            "puts floors under the reward, and algo.rollout.tracking moves it; set algo.rollout.tracking=none",
        ),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_trained(tmp_path, overrides, message):
    given = [*overrides, *SMALL, f"paths.runs={tmp_path / 'runs'}"]
    with pytest.raises(InputError, match=message):
        train(mora.compose(*given), given)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/policy"))


def test_the_regret_of_a_constrained_policy_says_its_floors(tmp_path, undrawn, capsys):
    given = ["algo=ppo_lag", *SMALL, "scalarize.floors={safe: 0.9}", f"paths.runs={tmp_path}"]
    given = [item for item in given if not item.startswith("evaluation.")] + ["evaluation=regret"]
    train(mora.compose(*given), given)
    (run,) = tmp_path.glob("ppo_lag-*")
    table = read_json(run / "tables" / "regret.json")
    for split in table["splits"].values():
        (point,) = split["scorers"]["gold"]["points"]
        floor = point["constraints"]["safe"]
        assert abs(floor["optimum"]) < 1e-6 < floor["multiplier"] and floor["policy"] < 0
        utility = point["utility"]
        assert max(utility["policy"], utility["reference"]) < utility["optimum"]
    summary = read_json(run / "status.json")["summary"]
    assert summary["multiplier/safe"] > 1 and summary["violation/safe"] > 0
    assert "floor safe" in capsys.readouterr().out
    assert "Floors under expected rewards" in (run / "report" / "index.html").read_text()


def test_a_floor_that_no_policy_reaches_is_told_by_its_name(tmp_path, undrawn, capsys):
    given = ["algo=ppo_lag", *SMALL, "scalarize.floors={safe: 5.0}", "scalarize.largest=1.0", f"paths.runs={tmp_path}"]
    given = [item for item in given if not item.startswith("evaluation.")] + ["evaluation=regret"]
    with pytest.raises(InputError, match="no policy reaches safe at least 5 on these prompts"):
        train(mora.compose(*given), given)
    assert "the multiplier of safe is as large as it may be" in capsys.readouterr().err


def test_where_all_weights_were_trained_a_policy_answers_without_its_base(runs, tmp_path, capsys):
    """The base is the reference policy alone: measuring needs it, answering does not."""
    run = tmp_path / folder(runs, "full").name
    shutil.copytree(folder(runs, "full"), run)
    given = [f"run={run}", "prompt=a e", "temperature=0"]
    generate(mora.compose(*given, command="generate"), given)
    assert capsys.readouterr().out.startswith("\na e\n  ")
    with pytest.raises(InputError, match="the base model .* is gone"):
        load_policy(run / "policy", torch.device("cpu"))
    policy, _ = load_policy(run / "policy", torch.device("cpu"), reference=False)
    with pytest.raises(RuntimeError, match="loaded without its reference policy"), policy.off():
        pass
