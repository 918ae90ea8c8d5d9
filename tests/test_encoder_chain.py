"""An encoder as the trunk of the reward model, and a policy of another tokenizer that is trained on its scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import mora
from mora.errors import InputError
from mora.evaluate import evaluate
from mora.export import export
from mora.files import read_json, read_lines, write_lines
from mora.functional.risk import mean
from mora.functional.thinning import evenly
from mora.reward.quality import quick_quality
from mora.reward.scorer import ModelScorer
from mora.run.build import build, load_corpus
from mora.run.meaning import refuse_stage_without_meaning
from mora.run.measure import FinishedRun
from mora.run.plan import plan
from mora.runtime.folder import RunFolder
from mora.score import score
from mora.train import train
from mora.types import Sampled
from tests.chain import chain_options, without_pictures
from tests.reward.classifiers import classifier

REWARD = ("algo=reward_model", "reward=scalar")
LIMITS = ("dataset.max_prompt=24", "dataset.max_response=20", "dataset.overlong=cut_answer")


def options(root: Path, encoder: Path) -> list[str]:
    kept = [item for item in chain_options(root) if not item.startswith("start.reward_model")]
    model, steps = f"'model=minilm','model.path={encoder}'", "'algo.epochs=null','algo.steps=2','algo.batch_size=16'"
    reward = f"start.reward_model=[{model},{steps},'algo.freeze_trunk=true']"
    return [*kept, *LIMITS, "reward=scalar", reward, "algo.reference_prompts=4"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoder")
    overrides = options(root / "runs", classifier(root / "bert", "bert"))
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        train(mora.compose(*overrides), overrides)
    return overrides, plan(mora.compose(*overrides), overrides)


def test_the_reward_model_is_that_of_the_encoder_and_stands_on_no_policy(chain) -> None:
    sft, reward, panacea = chain[1]
    assert all(stage.finished for stage in chain[1])
    assert reward.upstream == {} and "minilm" in reward.id and "minilm" not in panacea.id
    card = read_json(reward.path / "reward" / "reward.json")
    assert card["pooling"] == "mean" and card["standardization"] is None
    table = read_json(reward.path / "tables" / "reward.json")
    assert table["units"]["agreement"] == "logits"


def test_its_tables_are_those_of_the_stored_model_and_not_of_some_features(chain) -> None:
    reward = chain[1][1]
    (trunk,) = (reward.path.parent / ".features").iterdir()  # the stored trunk is the one that was read in training
    assert len(list(trunk.glob("*.safetensors"))) == 2
    scorer, rows = ModelScorer.load(reward.path / "reward", "cpu"), load_corpus(reward.config).pairs["test"]
    assert scorer.features is None
    found = quick_quality(scorer, rows)
    table = read_json(reward.path / "tables" / "reward.json")
    for name in ("cure", "care"):
        assert table["accuracy"][name]["value"] == pytest.approx(found[name]["accuracy"], abs=1e-9)
        assert table["log_loss"][name] == pytest.approx(found[name]["log_loss"], abs=1e-5)


def test_the_policy_measures_the_units_of_its_scores_itself(chain) -> None:
    sft, reward, panacea = chain[1]
    units = read_json(panacea.path / "policy" / "standardization.json")
    assert units["provenance"]["policy_run"] == sft.id and units["provenance"]["reward_run"] == reward.id
    assert all(deviation > 0 for deviation in units["std"])
    front = read_json(panacea.path / "tables" / "front.json")
    assert {"gold", "reward"} <= set(front["indicators"])
    scorer = ModelScorer.load(reward.path / "reward", "cpu")
    for line in read_lines(panacea.path / "tables" / "samples.jsonl")[:6]:
        raw = scorer.raw([line["prompt"]], [line["response"]], Sampled(ended=(line["ended"],))).atoms[0, :, 0].tolist()
        own = [(score - mean) / std for score, mean, std in zip(raw, units["mean"], units["std"], strict=True)]
        assert line["reward"] == pytest.approx(own, abs=1e-3)


def test_what_an_encoder_scores_has_its_own_unit_and_no_classifier_stands_for_it(chain, tmp_path, capsys) -> None:
    reward = chain[1][1]
    write_lines(tmp_path / "in.jsonl", [{"prompt": "a b", "response": "c d"}, {"prompt": "a b", "response": "e f"}])
    given = [f"run={reward.id}", f"paths.runs={reward.path.parent}"]
    files = [f"input={tmp_path / 'in.jsonl'}", f"output={tmp_path / 'out.jsonl'}"]
    score(mora.compose(*given, *files, command="score"), [*given, *files])
    assert "scores are in the unit of the model" in capsys.readouterr().out
    scored = read_lines(tmp_path / "out.jsonl")
    raw = mean(ModelScorer.load(reward.path / "reward", "cpu").raw(["a b", "a b"], ["c d", "e f"]))
    for row, expected in zip(scored, raw.tolist(), strict=True):
        assert [row["scores"][name]["mean"] for name in ("cure", "care")] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="reads the mean over all tokens of an encoder"):
        export(mora.compose(*given, "to=classifier", command="export"), [*given, "to=classifier"])


REFUSED = {
    "model=minilm is an encoder, which answers nothing: name a causal": ("algo=panacea", "model=minilm"),
    "model=minilm is an encoder, which answers nothing": ("algo=sft", "model=minilm"),
    "an imported reward takes units from the answers": ("algo=reward_model", "reward=hub", "model=minilm"),
    "an encoder knows at each of them what follows": (*REWARD, "model=minilm", "algo.token_wise=true"),
    "features of a frozen trunk are of whole answers": (*REWARD, "algo.freeze_trunk=true", "algo.token_wise=true"),
    "algo.freeze_trunk=true trains heads alone": (*REWARD, "algo.freeze_trunk=true", "algo.sharing=lora"),
    "algo.reference_prompts=0 with reward=hub": ("algo=reward_model", "reward=hub", "algo.reference_prompts=0"),
    "start.reward_model: a key of the model is set and no model is named": (
        "start.reward_model=[model.dtype=float32]",
    ),
    "is an encoder, and stands on no policy": (*REWARD, "model=minilm", "start.policy=x/y"),
    "holds a frozen policy, and the features": (*REWARD, "algo.freeze_trunk=true", "model.quantization=4bit"),
    "start.reward_model: dataset is no setting of the algo or of the model": ("start.reward_model=[dataset=oracle]",),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_means_nothing_is_said_before_anything_is_made(said, tmp_path) -> None:
    one = classifier(tmp_path / "one", labels=("help",)) if "reward=hub" in REFUSED[said] else None
    hub = [] if one is None else [f"reward.models.{name}.path={one}" for name in ("cure", "care")]
    overrides = [*REFUSED[said], *hub, f"paths.runs={tmp_path / 'runs'}"]
    with pytest.raises(InputError) as error:
        for stage in plan(mora.compose(*overrides), overrides):
            refuse_stage_without_meaning(stage)
    assert said in str(error.value) and not (tmp_path / "runs").exists()


def test_a_safety_test_scores_in_the_own_units_of_the_reward_model(chain) -> None:
    """What training standardizes is put back: the means of its raw scores, of answers drawn alike."""
    panacea = chain[1][2]
    given = [f"run={panacea.path}", "evaluation=safety", "evaluation.scorer=reward", "evaluation.floors={care: -100}"]
    given += ["evaluation.preferences=[[1,0],[0,1]]", "evaluation.prompts=5"]
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        evaluate(mora.compose(*given, command="evaluate"), given)
    table = read_json(panacea.path / "tables" / "safety.json")
    assert table["judge"] == "reward" and table["solution"] and table["prompts"] == 5
    run = FinishedRun(folder=RunFolder.find(panacea.path, ""), config=panacea.config, seed=0)
    front = build(mora.compose("evaluation=front", command="evaluate").evaluation)
    asked = evenly(run.corpus.prompts["test"], 5)
    front = replace(front, prompts=5, samples=1, resamples=0, preferences=[[1.0, 0.0], [0.0, 1.0]])
    _, samples = run.answers(front, asked)
    scorer = ModelScorer.load(chain[1][1].path / "reward", "cpu")
    for point in table["points"]:
        own = [row for row in samples if row["preference"] == point["preference"]]
        sampled = Sampled(ended=tuple(row["ended"] for row in own))
        raw = mean(scorer.raw([r["prompt"] for r in own], [r["response"] for r in own], sampled))[:, 1]
        assert point["constraints"]["care"]["mean"] == pytest.approx(float(raw.mean()), abs=1e-3)
