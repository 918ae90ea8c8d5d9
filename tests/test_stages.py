from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

import mora
from mora.errors import InputError
from mora.files import read_json, read_lines, write_json, write_lines
from mora.model.score_model import SCHEMA
from mora.run.plan import Stage, describe, plan, suited, texts
from mora.settings.tree import conf_dir
from tests.chain import ask, last

LABELS = ("objectives.names=[helpful,safe]",)


def planned(*overrides: str) -> list[Stage]:
    return plan(mora.compose(*overrides), list(overrides))


@lru_cache
def default() -> tuple[Stage, ...]:
    return tuple(planned())


def identity(*overrides: str) -> str:
    return planned(*overrides)[-1].id


def pairs_file(path: Path, last: str = "no") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = ["yes", "maybe", "never", last]
    rows = [
        {
            "prompt": f"q{i % 3}",
            "response_0": a,
            "response_1": a * 2,
            "helpful_response_id": i % 2,
            "safe_response_id": 1,
        }
        for i, a in enumerate(answers)
    ]
    write_lines(path, rows)
    return path


def small_model(folder: Path) -> Path:
    """A folder as of a model that was loaded; planning looks at its bytes alone."""
    write_json(folder / "small" / "config.json", {"model_type": "llama"})
    return folder / "small"


def test_what_does_not_change_the_result_does_not_change_the_run():
    overrides = [
        "paths.runs=elsewhere",
        "tracker=tensorboard",
        "runtime.micro_batch=3",
        "runtime.sample_batch=3",
        "runtime.save_every=7",
        "runtime.device_type=cpu",
        "runtime.fresh=true",
        "runtime.threads=2",
        "evaluation.prompts=3",
        "evaluation.temperature=0.5",
    ]
    assert [stage.id for stage in planned(*overrides)] == [stage.id for stage in default()]


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "algo.rollout.prompts=8",
        "model.config.hidden_size=32",
        "dataset.slope=3.0",
        "objectives.names=[care,cure]",
        "scalarize=tchebycheff",
        "preference=batch",
        "runtime.precision=bf16",
    ],
)
def test_what_changes_the_result_changes_the_run(override):
    assert identity(override) != default()[-1].id


def test_learning_rates_and_batch_sizes_are_those_of_the_model_in_every_stage(tmp_path):
    overrides = ["model=hf", f"model.path={small_model(tmp_path)}", "model.needs_sft=true", "reward=scalar"]
    stages = {stage.algo: stage for stage in planned(*overrides, "algo.critic_lr=0.003")}
    rates, sizes = (stages["sft"].config["model"][part] for part in ("rates", "sizes"))
    assert stages["sft"].config["algo"]["lr"] == rates["full"] < 1e-4
    assert stages["reward_model"].config["algo"]["lr"] == rates["trunk"] < 1e-4
    assert stages["panacea"].config["adapter"]["lr"] == rates["adapter"]
    assert stages["sft"].config["algo"]["batch_size"] == sizes["supervised"] < 128
    assert stages["reward_model"].config["algo"]["batch_size"] == sizes["pairs"] < 64
    assert stages["panacea"].config["algo"]["rollout"]["prompts"] == sizes["prompts"] < 64
    assert suited(stages["panacea"]) == (
        "adapter.lr 0.001, adapter.singular_lr 0.001, algo.rollout.prompts 16, adapter.rank 4, adapter.objective_rank "
        "4: as model=small has them (model.rates, model.sizes, model.steering); algo.critic_lr 0.003: set by this "
        "command"
    )
    assert stages["sft"].id.startswith("sft-small-")


def test_they_are_said_of_an_algorithm_that_fits_no_other_default():
    *_, exact = planned("experiment=oracle_exact")
    assert suited(exact).endswith("as model=micro has them (model.rates, model.sizes, model.steering)")


def test_a_learning_rate_of_another_algorithm_changes_no_run():
    assert identity("algo=sft", "model.rates.adapter=0.5") == identity("algo=sft")
    assert identity("algo=sft", "model.rates.full=0.5") == identity("algo=sft", "algo.lr=0.5") != identity("algo=sft")


