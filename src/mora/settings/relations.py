"""What settings say of each other: a list of rules that run on the composed settings, before anything is planned.

A bound of one number stands beside its field (:mod:`mora.bounds`).  A rule is a function of the settings, flat and by
dotted key, that yields what is wrong; it runs where all of its keys are there.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mora.settings import algorithm, handed_on, kinds
from mora.settings.identity import flatten
from mora.settings.targets import HOME, constant, define

Flat = Mapping[str, Any]
Rule = Callable[[Flat], Iterator[str]]

NAME = re.compile(r"[^\W_][\w-]*(\.[\w-]+)*")  # of columns and files; a dot neither first nor last
TOLERANCE = 1e-4  # of a sum of weights, as functional.preference has it
WORLDS = "mora.dataset.worlds."  # datasets with rules
ENUMERABLE = "mora.dataset.worlds.oracle."  # those with few enough responses to enumerate
ORIGINS = {"trained": "trained by a run", "imported": "those of models of others", "rules": "given by rules"}

RULES: list[tuple[tuple[str, ...], Rule]] = []


def rule(*keys: str) -> Callable[[Rule], Rule]:
    """Enter a function in the list of rules, to run where ``keys`` are set."""

    def enter(function: Rule) -> Rule:
        RULES.append((keys, function))
        return function

    return enter


def problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong between the keys of composed settings."""
    algo = config.get("algo")
    if isinstance(algo, Mapping) and "_target_" in algo:
        found = list(algorithm.problems(algo))
        if found:
            return found
    flat = flatten(config)
    known = [function for keys, function in RULES if all(flat.get(key) not in (None, "???") for key in keys)]
    return [found for function in known for found in function(flat)]


@rule("objectives.names")
def names(flat: Flat) -> Iterator[str]:
    """Objectives are columns, and parts of file names."""
    given = flat["objectives.names"]
    twice = [name for name, count in Counter(map(str, given)).items() if count > 1]
    if twice:
        yield f"objectives.names={_shown(given)}: {', '.join(twice)} stands there twice; name each objective once"
    odd = [name for name in given if not isinstance(name, str) or not NAME.fullmatch(name)]
    if odd:
        yield (
            f"objectives.names={_shown(given)}: {odd[0]!r} must be letters, digits, - and _, dots inside: it names "
            "columns and files"
        )


@rule("objectives.names", "scalarize.ideal")
def ideal(flat: Flat) -> Iterator[str]:
    """One ideal for all objectives, or one each."""
    given, objectives = flat["scalarize.ideal"], flat["objectives.names"]
    if isinstance(given, list) and len(given) != len(objectives):
        yield f"scalarize.ideal={_shown(given)}: give one number, or {_each(objectives)}"


@rule("evaluation.preferences")
def asked_preferences(flat: Flat) -> Iterator[str]:
    """Points of the simplex, each once."""
    given = flat["evaluation.preferences"]
    if not given:
        yield "evaluation.preferences=[]: name at least one, or null for the usual grid"
    yield from _weights("evaluation.preferences", given, flat.get("objectives.names"))
    if len({tuple(one) for one in given}) < len(given):
        yield f"evaluation.preferences={_shown(given)}: one preference is named twice; name each once"


@rule("evaluation.preference")
def judging_preference(flat: Flat) -> Iterator[str]:
    """One point of the simplex."""
    yield from _weights("evaluation.preference", [flat["evaluation.preference"]], None)


@rule("preference.weights", "objectives.names")
def fixed_preference(flat: Flat) -> Iterator[str]:
    """One point of the simplex."""
    yield from _weights("preference.weights", [flat["preference.weights"]], flat["objectives.names"])


@rule("objectives.names", "scalarize.largest")
def floors(flat: Flat) -> Iterator[str]:
    """Floors are numbers under names of objectives."""
    place, objectives = "scalarize.floors", list(map(str, flat["objectives.names"]))
    if place in flat:
        yield f"{place}={_shown(flat[place])}: must be a mapping, as in {place}={{{objectives[-1]}:0.5}}"
    for key, value in flat.items():
        name = key.removeprefix(f"{place}.")
        if name == key:
            continue
        if name not in objectives:
            yield f"{place}: {name} is no objective; there are {', '.join(objectives)}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            yield f"{key}={_shown(value)}: must be a number, the least expected reward that is asked of {name}"


@rule("to")
def read_by_an_export(flat: Flat) -> Iterator[str]:
    """What is given is read by what is written."""
    for key, forms in {"preference": ("lora", "merged"), "pad_rank": ("lora",), "objective": ("classifier",)}.items():
        if flat.get(key) not in (None, "???") and flat["to"] not in forms:
            said = " and ".join(f"to={one}" for one in forms)
            yield f"{key}={_shown(flat[key])}: to={flat['to']} does not read it, but {said}; leave it out"


