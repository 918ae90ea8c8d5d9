"""Stages: what must exist before a run, and running it.

``train algo=panacea`` needs a starting policy and a reward model, as its YAML says (``mora.settings.algorithm``).  Each
is an ordinary run, found by what it was made of: the hash of the settings that determine its result, of the data's
content and of the runs below it.  The plan is made before anything is loaded; torch is imported only when there is
something to do.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mora.dataset.pinned import by_content, code_of, used_rules
from mora.errors import InputError
from mora.files import read_object
from mora.latest import find_run
from mora.run.upstream import BY_ITSELF, SUITING, Asked, makers, named, suiting_model
from mora.settings.algorithm import Algorithm, Need, described
from mora.settings.compose import choices, compose, diff_from_defaults, usual
from mora.settings.content import classifiers_by_content, content_of
from mora.settings.declared import handed
from mora.settings.identity import canonical_json, plain, run_name, to_yaml
from mora.settings.mixture import expanded
from mora.settings.secrets import masked

SCHEMA = 10  # of what an identity covers; raised when code changes what the same settings give
USUAL = {"policy": "front", "reward": "reward_model"}  # evaluation by what is measured; a model to start from is not
MEASURED = "measured.json"  # beside the tables: what each was measured with


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of the plan."""

    algo: str  # name of the algorithm
    config: dict[str, Any]  # resolved
    overrides: list[str]
    identity: dict[str, Any]
    choices: dict[str, str]  # the file of each group of the configuration
    upstream: dict[str, str] = field(default_factory=dict)  # role, or role.NUMBER of several -> folder or hub id
    runs: dict[str, str] = field(default_factory=dict)  # the same -> id of the run that made it

    @property
    def produces(self) -> str:
        """What the run makes, in the folder of that name."""
        return str(self.config["algo"]["produces"])

    @property
    def rows(self) -> str:
        """The kind of rows that the run is trained on; an imported reward is not, but reads prompts."""
        imported = "reward" in self.identity and self.config["reward"]["origin"] == "imported"
        return "prompts" if self.produces == "reward" and imported else str(self.config["algo"]["rows"])

    @property
    def slug(self) -> str:
        """Readable part of the run's name."""
        names = [self.algo, self.config["model"]["name"], short_name(self.config["dataset"])]
        if "reward" in self.identity:
            names.append(self.choices["reward"].rpartition("/")[-1])
        return "-".join(names)

    @cached_property
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

    Raises InputError when something is missing that ``start.* = never`` forbids to make, when a named start is none,
    and when runs need each other in a circle.
    """
    config = expanded(plain(cfg))
    find_named(config["evaluation"], config["paths"]["runs"])
    stages: list[Stage] = []
    _add(Asked(config=config, overrides=list(overrides), choices=choices("train", overrides)), stages, {})
    return stages


def find_named(evaluation: Mapping[str, Any] | DictConfig, root: Path | str) -> None:
    """Raise InputError where a run that an evaluation names is not there."""
    for key in ("judge", "limit"):
        given = evaluation.get(key)
        if given is not None and given != "gold":
            find_run(given, root, f"evaluation.{key}")


def _add(run: Asked, stages: list[Stage], above: Mapping[str, str]) -> Stage:
    """Append the stages below ``run`` and its own; returns its own.  ``above``: settings -> name of runs that need it.

    Raises InputError where it needs itself.
    """
    config, algo, settings = run.config, described(run.config["algo"]), canonical_json(run.config)
    if settings in above:
        circle = " -> ".join([*above.values(), algo.name])
        raise InputError(f"algo.needs: runs need each other in a circle ({circle}); take one of these roles out")
    upstream: dict[str, str] = {}
    runs: dict[str, str] = {}
    for role, need in algo.needs.items():
        found = _filled(role, need, run, stages, {**above, settings: algo.name})
        several = bool(need.each) or isinstance(config["start"].get(role), list)
        for number, (path, made) in enumerate(found):
            key = f"{role}.{number}" if several else role
            upstream[key] = path
            runs |= {} if made is None else {key: made}
    stage = Stage(
        algo=algo.name,
        config=config,
        overrides=run.overrides,
        identity=_identity(config, algo, upstream, runs),
        choices=run.choices,
        upstream=upstream,
        runs=runs,
    )
    if all(stage.id != other.id for other in stages):
        stages.append(stage)
    return stage


def _identity(
    config: dict[str, Any], algo: Algorithm, upstream: Mapping[str, str], runs: Mapping[str, str]
) -> dict[str, Any]:
    """What determines the result of a run, and what its algorithm is called."""
    identity = {"schema": SCHEMA, "seed": config["seed"], "precision": config["runtime"]["precision"]}
    identity |= {name: handed(config[name], name) for name in ("algo", *algo.reads)}
    identity["algo"]["name"] = algo.name
    identity["dataset"] = by_content(config["dataset"], config["objectives"]["names"])
    if rules := used_rules(config["objectives"]):
        identity["objectives"]["rules"] = rules
    else:
        identity["objectives"].pop("rules", None)
    if code := code_of([identity["dataset"], rules]):
        identity["code"] = code  # of packages that say what rows and scores are
    # of its learning rates and batch sizes, those that are used stand in algo and adapter
    identity["model"] = {key: value for key, value in config["model"].items() if key not in SUITING}
    if config["model"]["path"] is not None:
        identity["model"]["path"] = content_of(config["model"]["path"], "model.path")
    if "reward" in identity and config["reward"]["origin"] == "imported":
        identity["reward"] = classifiers_by_content(identity["reward"])
    if upstream:
        identity["upstream"] = {
            key: runs.get(key) or content_of(path, f"start.{key.partition('.')[0]}") for key, path in upstream.items()
        }
    return masked(identity, config)


def _filled(
    role: str, need: Need, run: Asked, stages: list[Stage], above: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """What fills a role, each with the id of the run that made it; plans the stages that make it."""
    config, start = run.config, run.config["start"].get(role, "auto")
    unmet = need.unmet(config)
    if unmet is not None and start not in BY_ITSELF:
        raise InputError(
            f"start.{role}={start} is named, and algo={config['algo']['name']} needs it only with "
            f"{unmet}={need.when[unmet]}: set that in the run that is to have it, or leave it out"
        )
    if unmet is not None or _is_there(role, start, config):
        return []
    if need.train is None and start in BY_ITSELF:
        raise InputError(
            f"start.{role}={'null' if start is None else start}: no run makes the {need.produces} that "
            f"algo={config['algo']['name']} needs here by itself: name it, as in start.{role}=runs/NAME"
        )
    asked = makers(run, role, need) if need.train is not None else []
    if start not in BY_ITSELF:
        product = need.produces or asked[0].config["algo"]["produces"]
        given = start if isinstance(start, list) else [start]
        return [named(role, str(one), config["paths"]["runs"], product) for one in given or [""]]
    found: list[tuple[str, str | None]] = []
    for one in asked:
        stage = _add(one, stages, above)
        if start == "never" and not stage.finished:
            command = shlex.join(["python", "-m", "mora.train", *stage.overrides])
            raise InputError(f"start.{role}=never, and there is no finished run for it; make it with\n  {command}")
        found.append((str(stage.path / stage.produces), stage.id))
    return found


def _is_there(role: str, start: Any, config: Mapping[str, Any]) -> bool:
    """Whether a role is filled by no run: the base model is a policy already, or rules give the reward."""
    if role == "reward":
        return bool(config["reward"]["origin"] == "rules")
    if role == "policy" and config["model"]["encoder"]:
        if start in BY_ITSELF:
            return True  # it answers nothing: the reward model stands on the base
        raise InputError(
            f"start.policy={start}: model={config['model']['name']} is an encoder, and stands on no policy"
        )
    if role != "policy" or config["model"]["needs_sft"] or start not in BY_ITSELF:
        return False
    if config["model"]["path"] is None:
        raise InputError("model.needs_sft=false: a model made from model.config has random weights; set it to true")
    return True


def rates_of(config: Mapping[str, Any]) -> dict[str, float]:
    """The learning rates of a run by dotted key: those of its adapter, where it reads one, and of its algorithm."""
    sections = [name for name in ("adapter", "algo") if name == "algo" or name in config["algo"]["reads"]]
    named = [(name, key) for name in sections for key in config[name] if key == "lr" or key.endswith("_lr")]
    if config["algo"].get("freeze_trunk"):
        named = [("algo", "head_lr")]
    rates = {f"{name}.{key}": config[name][key] for name, key in named}
    return {key: rate for key, rate in rates.items() if isinstance(rate, int | float)}


def suited(stage: Stage) -> str:
    """The learning rates, batch sizes and ranks of a run, and where each is from."""
    config = stage.config
    chosen = [f"{group}={stage.choices[group]}" for group in ("algo", "adapter")]
    alone = [*chosen, *suiting_model(config)]  # need not fit the other defaults
    asked, default = (rates_of(one) | _sizes(one) for one in (config, plain(usual("train", alone))))
    theirs = [f"{key} {value:g}" for key, value in asked.items() if value == default.get(key)]
    own = [f"{key} {value:g}" for key, value in asked.items() if value != default.get(key)]
    where = f"as model={config['model']['name']} has them (model.rates, model.sizes, model.steering)"
    origin = [(theirs, where), (own, "set by this command")]
    return "; ".join(f"{', '.join(said)}: {where}" for said, where in origin if said)


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    sizes = {"algo.batch_size": config["algo"].get("batch_size")}
    sizes["algo.rollout.prompts"] = (config["algo"].get("rollout") or {}).get("prompts")
    if "adapter" in config["algo"]["reads"]:
        sizes |= {f"adapter.{key}": config["adapter"].get(key) for key in ("rank", "objective_rank")}
    return {key: size for key, size in sizes.items() if size is not None}


def short_name(section: Mapping[str, Any]) -> str:
    """What a section of the configuration is called in the names of runs."""
    name = section.get("name")
    return str(name) if isinstance(name, str) else str(section["_target_"]).rpartition(".")[0].rpartition(".")[2]


def fitting(produces: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a run that was trained: in place of one of another kind, the usual one of what it made."""
    if evaluation["measures"] != produces:
        return dict(plain(compose("evaluate", [f"evaluation={USUAL[produces]}"]))["evaluation"])
    return dict(evaluation)


def measured_with(evaluation: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What ``tables/measured.json`` says of a table: all settings that its numbers depend on."""
    kept = {key: value for key, value in handed(evaluation, "evaluation").items() if key != "batch_size"}
    return dict(json.loads(canonical_json({"evaluation": kept, "seed": seed})))


def pending(stage: Stage) -> bool:
    """Whether a finished run lacks the tables that its command asks for."""
    if stage.produces not in USUAL:
        return False
    path = stage.path / "tables" / MEASURED
    made = read_object(path).values() if path.is_file() else []
    return measured_with(fitting(stage.produces, stage.config["evaluation"]), 0) not in made


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