def test_only_the_stages_that_a_setting_reaches_are_new():
    base = default()
    assert [stage.algo for stage in base] == ["sft", "reward_model", "panacea"]

    def new(*overrides: str) -> list[bool]:
        return [a.id != b.id for a, b in zip(planned(*overrides), base, strict=True)]

    assert new("risk=cvar") == [False, False, True]
    assert new("adapter.lr=0.5") == [False, False, True]
    assert new("reward=scalar") == [False, True, True]
    assert new("start.reward_model=['algo.lr=0.5']") == [False, True, True]
    assert new("start.sft=['algo.lr=0.5']") == [True, True, True]
    assert new("seed=1") == [True, True, True]


def test_upstream_runs_stand_in_the_identity():
    sft, reward, panacea = default()
    assert reward.identity["upstream"] == {"policy": sft.id}
    assert panacea.identity["upstream"] == {"policy": sft.id, "reward": reward.id}
    assert panacea.upstream == {"policy": str(sft.path / "model"), "reward": str(reward.path / "reward")}


def test_a_stage_is_the_run_that_its_own_command_makes():
    """Each stage's recorded overrides, given to the command line, plan a run of the same name."""
    overrides = ("seed=2", "reward=scalar", "start.sft=['algo.lr=0.5']", "risk=cvar", "algo.steps=3")
    stages = planned(*overrides)
    for stage in stages:
        assert identity(*stage.overrides) == stage.id
    assert identity("algo=sft", "seed=2", "algo.lr=0.5") == stages[0].id
    assert identity("algo=sft") == default()[0].id
    assert identity("algo=reward_model") == default()[1].id


def test_a_run_bears_the_name_of_the_reward_that_was_chosen():
    """Not that of its class, which several choices share; what is made for it bears its own."""
    assert [stage.slug for stage in planned("reward=hk9", "start.reward_model=['algo.lr=0.1']")] == [
        "sft-tiny-garden",
        "reward_model-tiny-garden-hk9",
        "panacea-tiny-garden-hk9",
    ]
    teacher, student = planned("algo=reward_model", "reward=pseudo")[1:]
    assert (teacher.slug, student.slug) == ("reward_model-tiny-garden-ensemble", "reward_model-tiny-garden-pseudo")
    assert planned("experiment=oracle")[-1].slug == "panacea-micro-oracle-gold"  # chosen by the experiment
    nested = planned("algo=reward_model", "reward=ensemble", "reward@reward.member=qr")[-1]
    assert nested.slug == "reward_model-tiny-garden-ensemble"


def test_what_departs_from_the_defaults_is_told_of_the_algorithm_of_the_run():
    for stage in planned("seed=3", "start.reward_model=['algo.lr=0.1']", "start.sft=[]"):
        found = OmegaConf.to_container(OmegaConf.create(texts(stage)["diff"]))
        own = {"algo.lr": {"default": 7.0e-4, "value": 0.1}} if stage.algo == "reward_model" else {}
        assert found.pop("start.reward_model")["value"] == ["algo.lr=0.1"]
        seed = {"default": 0, "value": 3}
        assert found == {"seed": seed, "runtime.seed": seed, **own}


def test_the_data_counts_by_content_not_by_place(tmp_path):
    one, copy = pairs_file(tmp_path / "a.jsonl"), pairs_file(tmp_path / "sub" / "b.jsonl")
    other = pairs_file(tmp_path / "c.jsonl", last="perhaps")
    ids = [identity("dataset=jsonl", f"dataset.path={path}", *LABELS) for path in (one, copy, other)]
    assert ids[0] == ids[1] != ids[2]
    shutil.copy(other, one)
    assert identity("dataset=jsonl", f"dataset.path={one}", *LABELS) == ids[2]


def test_training_says_what_it_cut(tmp_path, capsys, monkeypatch):
    from mora.train import train

    monkeypatch.setattr("mora.run.execute.report", lambda folder: None)
    rows = [
        {
            "prompt": f"question {i % 4} " * (20 if i % 4 == 0 else 1),
            "response_0": f"{i} " * 40,
            "response_1": "no",
            "helpful_response_id": 0,
        }
        for i in range(8)
    ]
    write_lines(tmp_path / "pairs.jsonl", rows)
    given = ["algo=sft", "algo.epochs=null", "algo.steps=2", "algo.batch_size=8", "algo.test_rows=1", "dataset=jsonl",
             f"dataset.path={tmp_path / 'pairs.jsonl'}", "dataset.test_share=0", "dataset.max_prompt=40",
             "dataset.max_response=12", "objectives.names=[helpful]", f"paths.runs={tmp_path / 'runs'}",
             "model.config.hidden_size=32", "model.config.intermediate_size=48"]  # fmt: skip
    train(mora.compose(*given), given)
    said = [line for line in capsys.readouterr().err.splitlines() if " cut " in line]
    assert len(said) == 2 and all(line.startswith("mora: sft-tiny-jsonl-") for line in said)
    assert said[0].endswith("prompts cut from the left to dataset.max_prompt=40 tokens")
    assert said[1].endswith("answers cut to dataset.max_response=12 tokens, end token kept")


