"""Stages: what must exist before a run, and running it.

``train algo=panacea`` needs a starting policy and a reward model.  Each is an ordinary run, found by what it was made
of: the hash of the settings that determine its result, of the data's content and of the runs below it.  The plan is
made before anything is loaded; torch is imported only when there is something to do.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mora.dataset.pinned import by_content
from mora.errors import InputError
from mora.files import read_object
from mora.latest import find_run, nearest
from mora.settings.compose import choices, compose, diff_from_defaults
from mora.settings.content import HUB_ID, classifiers_by_content, content_of
from mora.settings.identity import canonical_json, plain, run_name, to_yaml
from mora.settings.mixture import expanded
from mora.settings.secrets import masked
from mora.settings.stored import stored_config

SCHEMA = 7  # of what an identity covers; raised when code changes what the same settings give
PRODUCT = {"policy": "model", "reward": "reward", "trunk": "reward", "teacher": "reward"}  # folder to start from
MAKER = {"policy": "sft", "reward": "reward_model", "trunk": "reward_model", "teacher": "reward_model"}  # by algorithm
GOLD = "mora.reward.gold.Gold"  # rules: nothing to train
HUB = "mora.reward.hub.Hub"  # classifiers that others trained
QUALITY = "mora.evaluation.reward_model.Quality"  # measures reward models
SECTIONS = "mora.evaluation.sections.Sections"  # measures finished reward models on a benchmark
COMPARE = "mora.evaluation.compare.Compare"  # holds policies against each other
COMPARE_REWARDS = "mora.evaluation.reward_comparison.CompareRewards"  # the same for reward models
SEVERAL = (COMPARE, COMPARE_REWARDS)  # evaluations that take several runs, which are finished
MEASURED = "measured.json"  # beside the tables: what each was measured with
UPSTREAM_KEYS = ("model", "dataset", "objectives", "reward", "seed", "runtime", "paths", "tracker", "plugins")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of the plan."""

    algo: str  # module name of the algorithm
    config: dict[str, Any]  # resolved
    overrides: list[str]
    identity: dict[str, Any]
    choices: dict[str, str]  # the file of each group of the configuration
    upstream: dict[str, str] = field(default_factory=dict)  # role -> folder or hub id
    runs: dict[str, str] = field(default_factory=dict)  # role -> id of the run that made it

    @property
    def slug(self) -> str:
        """Readable part of the run's name."""
        names = [self.algo, self.config["model"]["name"], short_name(self.config["dataset"])]
        if "reward" in self.identity:
            names.append(self.choices["reward"].rpartition("/")[-1])
        return "-".join(names)

    @property
    def id(self) -> str:
        """Name of the run folder."""
        return run_name(self.slug, self.identity)

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.config["paths"]["runs"]) / self.id

    @property
    def finished(self) -> bool:
        """Whether the run is there and done."""
        status = self.path / "status.json"
        return status.is_file() and read_object(status, ["state"])["state"] == "finished"


def plan(cfg: DictConfig, overrides: Sequence[str]) -> list[Stage]:
    """The stages of a command, in order; the last one is the run that was asked for.

    Raises InputError when something is missing that ``start.* = never`` forbids to make, or when a named start is none.
    """
    config = expanded(plain(cfg))
    find_named(config["evaluation"], config["paths"]["runs"])
    stages: list[Stage] = []
    _add(config, list(overrides), choices("train", overrides), stages)
    return stages


def find_named(evaluation: Mapping[str, Any] | DictConfig, root: Path | str) -> None:
    """Raise InputError where a run that an evaluation names is not there."""
    for key in ("judge", "limit"):
        given = evaluation.get(key)
        if given is not None and given != "gold":
            find_run(given, root, f"evaluation.{key}")


def _add(config: dict[str, Any], overrides: list[str], chosen: dict[str, str], stages: list[Stage]) -> Stage:
    """Append the stages below ``config`` and its own; returns its own."""
    target = config["algo"]["_target_"]
    declared = _declared(target)
    upstream: dict[str, str] = {}
    runs: dict[str, str] = {}
    for role in (*declared["needs"], *_further(config)):
        _resolve(role, config, overrides, chosen, stages, upstream, runs)
    identity = {"schema": SCHEMA, "seed": config["seed"], "precision": config["runtime"]["precision"]}
    identity |= {name: config[name] for name in ("algo", *declared["uses"])}
    identity["dataset"] = by_content(config["dataset"], config["objectives"]["names"])
    # of its learning rates, those that are used stand in algo
    identity["model"] = {key: value for key, value in config["model"].items() if key != "rates"}
    if config["model"]["path"] is not None:
        identity["model"]["path"] = content_of(config["model"]["path"], "model.path")
    if "reward" in identity and config["reward"]["_target_"] == HUB:
        identity["reward"] = classifiers_by_content(config["reward"])
    if upstream:
        identity["upstream"] = {
            role: runs.get(role) or content_of(path, f"start.{role}") for role, path in upstream.items()
        }
    identity = masked(identity, config)
    stage = Stage(
        algo=target.split(".")[-2],
        config=config,
        overrides=overrides,
        identity=identity,
        choices=chosen,
        upstream=upstream,
        runs=runs,
    )
    if all(stage.id != other.id for other in stages):
        stages.append(stage)
    return stage