@rule("preference")
def preference(flat: Flat) -> Iterator[str]:
    """One point of the simplex, or several."""
    given = flat["preference"]
    several = all(isinstance(one, list) for one in given) and bool(given)
    yield from _weights("preference", given if several else [given], None)


def _weights(key: str, given: Sequence[Sequence[float]], objectives: Sequence[str] | None) -> Iterator[str]:
    for one in given:
        if objectives is not None and len(one) != len(objectives):
            yield f"{key}: {_shown(one)} has {len(one)} weights; give {_each(objectives)}"
        elif abs(sum(one) - 1) > TOLERANCE:
            yield f"{key}: the weights {_shown(one)} must sum to 1, not {sum(one):g}"


@rule("dataset._target_")
def rules_of_a_world(flat: Flat) -> Iterator[str]:
    """Rewards by rules, and what is computed from all responses, need a dataset that has them."""
    dataset, name = str(flat["dataset._target_"]), flat.get("dataset.name")
    if not dataset.startswith("mora."):
        return
    for key, said in (("algo", flat.get("algo.name")), ("evaluation", "regret")):
        if f"{key}.max_responses" in flat and not dataset.startswith(ENUMERABLE):
            yield f"{key}={said} enumerates all responses, and dataset={name} has too many or none; use dataset=oracle"
    if constant(str(flat.get("evaluation._target_")), "needs_rules") and not dataset.startswith(WORLDS):
        yield f"evaluation=optimum needs a synthetic task, and dataset={name} is none; use dataset=garden or oracle"


@rule("dataset._target_", "objectives.names")
def true_scores(flat: Flat) -> Iterator[str]:
    """Rewards that are known exactly are those of a synthetic task, or of rules; not of both."""
    dataset, name = str(flat["dataset._target_"]), flat.get("dataset.name")
    text = dataset.startswith("mora.") and not dataset.startswith(WORLDS)
    ruled = [one for one in flat["objectives.names"] if f"objectives.rules.{one}._target_" in flat]
    bare = [str(one) for one in flat["objectives.names"] if one not in ruled]
    if dataset.startswith(WORLDS) and ruled:
        yield f"dataset={name} scores answers itself; use objectives={name}, or a dataset of texts with these rules"
    if text and bare and flat.get("reward.origin") == "rules":
        known = [key.split(".")[2] for key in flat if re.fullmatch(r"objectives\.rules\.[\w-]+\._target_", key)]
        meant = "".join(f"is it {one}? " for one in difflib.get_close_matches(bare[0], known, n=1))
        lacks = f"{', '.join(bare)} of dataset={name} has no true score, which reward=gold and reward=rules need"
        yield f"{lacks}: {meant}give it a rule (objectives.rules.{bare[0]}), leave it out, or use reward=qr"


@rule("reward._target_")
def origin_of_scores(flat: Flat) -> Iterator[str]:
    """A reward says where its scores come from, and a trunk is converted only where one is trained."""
    origin = flat.get("reward.origin")
    if origin not in ORIGINS:
        yield f"reward.origin={_shown(origin)}: must be one of {', '.join(ORIGINS)}"
    for key, target in flat.items():
        place = key.removesuffix("._target_")
        known = constant(str(target), "origin") if place != key and place.split(".")[0] == "reward" else None
        given = flat.get(f"{place}.origin")
        if known is not None and given in ORIGINS and given != known:
            yield f"{place}.origin={given}: the scores of {target} are {ORIGINS[known]}; leave it at {known}"
    if flat.get("algo.trunk") == "reward" and origin == "imported":
        yield "algo.trunk=reward converts a trained trunk, and reward=hub trains nothing; leave it out"


@rule("evaluation._target_")
def measured_model(flat: Flat) -> Iterator[str]:
    """What is measured is said, and a policy is not measured as a reward model is."""
    measures, takes = flat.get("evaluation.measures"), flat.get("evaluation.takes")
    if measures not in ("policy", "reward"):
        yield f"evaluation.measures={_shown(measures)}: must be policy or reward"
    if takes not in ("run", "finished_run", "runs"):
        yield f"evaluation.takes={_shown(takes)}: must be one of run, finished_run, runs"
    if flat.get("algo.produces") == "policy" and measures == "reward" and takes == "run":
        yield "evaluation.measures=reward: the run trains a policy; use evaluation=front, or algo=reward_model"