def test_every_file_of_the_data_counts(tmp_path):
    pairs, rows = pairs_file(tmp_path / "pairs.jsonl"), tmp_path / "supervised.jsonl"
    command = ["dataset=jsonl", f"dataset.path={pairs}", f"dataset.supervised_path={rows}", *LABELS]
    write_lines(rows, [{"prompt": "q", "response": "a"}])
    before = identity(*command)
    write_lines(rows, [{"prompt": "q", "response": "b"}])
    assert identity(*command) != before


def test_never_refuses_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError, match="start.policy=never, and there is no finished run for it") as refused:
        planned("start.policy=never", "seed=3", "risk=cvar", f"paths.runs={tmp_path}")
    command = shlex.split(str(refused.value).splitlines()[-1])
    assert command[:3] == ["python", "-m", "mora.train"] and "algo=sft" in command and "risk=cvar" not in command
    assert identity(*command[3:]) == planned("seed=3", f"paths.runs={tmp_path}")[0].id


def test_never_is_content_with_a_finished_run(tmp_path):
    root = f"paths.runs={tmp_path}"
    sft = planned(root)[0]
    write_json(sft.path / "status.json", {"state": "running"})
    with pytest.raises(InputError, match="never"):
        planned(root, "start.policy=never")
    write_json(sft.path / "status.json", {"state": "finished"})
    assert planned(root, "start.policy=never")[-1].id == planned(root)[-1].id
    with pytest.raises(InputError, match="start.reward=never.*\n.*algo=reward_model"):
        planned(root, "start.reward=never")


def _run_of(stage: Stage, product: str) -> None:
    (stage.path / product).mkdir(parents=True)
    write_json(stage.path / "identity.json", stage.identity)
    (stage.path / "config.yaml").write_text(texts(stage)["config"])


def test_a_trunk_that_is_converted_is_named_and_counts(tmp_path):
    root, command = f"paths.runs={tmp_path}", ("algo=reward_model", "reward=gda", "algo.trunk=reward")
    with pytest.raises(InputError, match=r"name it, as in start\.trunk=runs/NAME"):
        planned(root, *command)
    for refused, settings in {
        r"start\.trunk=here is named, .* with algo\.trunk=reward": ("start.trunk=here",),
        r"start\.trunk=auto: .* name it": ("algo.trunk=reward", "start.trunk=auto"),
        r"start\.teacher=here is named, .* with reward\.source=teacher": ("start.teacher=here",),
        r"reward=hub trains nothing": ("algo.trunk=reward", "start.trunk=here", "reward=hub"),
        r"start\.ensemble: algo\.steps is no setting of the reward": ("reward=pseudo", "start.ensemble=[algo.steps=7]"),
        r"start\.sft: seed is no setting of the algo": ("start.sft=[seed=5]",),
    }.items():
        with pytest.raises(InputError, match=refused):
            planned(root, "algo=reward_model", *settings)
    reward = planned(root)[1]
    _run_of(reward, "reward")
    stages = planned(root, *command, f"start.trunk={reward.id}")
    assert [stage.algo for stage in stages] == ["sft", "reward_model"]
    assert Path(stages[-1].upstream["trunk"]) == reward.path / "reward"
    assert stages[-1].identity["upstream"] == {"policy": stages[0].id, "trunk": reward.id}
    chain = planned(root, "reward=gda", "start.reward_model=[algo.trunk=reward]", f"start.trunk={reward.id}")
    assert chain[1].id == stages[-1].id and identity(*chain[1].overrides) == chain[1].id


def test_kinds_within_kinds_reach_the_stage_that_trains_them():
    stages = planned("reward=ensemble", "reward@reward.member=qr", "reward.member.atoms=5")
    assert stages[1].config["reward"]["member"]["atoms"] == 5
    assert identity(*stages[1].overrides) == stages[1].id