def _resolve(
    role: str,
    config: dict[str, Any],
    overrides: list[str],
    chosen: dict[str, str],
    stages: list[Stage],
    upstream: dict[str, str],
    runs: dict[str, str],
) -> None:
    """Where the starting policy or the reward model comes from; plans the stage that makes it."""
    if role == "policy" and not config["model"]["needs_sft"] and config["start"]["policy"] in ("auto", "never"):
        if config["model"]["path"] is None:
            raise InputError("model.needs_sft=false: a model made from model.config has random weights; set it to true")
        return  # the base model is a policy already
    if role == "reward" and config["reward"]["_target_"] == GOLD:
        return
    start = config["start"][role]
    if start is None:
        raise InputError(f"algo.trunk=reward converts the trunk of a reward run: name it, as in start.{role}=runs/NAME")
    if start not in ("auto", "never"):
        upstream[role], run = _named(role, start, config["paths"]["runs"])
        if run is not None:
            runs[role] = run
        return
    made = {"algo": MAKER[role]} | ({"reward": "ensemble"} if role == "teacher" else {})
    stage = _add(*_upstream(role, config, overrides), chosen | made, stages)
    if start == "never" and not stage.finished:
        command = shlex.join(["python", "-m", "mora.train", *stage.overrides])
        raise InputError(f"start.{role}=never, and there is no finished run for it; make it with\n  {command}")
    upstream[role], runs[role] = str(stage.path / PRODUCT[role]), stage.id