@rule("dataset._target_", "dataset.words", "dataset.max_response")
def enumeration(flat: Flat) -> Iterator[str]:
    """All responses are few enough."""
    words, longest = flat["dataset.words"], flat["dataset.max_response"]
    for key in ("algo", "evaluation"):
        most = flat.get(f"{key}.max_responses")
        if most is not None and (longest > 64 or sum(words**places for places in range(longest + 1)) > most):
            yield (
                f"{key}.max_responses={most}: dataset.words={words} at dataset.max_response={longest} places make more "
                "responses than that"
            )


@rule("evaluation._target_")
def price_of_a_nat(flat: Flat) -> Iterator[str]:
    """An optimum has one price of the KL, and what is steered to a target begins at one."""
    own, target = flat.get("evaluation.kl_coef"), flat.get("algo.kl_target")
    priced = constant(str(flat["evaluation._target_"]), "needs_kl") and own is None
    if flat.get("algo.kl_coef") == 0 and target is not None:
        yield f"algo.kl_coef=0: algo.kl_target={target} needs a weight above 0 to start from"
    elif flat.get("algo.kl_coef") == 0 and priced:
        yield "algo.kl_coef=0: the optimum that evaluation compares with needs a KL weight above 0 (evaluation.kl_coef)"
    elif target is not None and priced:
        yield f"algo.kl_target={target}: no one KL weight for the optimum that evaluation compares with; set it to null"


@rule("algo._target_")
def length_of_training(flat: Flat) -> Iterator[str]:
    """Steps or epochs, not both."""
    target, steps, epochs = str(flat["algo._target_"]), flat.get("algo.steps"), flat.get("algo.epochs")
    fields = define(target).annotations if target.startswith(f"{HOME}.") else {}
    either = all(name in fields and kinds.takes_null(fields[name]) for name in ("steps", "epochs"))
    if either and (steps is None) == (epochs is None):
        said = f"algo.steps={_shown(steps)}, algo.epochs={_shown(epochs)}"
        yield f"{said}: give one of the two and set the other to null (algo.steps, algo.epochs)"


@rule("algo.rollout.prompts", "algo.rollout.samples", "algo.minibatches")
def minibatches(flat: Flat) -> Iterator[str]:
    """A rollout falls into minibatches of one size."""
    prompts, samples = flat["algo.rollout.prompts"], flat["algo.rollout.samples"]
    parts = flat["algo.minibatches"]
    if prompts * samples % parts:
        said = f"algo.rollout.prompts={prompts} x algo.rollout.samples={samples} = {prompts * samples} rows"
        yield f"algo.minibatches={parts}: must divide {said}"


@rule("tracker.folder")
def folder_of_events(flat: Flat) -> Iterator[str]:
    """Events lie in the run folder."""
    folder = PurePath(flat["tracker.folder"])
    if folder.is_absolute() or ".." in folder.parts:
        yield f"tracker.folder={folder}: must be a folder inside the run folder, such as tensorboard"


@rule("runtime._target_")
def deepspeed(flat: Flat) -> Iterator[str]:
    """DeepSpeed is handed what is listed."""
    place = "runtime.deepspeed."
    given = {key.removeprefix(place): value for key, value in flat.items() if key.startswith(place)}
    yield from handed_on.problems(place.rstrip("."), given)


@rule("dataset.skill")
def range_of_skill(flat: Flat) -> Iterator[str]:
    """A range from low to high."""
    low, high = flat["dataset.skill"]
    if low > high:
        yield f"dataset.skill={_shown([low, high])}: the lower end comes first"


@rule("model.path", "model.config.model_type")
def loaded_or_made(flat: Flat) -> Iterator[str]:
    """A model is loaded from a path or made from a configuration."""
    if flat["model.path"] is not None:
        yield (
            f"model.path={flat['model.path']}: model={flat.get('model.name')} is made from model.config, not loaded; "
            "use model=hf model.path=.."
        )


@rule("model.config.hidden_size", "model.config.num_attention_heads")
def heads(flat: Flat) -> Iterator[str]:
    """Attention heads share the width, and key-value heads the heads."""
    width, count = flat["model.config.hidden_size"], flat["model.config.num_attention_heads"]
    groups = flat.get("model.config.num_key_value_heads") or count
    if width % count or count % groups:
        yield (
            f"model.config: num_attention_heads={count} must divide hidden_size={width}, and be a multiple of "
            f"num_key_value_heads={groups}"
        )


def _each(objectives: Sequence[str]) -> str:
    return f"{len(objectives)}, one for each of {', '.join(map(str, objectives))}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_shown, value))}]"
    return "null" if value is None else str(value)