def test_a_teacher_is_an_ensemble_that_is_trained_as_its_student():
    stages = planned("reward=pseudo", "start.ensemble=[reward.members=3]", "dataset.slope=9")
    assert [stage.algo for stage in stages] == ["sft", "reward_model", "reward_model", "panacea"]
    teacher, student = stages[1:3]
    assert teacher.config["reward"]["members"] == 3 and teacher.config["algo"] == student.config["algo"]
    assert student.identity["upstream"] == {"policy": stages[0].id, "teacher": teacher.id}
    for stage in stages[1:3]:
        assert identity(*stage.overrides) == stage.id


def test_a_teacher_with_one_score_per_answer_is_told_before_any_stage(tmp_path):
    """Named or made here; members, or quantiles, are several."""
    from mora.reward.card import section_of
    from mora.reward.scalar import Scalar
    from mora.run.execute import _teacher_warnings

    command = (f"paths.runs={tmp_path}", "algo=reward_model", "reward=pseudo")

    def told(*settings: str) -> list[str]:
        stages = planned(*command, *settings)
        return [warning for stage in stages for warning in _teacher_warnings(stage, stages)]

    teacher = planned(command[0], "algo=reward_model", "reward=scalar")[-1]
    _run_of(teacher, "reward")
    reward = section_of(Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0))
    card = {"schema": SCHEMA, "kind": "scalar", "reward": reward}
    write_json(teacher.path / "reward" / "reward.json", card | {"standardization": {}})
    (warning,) = told(f"start.teacher={teacher.id}")
    assert f"start.teacher={teacher.id}: a scalar reward gives an answer one score" in warning
    assert len(told("start.ensemble=[reward.members=1]")) == 1
    assert told() == told("start.ensemble=[reward.members=1,reward@reward.member=qr]") == []
    with pytest.raises(InputError, match=r"start\.teacher=.*: its scores have no units that reward=pseudo could learn"):
        told("model=minilm")
    write_json(teacher.path / "reward" / "reward.json", card)
    with pytest.raises(InputError, match=r"start\.teacher=.*: its scores have no units that reward=pseudo could learn"):
        told(f"start.teacher={teacher.id}")


@pytest.mark.parametrize("gain", ["scalarize=lagrangian scalarize.floors={safe:0.5}", "scalarize=tchebycheff"])
def test_rewards_that_are_standardized_one_by_one_are_weighed_and_nothing_else(gain):
    """A multiplier would be rescaled by another deviation than that of the reward it is held against."""
    from mora.run.meaning import refuse_without_meaning

    given = ("dataset=oracle_constraint", "reward=gold", "preference=fixed", "adapter=lora")
    with pytest.raises(InputError, match="algo=gdpo divides each reward by a deviation of its own"):
        refuse_without_meaning(planned("algo=gdpo", *given, *gain.split())[-1])
    refuse_without_meaning(planned("algo=grpo", *given, *gain.split())[-1])
    refuse_without_meaning(planned("algo=gdpo", *given)[-1])


def test_settings_for_runs_that_are_not_made_are_told():
    from mora.run.execute import _unused_starts

    unused = "start.reward_model: this command makes no run of reward_model, so it changes nothing"
    assert _unused_starts(planned("algo=reward_model", "start.reward_model=[algo.lr=0.1]")) == [unused]
    assert _unused_starts(planned("reward=gold", "start.reward_model=[algo.lr=0.1]")) == [unused]
    assert _unused_starts(planned("start.reward_model=[algo.lr=0.1]", "start.sft=[algo.lr=0.1]")) == []
    assert _unused_starts(planned("experiment=quick", "reward=gold")) == []  # an experiment's, not the command's


def test_settings_of_a_reward_model_without_meaning_are_refused_before_any_stage():
    from mora.run.meaning import refuse_stage_without_meaning

    for refused, settings in {
        r"algo\.sharing=lora with a reward that is solved": ("reward=gda", "algo.sharing=lora"),
        r"algo\.token_wise=true with a rating reward": ("reward=rating", "algo.token_wise=true"),
        r"copies of one frozen trunk": ("reward=ensemble", "reward.sharing=lora", "algo.sharing=separate"),
        r"reward\.members=0": ("reward=ensemble", "reward.members=0"),
        r"reward@reward\.member=qr": ("reward=ensemble", "reward.member=qr"),
        r"there is no model to train": ("reward=gold",),
        r"reward\.signed: cares is no objective": ("reward=cost", "reward.signed=[cares]"),
        r"algo\.batch_size=0": ("algo.batch_size=0",),
        r"algo\.steps=3, algo\.epochs=1": ("algo.steps=3",),
        r"algo\.lora\.rank=0": ("algo.lora.rank=0",),
    }.items():
        with pytest.raises(InputError, match=refused):
            for stage in planned("algo=reward_model", *settings):
                refuse_stage_without_meaning(stage)