def _upstream(role: str, config: dict[str, Any], overrides: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Configuration of the run that makes what ``role`` needs: its algorithm, everything else as here."""
    start = config["start"]
    if role == "teacher":  # an ensemble, trained as this run is
        own = list(start["ensemble"])
        other = [item for item in own if _group(item) != "reward"]
        if other:
            raise InputError(
                f"start.ensemble: {other[0]} is no setting of the reward; the ensemble is trained as this run is, and "
                "takes overrides such as reward.members=8"
            )
        settings = ["algo=reward_model", "reward=ensemble", f"seed={config['seed']}", *_rates(config), *own]
        composed = _composed("ensemble", settings)
        kept = [o for o in overrides if _group(o) != "reward"]
        return {**config, "reward": composed["reward"]}, [*kept, "reward=ensemble", *own]
    own = list(start[MAKER[role]])
    composed = _composed(MAKER[role], [f"algo={MAKER[role]}", *_rates(config), *own])
    changed = {**config, "algo": composed["algo"]}
    kept = [o for o in overrides if _group(o) in UPSTREAM_KEYS]
    if role == "reward":  # what stands below it must be the same
        kept += [f"start.{key}={json.dumps(start[key])}" for key in ("sft", "ensemble") if start[key]]
        kept += [f"start.{key}={start[key]}" for key in ("policy", "teacher") if start[key] != "auto"]
        kept += [f"start.trunk={start['trunk']}"] if start["trunk"] is not None else []
    return changed, [*kept, f"algo={MAKER[role]}", *own]


def _rates(config: Mapping[str, Any]) -> list[str]:
    """Overrides by which another algorithm takes the learning rates of this run's model."""
    return [f"model.rates.{name}={rate}" for name, rate in config["model"]["rates"].items() if name != "_target_"]


def rates_of(algo: Mapping[str, Any]) -> list[str]:
    """The keys of an algorithm that are learning rates."""
    return [key for key in algo if key == "lr" or key.endswith("_lr")]


def learning_rates(stage: Stage) -> str:
    """The learning rates of a run, and where each is from."""
    config, algo = stage.config, stage.config["algo"]
    alone = [f"algo={stage.choices['algo']}", *_rates(config)]  # need not fit the other defaults
    usual = plain(compose("train", alone, complete=False))["algo"]
    keys = rates_of(algo)
    theirs = [f"{key} {algo[key]:g}" for key in keys if algo[key] == usual[key]]
    own = [f"{key} {algo[key]:g}" for key in keys if algo[key] != usual[key]]
    origin = [(theirs, f"as model={config['model']['name']} has them (model.rates)"), (own, "set by this command")]
    return "; ".join(f"{', '.join(rates)}: {where}" for rates, where in origin if rates)


def _composed(key: str, overrides: list[str]) -> dict[str, Any]:
    """The settings of a run that another one needs; what is wrong with them is said to stand in ``start``."""
    try:
        composed: dict[str, Any] = json.loads(_settings(*overrides))
    except InputError as error:
        raise InputError(f"start.{key}: {error}") from None
    return composed


@lru_cache(maxsize=64)
def _settings(*overrides: str) -> str:
    """The settings of a training command as JSON; the stages of a plan, and the cells of a sweep, share them."""
    return json.dumps(plain(compose("train", overrides)))


def _group(override: str) -> str:
    """The group or section that an override belongs to."""
    return re.split("[.@/]", override.lstrip("+~").partition("=")[0])[0]


def _further(config: Mapping[str, Any]) -> list[str]:
    """What a reward model needs beside what its algorithm always does.

    Raises InputError for a trunk that is named and not asked for.
    """
    start = config["start"]
    if config["algo"]["_target_"].split(".")[-2] != MAKER["reward"]:
        return []
    converts, learns = config["algo"]["trunk"] == "reward", config["reward"].get("source") == "teacher"
    if start["trunk"] is not None and not converts:
        raise InputError(
            f"start.trunk={start['trunk']} is named, and algo.trunk={config['algo']['trunk']} of the reward model: set "
            "algo.trunk=reward, or start.reward_model=[algo.trunk=reward] where a policy is trained on it"
        )
    if start["trunk"] in ("auto", "never"):
        raise InputError(f"start.trunk={start['trunk']}: name the reward run whose trunk is converted")
    if start["teacher"] not in ("auto", "never") and not learns:
        raise InputError(
            f"start.teacher={start['teacher']} is named, and this reward learns from no teacher: reward=pseudo does"
        )
    if converts and config["reward"]["_target_"] == HUB:
        raise InputError("algo.trunk=reward converts a trained trunk, and reward=hub trains nothing; leave it out")
    return [*(["trunk"] if converts else []), *(["teacher"] if learns else [])]


def _named(role: str, start: str, root: str) -> tuple[str, str | None]:
    """A run, a folder or a hub id that the user named: what to load, and the run's id."""
    if not start.strip():
        raise InputError(f"start.{role} is empty; use auto, never, a run, a folder or a hub id")
    for folder in (Path(start), Path(root) / start):
        if (folder / "identity.json").is_file():
            product = folder / PRODUCT[role]
            if not product.is_dir():
                raise InputError(
                    f"start.{role}={start}: that run holds no {PRODUCT[role]}/; name a finished run of {MAKER[role]}"
                )
            stored_config(folder)  # refused now, before anything is trained
            return str(product), folder.name
    if Path(start).is_dir():
        return start, None
    if role == "policy" and HUB_ID.fullmatch(start):
        return start, None
    raise InputError(f"start.{role}={start}: no such run or folder; {nearest(start, root)}; or use auto")


def short_name(section: Mapping[str, Any]) -> str:
    """What a section of the configuration is called in the names of runs."""
    name = section.get("name")
    return str(name) if isinstance(name, str) else str(section["_target_"]).split(".")[-2]


def _declared(target: str) -> dict[str, tuple[str, ...]]:
    """``uses`` and ``needs`` of an algorithm class, read from its source: planning imports no torch."""
    module, _, name = target.rpartition(".")
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    values = {
        node.target.id: ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    return {key: values[key] for key in ("uses", "needs")}


def fitting(algo: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a run of ``algo``: of a reward model, in place of the default of a policy, its quality."""
    if algo == MAKER["reward"] and evaluation["_target_"] not in (QUALITY, SECTIONS):
        return dict(plain(compose("evaluate", ["evaluation=reward_model"]))["evaluation"])
    return dict(evaluation)


def measured_with(evaluation: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What ``tables/measured.json`` says of a table: all settings that its numbers depend on."""
    kept = {key: value for key, value in evaluation.items() if key != "batch_size"}
    return dict(json.loads(canonical_json({"evaluation": kept, "seed": seed})))


def pending(stage: Stage) -> bool:
    """Whether a finished run lacks the tables that its command asks for."""
    if stage.algo == MAKER["policy"]:
        return False
    path = stage.path / "tables" / MEASURED
    made = read_object(path).values() if path.is_file() else []
    return measured_with(fitting(stage.algo, stage.config["evaluation"]), 0) not in made


def describe(stages: Sequence[Stage]) -> list[str]:
    """The plan in words, a line per stage."""
    lines = []
    for number, stage in enumerate(stages, 1):
        state = "done" if stage.finished else "continues" if (stage.path / "checkpoints").is_dir() else "to do"
        lines.append(f"{number}. {stage.algo:<12} {state:<9} {stage.path}")
    return lines


def texts(stage: Stage) -> dict[str, str]:
    """The files that say what a run was made with."""
    algorithm = [f"algo={stage.choices['algo']}"]
    return {
        "config": to_yaml(stage.config),
        "overrides": to_yaml({"command": "python -m mora.train", "overrides": stage.overrides}, stage.config),
        "diff": to_yaml(diff_from_defaults(stage.config, overrides=algorithm), stage.config),
    }
