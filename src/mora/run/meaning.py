"""Settings that mean nothing together, refused before any stage is trained; and where two of them coincide, said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mora.errors import InputError
from mora.functional import risk as risks
from mora.functional import scalarize as scalarizers
from mora.functional.advantages import gd2po, gdpo
from mora.functional.lagrangian import Lagrangian
from mora.reward import HeadKind, RewardKind, TrainedKind
from mora.reward.discriminant import Discriminant
from mora.run.build import build, load_corpus
from mora.run.plan import Stage
from mora.runtime.console import say
from mora.runtime.rollout import RolloutSettings


def refuse_without_meaning(stage: Stage) -> None:
    """Refuse combinations of groups that mean nothing, before any stage is trained; say where two settings coincide.

    Raises InputError.
    """
    if "reward" in stage.identity and not stage.config["objectives"]["names"]:
        name = stage.config["dataset"]["name"]
        raise InputError(
            f"objectives.names=[]: {name} labels nothing, so there is nothing to reward: name what a reward model of "
            "another dataset scores (objectives.names=[...] start.reward=RUN), or train on its answers with algo=sft"
        )
    if "risk" in stage.identity:
        reward, risk = build(stage.config["reward"]), build(stage.config["risk"])
        for warning in risks.check(risk, *reward.shape):
            say(warning)
        _refuse_gain_without_meaning(stage, reward)
    evaluation = stage.config["evaluation"]
    evaluator = build(evaluation)
    if evaluation["takes"] == "runs":
        raise InputError(
            "a comparison takes finished runs: python -m mora.evaluate evaluation=compare runs=[...], or "
            "evaluation=compare_rewards for reward models"
        )
    if evaluation["takes"] == "finished_run":
        name, product = stage.choices["evaluation"], evaluation["measures"]
        raise InputError(
            f"evaluation={name} takes a finished {product} run: python -m mora.evaluate run={product.upper()}_RUN "
            f"evaluation={name} ..."
        )
    if not hasattr(evaluator, "measure_run"):
        raise InputError(
            f"evaluation._target_={evaluation['_target_']}: has no method measure_run(run), by which it would measure; "
            "docs/adding.md has an example"
        )


def _refuse_gain_without_meaning(stage: Stage, reward: RewardKind) -> None:
    """Refuse what scalarizer, preference, adapter and rollout do not mean together.  Raises InputError."""
    objectives = stage.config["objectives"]["names"]
    scalarize, preference, adapter = (build(stage.config[name]) for name in ("scalarize", "preference", "adapter"))
    rollout = build(stage.config["algo"].get("rollout", {}))
    for warning in scalarizers.check(scalarize, objectives=len(objectives), atoms=reward.shape.atoms):
        say(warning)
    _refuse_estimator(stage, scalarize)
    if not adapter.steered and not preference.fixed:
        raise InputError(
            f"adapter={adapter.kind} is steered by no preference, and preference={preference.unit} draws many: set "
            "preference=fixed, or adapter=svd_lora"
        )
    if adapter.whole and stage.config["model"]["quantization"] is not None:
        raise InputError(
            f"model.quantization={stage.config['model']['quantization']} holds weights that stay as they are, and "
            "adapter=full trains all of them; set it to null, or use adapter=lora"
        )
    if adapter.steered and preference.fixed:
        say(f"adapter={adapter.kind} with preference=fixed: no other preference is trained, so it steers nowhere")
    if isinstance(scalarize, Lagrangian):
        _refuse_floors(stage, scalarize, reward)
    if isinstance(rollout, RolloutSettings):
        rollout.check(reward.shape.kind, reward.has_zero(objectives))
        rollout.check_scalarize(scalarize)
        scalarizers.check_sharing(scalarize, preference.unit, prompts=rollout.prompts, samples=rollout.samples)


def _refuse_floors(stage: Stage, scalarize: Lagrangian, reward: RewardKind) -> None:
    """Refuse floors that nothing is maximized above, learns or measures.  Raises InputError."""
    algo, objectives = stage.config["algo"], stage.config["objectives"]["names"]
    preference = build(stage.config["preference"])
    scalarize.check(objectives, [preference.of(len(objectives)).tolist()] if preference.fixed else [])
    zeros = dict(zip(objectives, reward.has_zero(objectives), strict=True))
    open_units = isinstance(reward, HeadKind) and not reward.reads_ratings
    for name in scalarize.floors if open_units else ():
        if not zeros[name]:
            say(
                f"scalarize.floors: pairs leave the zero and the unit of a {reward.name} reward open, so a floor "
                f"under {name} means little; reward=cost has a zero that means acceptable"
            )
    if not preference.fixed and len(scalarize.steered(objectives)) == 1:
        say(
            "scalarize.floors leave one objective without a floor: every preference is the same one, and nothing steers"
        )
    if not isinstance(build(algo.get("rollout", {})), RolloutSettings):
        raise InputError(
            "scalarize=lagrangian learns multipliers from rollouts: use an algorithm that makes them, such as "
            "algo=ppo_lag, rloo_lag, panacea_lag or hc_rlhf"
        )
    if scalarize.rectified and hasattr(build(stage.config["evaluation"]), "needs_kl"):
        raise InputError(
            "scalarize.rectified=true asks floors of every answer, and no optimum under such floors is known to "
            "compare with; use evaluation=front"
        )
    unpriced = {"kl_coef": algo.get("kl_coef") == 0, "kl_target": algo.get("kl_target") is not None}
    for key in (key for key, wrong in unpriced.items() if wrong and scalarize.from_reference):
        raise InputError(
            f"scalarize.from_reference=true solves a dual at one KL weight above 0, and algo.{key}={algo[key]} gives "
            "none; set algo.kl_coef above 0 and algo.kl_target=null"
        )


def _refuse_estimator(stage: Stage, scalarize: object) -> None:
    """Refuse rewards that are standardized one by one under anything but their weighted sum.  Raises InputError."""
    estimator = getattr(build(stage.config["algo"].get("estimator", {})), "func", None)
    if estimator in (gdpo, gd2po) and not isinstance(scalarize, scalarizers.Linear):
        raise InputError(
            f"algo={stage.algo} divides each reward by a deviation of its own before weights are put on it, which "
            "rescales multipliers and other gains: use scalarize=linear, or algo=rloo, rloo_lag or grpo"
        )


def refuse_stage_without_meaning(stage: Stage) -> None:
    """Refuse settings of an algorithm, of a reward, and of training it, that mean nothing.  Raises InputError."""
    build(stage.config["algo"], _partial_=True)(context=None)
    if stage.config["model"]["encoder"]:
        _refuse_encoder(stage)
    if "reward" not in stage.identity:
        return
    kind = build(stage.config["reward"])
    given = stage.config["reward"]["origin"]
    if kind.origin != given:
        raise InputError(f"reward.origin={given}: a {kind.name} reward is {kind.origin}; say so in its YAML")
    kind.check(stage.config["objectives"]["names"])
    if stage.produces == "reward":
        _refuse_training_without_meaning(stage, kind)


def _refuse_encoder(stage: Stage) -> None:
    """Refuse an encoder as anything but the trunk of a reward model.  Raises InputError."""
    name = stage.config["model"]["name"]
    if stage.produces != "reward":
        raise InputError(
            f"model={name} is an encoder, which answers nothing: name a causal language model, and take the encoder "
            f"for its reward model with start.reward_model=[model={name}]"
        )
    if stage.config["reward"]["origin"] == "imported":
        raise InputError(
            f"model={name} is an encoder, and an imported reward takes units from the answers of a language model: "
            "name one"
        )


def _refuse_training_without_meaning(stage: Stage, kind: RewardKind) -> None:
    """Refuse to train what is not trained, and settings that do not suit a kind.  Raises InputError."""
    algo = stage.config["algo"]
    if kind.origin == "imported" and not algo.get("reference_prompts", 1):
        raise InputError(
            f"algo.reference_prompts=0 with reward={kind.name}: its units on the reference policy are all that such a "
            "run measures; set it to 1 at least"
        )
    if kind.origin == "rules":
        raise InputError(
            f"reward={kind.name} is made of rules: there is no model to train; use algo=panacea reward={kind.name}"
        )
    if not isinstance(kind, HeadKind):
        return
    if not isinstance(kind, TrainedKind | Discriminant):
        raise InputError(
            f"reward._target_={stage.config['reward']['_target_']}: has not all that mora.reward.TrainedKind lists, "
            "such as a loss; docs/adding.md has an example"
        )
    _refuse_sharing(algo, kind)
    if algo.get("freeze_trunk") and stage.config["model"]["quantization"] is not None:
        raise InputError(
            f"model.quantization={stage.config['model']['quantization']} holds a frozen policy, and the features of a "
            "frozen trunk are computed in model.dtype: set it to null"
        )
    if not algo.get("token_wise"):
        return
    if kind.reads_ratings or not isinstance(kind, TrainedKind):
        raise InputError(
            f"algo.token_wise=true with a {kind.name} reward: it learns from ratings of whole answers, or is solved at "
            "their ends, and not from tokens; set it to false, or use reward=scalar or qr"
        )
    if algo.get("freeze_trunk") or stage.config["model"]["encoder"]:
        raise InputError(
            "algo.token_wise=true reads scores at every token; features of a frozen trunk are of whole answers, and an "
            "encoder knows at each of them what follows; set it to false"
        )


def _refuse_sharing(algo: Mapping[str, Any], kind: HeadKind) -> None:
    """Refuse trunks and adapters that a kind has no use for.  Raises InputError."""
    sharing = algo.get("sharing", "trunk")
    if not isinstance(kind, TrainedKind) and sharing != "trunk":
        raise InputError(
            f"algo.sharing={sharing} with a reward that is solved: its heads are solved on a trunk that stays as it "
            "is, so there is nothing to keep apart; use algo.sharing=trunk"
        )
    if algo.get("freeze_trunk") and {sharing, kind.member_sharing} != {"trunk"}:
        raise InputError(
            "algo.freeze_trunk=true trains heads alone, on one trunk that all read: use algo.sharing=trunk (here "
            f"{sharing}), and for an ensemble reward.sharing=trunk (here {kind.member_sharing})"
        )
    if {sharing, kind.member_sharing} == {"lora", "separate"}:
        raise InputError(
            "algo.sharing and reward.sharing are lora and separate: the models of their own would be copies of one "
            "frozen trunk; use lora for both, or separate for both"
        )


def refuse_rows_that_teach_nothing(stage: Stage) -> None:
    """Refuse training rows that lack what a reward learns an objective from; read bad data.  Raises InputError."""
    corpus = load_corpus(stage.config)
    if stage.produces == "reward":
        kind = build(stage.config["reward"])
        if isinstance(kind, HeadKind):
            kind.check_rows(corpus.pairs["train"], corpus.objectives)