def test_a_dataset_without_objectives_trains_no_reward(tmp_path):
    from mora.run.meaning import refuse_without_meaning

    (tmp_path / "alpaca.json").write_text("[]")
    alpaca = ("dataset=alpaca", f"dataset.path={tmp_path / 'alpaca.json'}")
    with pytest.raises(InputError, match=r"objectives.names=\[\]: alpaca labels nothing"):
        refuse_without_meaning(planned(*alpaca)[-1])
    refuse_without_meaning(planned("algo=sft", *alpaca)[-1])


def test_a_run_may_be_named_by_path_or_by_id(tmp_path):
    """It stands for what auto would have made: the run that starts from it is the same."""
    root = f"paths.runs={tmp_path}"
    sft, reward, panacea = planned(root)
    _run_of(sft, "model")
    for name in (sft.id, str(sft.path), f"{sft.path}/"):
        found = planned(root, f"start.policy={name}")
        assert found[-1].id == panacea.id
        assert Path(found[-1].upstream["policy"]) == sft.path / "model" and "sft" not in [s.algo for s in found]
    _run_of(reward, "reward")
    only = planned(root, f"start.policy={sft.id}", f"start.reward={reward.id}")
    assert [stage.id for stage in only] == [panacea.id]


def test_a_run_without_the_product_is_refused(tmp_path):
    sft, *_ = planned(f"paths.runs={tmp_path}")
    _run_of(sft, "checkpoints")
    with pytest.raises(InputError, match="that run holds no model/; name a finished run that does"):
        planned(f"paths.runs={tmp_path}", f"start.policy={sft.id}")


def test_a_named_folder_counts_by_its_content(tmp_path):
    def folder(name: str, weights: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(weights)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "README.md").write_text(name)
        return tmp_path / name

    ids = [identity(f"start.policy={folder(n, w)}") for n, w in (("a", "1"), ("b", "1"), ("c", "2"))]
    assert ids[0] == ids[1] != ids[2] and default()[-1].id not in ids


def test_classifiers_count_by_their_content_tokenizer_and_template_included(tmp_path):
    def folder(name: str, template: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("weights")
        (tmp_path / name / "chat_template.jinja").write_text(template)
        return tmp_path / name

    def ids(path: Path) -> list[str]:
        models = [f"reward.models.cure.path={path}", "reward.models.cure.label=0", "reward.models.care=org/model"]
        return [stage.id for stage in planned("reward=hub", *models)]

    one, copy, other = (ids(folder(n, t)) for n, t in (("a", "1"), ("b", "1"), ("c", "2")))
    assert one == copy and one[0] == other[0] and one[1] != other[1] and one[2] != other[2]
    whole = f"reward.models={{cure: {{path: '{tmp_path / 'a'}', label: 0}}, care: {{path: org/model}}}}"
    assert [stage.id for stage in planned("reward=hub", whole)] == one
    short = whole.replace("{path: org/model}", "org/model")
    assert [stage.id for stage in planned("reward=hub", short)] == one


def test_objectives_and_classifiers_must_match_before_anything_is_trained():
    from mora.run.meaning import refuse_stage_without_meaning

    with pytest.raises(InputError, match="no model for cure, care"):
        refuse_stage_without_meaning(planned("reward=hub")[-1])
    with pytest.raises(InputError, match="has rude, but the objectives are cure, care"):
        models = "reward.models={cure: org/one, care: org/two, rude: org/three}"
        refuse_stage_without_meaning(planned("algo=reward_model", "reward=hub", models)[-1])


def test_a_hub_id_is_taken_as_it_is():
    stages = planned("start.policy=owner/model")
    assert "sft" not in [stage.algo for stage in stages]
    assert stages[-1].upstream["policy"] == stages[-1].identity["upstream"]["policy"] == "owner/model"
    assert stages[-1].id != planned("start.policy=owner/other")[-1].id


@pytest.mark.parametrize("start", ["start.reward=nowhere", "start.policy=./nowhere", "start.policy=/no/where"])
def test_what_is_not_there_is_refused(start):
    with pytest.raises(InputError, match=f"{start}: no such run or folder"):
        planned(start)


def test_gold_plans_no_reward_stage():
    stages = planned("reward=gold")
    assert [stage.algo for stage in stages] == ["sft", "panacea"]
    assert set(stages[-1].upstream) == {"policy"}


@pytest.mark.parametrize("policy", ["auto", "never"])
def test_a_model_that_needs_no_fine_tuning_starts_from_itself(policy):
    stages = planned("model=qwen2_5_0_5b", "model.needs_sft=false", f"start.policy={policy}")
    assert [stage.algo for stage in stages] == ["reward_model", "panacea"]
    assert "policy" not in stages[-1].upstream


def test_random_weights_are_no_policy():
    with pytest.raises(InputError, match="random weights"):
        planned("model.needs_sft=false")


@pytest.mark.parametrize("reward", sorted(path.stem for path in (conf_dir() / "reward").glob("*.yaml")))
def test_every_reward_kind_goes_with_the_mean(reward):
    from mora.run.meaning import refuse_without_meaning

    more = {"hub": "reward.models={cure: org/one, care: org/two}", "rules": "objectives=garden"}
    models = [more[reward]] if reward in more else []
    refuse_without_meaning(planned(f"reward={reward}", *models)[-1])


def test_quantiles_without_tails_have_no_tail_risk():
    from mora.run.meaning import refuse_without_meaning

    with pytest.raises(InputError, match="cvar"):
        refuse_without_meaning(planned("reward=hk9", "risk=cvar")[-1])


def test_hierarchical_pessimism_is_an_experiment_and_says_where_it_is_plain(capsys):
    from mora.run.meaning import refuse_without_meaning

    def said(*overrides):
        stage = planned("experiment=hierarchical", *overrides)[-1]
        refuse_without_meaning(stage)
        lines = capsys.readouterr().err.splitlines()  # what other libraries log is not ours
        return stage.config, "\n".join(line for line in lines if line.startswith("mora"))

    config, warnings = said("reward=qr")
    assert config["risk"]["_target_"].endswith(".entropic") and config["scalarize"]["_target_"].endswith(".Minimum")
    assert warnings == ""
    config, _ = said("reward=qr", "risk=cvar", "scalarize.augment=0.2")
    assert config["risk"]["_target_"].endswith(".cvar") and config["scalarize"]["augment"] == 0.2
    _, warnings = said("reward=scalar")
    assert "the same as risk=mean" in warnings and "across objectives alone" in warnings


def test_rollouts_that_contradict_themselves_are_refused_before_any_stage():
    from mora.run.meaning import refuse_without_meaning

    with pytest.raises(InputError, match="two units"):
        refuse_without_meaning(planned("algo.rollout.tracking=ema", "algo.rollout.normalize_rewards=true")[-1])
    with pytest.raises(InputError, match="samples to 2 or more"):
        refuse_without_meaning(planned("algo.rollout.center_by_prompt=true", "algo.rollout.samples=1")[-1])


def test_floors_of_an_algorithm_without_rollouts_are_refused():
    from mora.run.meaning import refuse_without_meaning

    exact = planned("experiment=oracle_exact", "scalarize=lagrangian", "scalarize.floors={r2: 0.5}")[-1]
    with pytest.raises(InputError, match=r"learns multipliers from rollouts: .* rloo_lag, panacea_lag or hc_rlhf"):
        refuse_without_meaning(exact)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=oracle", "scalarize.rectified=true"], "no optimum under such floors is known"),
        (["scalarize.from_reference=true", "algo.kl_coef=0"], "algo.kl_coef=0 gives none"),
        (["scalarize.from_reference=true", "algo.kl_target=2.0"], "algo.kl_target=2.0 gives none"),
        (
            ["scalarize.from_reference=true", "scalarize.constant_kl=true"],
            "scalarize.constant_kl asks for another",
        ),
    ],
)
def test_floors_that_nothing_can_be_solved_or_measured_for_are_refused(overrides, message):
    from mora.run.meaning import refuse_without_meaning

    floors = ["dataset=oracle", "reward=gold", "objectives.names=[r1,r2,r3]", "scalarize.floors={r3: 0.5}"]
    with pytest.raises(InputError, match=message):
        refuse_without_meaning(planned(*overrides, "algo=panacea_lag", *floors)[-1])


def test_floors_that_leave_nothing_to_steer_are_told(capsys):
    from mora.run.meaning import refuse_without_meaning

    common = ("algo=panacea_lag", "dataset=oracle", "reward=gold", "scalarize.floors={r2: 0.5}")
    refuse_without_meaning(planned(*common)[-1])
    assert "leave one objective without a floor" in capsys.readouterr().err
    refuse_without_meaning(planned(*common, "objectives.names=[r1,r2,r3]")[-1])
    assert "leave one objective" not in capsys.readouterr().err


def test_a_plan_in_words(tmp_path):
    stages = planned(f"paths.runs={tmp_path}")
    (stages[0].path).mkdir(parents=True)
    write_json(stages[0].path / "status.json", {"state": "finished"})
    (stages[1].path / "checkpoints").mkdir(parents=True)
    words = [line.split()[:3] for line in describe(stages)]
    assert words == [["1.", "sft", "done"], ["2.", "reward_model", "continues"], ["3.", "panacea", "to"]]


def test_planning_imports_no_torch():
    code = (
        "import sys, mora; from mora.run.plan import plan, describe\n"
        "print(*describe(plan(mora.compose('seed=4'), ['seed=4'])))\n"
        "assert not {'torch', 'transformers', 'numpy', 'accelerate'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "panacea" in done.stdout


def test_the_chain_finishes_every_stage_with_its_product(chain):
    overrides, stages = chain
    assert [stage.algo for stage in stages] == ["sft", "reward_model", "panacea"]
    assert all(stage.finished for stage in stages)
    products = ["model/model.safetensors", "reward/reward.json", "policy/adapter.safetensors"]
    assert all((stage.path / product).is_file() for stage, product in zip(stages, products, strict=True))
    assert [len(read_lines(stage.path / "metrics.jsonl")) for stage in stages] == [2, 2, 2]


def test_every_logged_metric_stands_in_the_table_of_metrics(chain):
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for stage in chain[1]:
        for name in read_lines(stage.path / "metrics.jsonl")[0]:
            objective = name.rpartition("/")[2]
            general = f"{name.rpartition('/')[0]}/<objective>" if objective in ("cure", "care") else name
            general = general.replace("cure.care", "<objective>.<objective>")
            assert f"`{general}`" in page, f"docs/metrics.md does not explain {general} of {stage.algo}"


def test_the_chain_writes_the_front_and_the_report(chain):
    path = last(chain).path
    table = read_json(path / "tables" / "front.json")
    assert table["run"] == last(chain).id and table["smoke"] is True and table["judge"] == "gold"
    assert [point["preference"] for point in table["points"]] == [[1, 0], [0.5, 0.5], [0, 1]]
    assert table["reference"]["kl"] == 0 and table["prompts"] == 4 and table["samples_per_prompt"] == 2
    assert set(table["indicators"]) == {"gold", "reward"}
    assert table["scorers"]["reward"]["run"] == chain[1][1].id
    samples = read_lines(path / "tables" / "samples.jsonl")
    assert len(samples) == 4 * 2 * 4 and {json.dumps(s["preference"]) for s in samples} > {"null"}
    page = (path / "report" / "index.html").read_text()
    assert "<html" in page and last(chain).id in page


def test_the_same_command_again_does_nothing(chain):
    from mora.train import train

    overrides, stages = chain
    before = {file: file.stat().st_mtime_ns for file in last(chain).path.rglob("*") if file.is_file()}
    train(mora.compose(*overrides), overrides)
    assert {file: file.stat().st_mtime_ns for file in last(chain).path.rglob("*") if file.is_file()} == before


def test_evaluating_again_gives_the_same_front_and_another_seed_another(chain, monkeypatch):
    """The report, which takes longest and is the same code as after training, is only asked for."""
    import mora.run.execute

    reported = []
    monkeypatch.setattr(mora.run.execute, "report", lambda folder: reported.append(folder.id))
    file = last(chain).path / "tables" / "front.json"
    before = read_json(file)
    evaluation = [o for o in chain[0] if o.startswith("evaluation.")]
    ask("evaluate", chain, *evaluation)
    assert read_json(file) == before
    ask("evaluate", chain, *evaluation, "seed=1", "evaluation.prompts=3")
    assert read_json(file)["prompts"] == 3 and read_json(file)["points"] != before["points"]
    assert reported == [last(chain).id] * 2


def test_generating_answers_every_prompt_under_every_preference(chain, capsys):
    ask(
        "generate",
        chain,
        'prompt=["slugs eat my rose near the cat","ants"]',
        "preference=[[1,0],[0.25,0.75]]",
        "samples=2",
        "max_new_tokens=5",
    )
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line and not line.startswith(" ")]
    cut = sum(line.endswith("  [cut off]") for line in lines)
    assert said[:2] == ["slugs eat my rose near the cat", "ants"] and cut > 0
    assert said[2:] == [f"{cut} of 8 answers were cut off at 5 tokens (max_new_tokens)"]
    answers = [line.split("]")[0].strip() for line in lines if line.startswith("  [")]
    assert answers == ["[cure 1.00 care 0.00"] * 2 + ["[cure 0.25 care 0.75"] * 2 + answers[:4]
    texts = [line.removesuffix("  [cut off]").split("]")[1].split() for line in lines if line.startswith("  [")]
    assert all(len(words) <= 5 for words in texts)


def test_a_preference_for_another_number_of_objectives_is_refused(chain):
    for module in ("generate", "export"):
        with pytest.raises(InputError, match="give 2 weights, one for each of cure, care"):
            ask(module, chain, "preference=[0.2,0.3,0.5]")


def test_a_run_without_a_policy_cannot_be_steered(chain):
    from mora.run.opened import open_policy

    with pytest.raises(InputError, match="holds no policy"):
        open_policy(chain[1][0].id, str(last(chain).path.parent))


def test_exported_folders_are_stock_models_at_one_preference(chain, tmp_path):
    from peft import PeftModel

    from mora.run.opened import open_policy

    ask("export", chain, "preference=[0.3,0.7]", f"out={tmp_path / 'lora'}", "pad_rank=16")
    ask("export", chain, "preference=[0.3,0.7]", "to=merged", f"out={tmp_path / 'merged'}")
    opened = open_policy(last(chain).id, str(last(chain).path.parent))
    ids = torch.randint(5, 40, (2, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), opened.policy.adapter.using(torch.tensor([[0.3, 0.7]] * 2)):
        live = opened.policy.model(input_ids=ids).logits
    base = AutoModelForCausalLM.from_pretrained(chain[1][0].path / "model")
    config = read_json(tmp_path / "lora" / "adapter_config.json")
    assert Path(config["base_model_name_or_path"]).resolve() == (chain[1][0].path / "model").resolve()
    for model in (
        PeftModel.from_pretrained(base, tmp_path / "lora").eval(),
        AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval(),
    ):
        with torch.no_grad():
            assert (model(input_ids=ids).logits - live).abs().max() < 1e-5
    with pytest.raises(InputError, match="exists and is not empty"):
        ask("export", chain, "preference=[0.3,0.7]", f"out={tmp_path / 'lora'}")


def test_runs_may_be_moved_and_used_from_anywhere(chain, tmp_path, monkeypatch):
    """The policy finds its base in the folder beside it."""
    from mora.run.opened import open_policy

    moved = shutil.copytree(last(chain).path.parent, tmp_path / "moved")
    stored = read_json(moved / last(chain).id / "policy" / "adapter.json")["base"]
    assert stored == f"../../{chain[1][0].id}/model"
    monkeypatch.chdir(tmp_path)
    opened = open_policy(last(chain).id, "moved")
    assert opened.objectives == ["cure", "care"]


def test_the_reward_model_of_a_run_is_found_where_it_was_named(chain, tmp_path):
    """Beside the run, as the run elsewhere that was named, or as a plain folder."""
    from mora.run.measure import reward_folder
    from mora.runtime.folder import RunFolder

    reward = chain[1][1]
    folder = RunFolder.find(last(chain).id, last(chain).path.parent)
    config = dict(last(chain).config)
    assert reward_folder(folder, config) == reward.path / "reward"
    elsewhere = RunFolder(path=tmp_path / folder.id, _identity={"upstream": {"reward": reward.id}})
    config["start"] = {"reward": str(reward.path)}
    assert reward_folder(elsewhere, config) == reward.path / "reward"
    plain = RunFolder(path=tmp_path / folder.id, _identity={"upstream": {"reward": {"reward.json": "hash"}}})
    config["start"] = {"reward": str(reward.path / "reward")}
    assert reward_folder(plain, config) == reward.path / "reward"
    config["start"] = {"reward": str(tmp_path / "gone")}
    with pytest.raises(InputError, match="is gone"):
        reward_folder(plain, config)


def test_what_a_run_was_made_with_is_said_of_every_algorithm():
    """The defaults of an algorithm need not fit each other: `algo=exact` alone enumerates no garden."""
    *_, last = planned("algo=exact", "dataset=oracle", "reward=gold", "model=micro")
    assert "dataset.name" in texts(last)["diff"]
