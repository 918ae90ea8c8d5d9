"""The runs that another one stands on: which fill a role by themselves, and what the user named in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mora.errors import InputError
from mora.latest import nearest
from mora.settings import relations
from mora.settings.algorithm import Need, group_of
from mora.settings.compose import compose
from mora.settings.content import HUB_ID
from mora.settings.declared import OVERLAYS
from mora.settings.identity import flatten, plain
from mora.settings.overrides import prepare
from mora.settings.stored import stored_config
from mora.settings.tree import opened

KEPT = ("model", "dataset", "objectives", "reward", "seed", "runtime", "paths", "tracker", "plugins")
SUITING = (
    "rates",
    "sizes",
    "steering",
)  # sections of a model whose values stand in algo and adapter where they are used
BY_ITSELF = ("auto", "never", None)  # values of ``start`` that name no run


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run that is asked for: its settings, the overrides that give them, and the file of each group."""

    config: dict[str, Any]  # resolved
    overrides: list[str]
    choices: dict[str, str]


def makers(run: Asked, role: str, need: Need) -> list[Asked]:
    """The runs that fill a role of ``run``: trained as it is, but for what ``need`` and ``start`` say."""
    return [_maker(run, role, need.train or (), variant) for variant in need.variants()]


def _maker(run: Asked, role: str, train: Sequence[str], variant: list[str]) -> Asked:
    start, config = run.config["start"], run.config
    chosen = {group: choice for group, _, choice in (item.partition("=") for item in [*train, *variant])}
    lists = {choice: group for group, choice in chosen.items() if isinstance(start.get(choice), list)}
    own = [item for choice, group in lists.items() for item in _own(start, choice, group)]
    items, groups = [*train, *own, *variant], {group_of(item) for item in [*train, *own, *variant]}
    alone = [] if "algo" in groups else [f"algo={run.choices['algo']}"]
    alone += [] if "seed" in groups else [f"seed={config['seed']}"]
    alone += [] if "model" in groups else suiting_model(config)
    key = f"start.{list(lists)[-1]}" if lists else f"algo.needs.{role}"
    composed = _composed(key, [*alone, *items])
    if "seed" in groups:
        config = _reseeded(run, composed["seed"])
    config = {**config, **{group: composed[group] for group in groups - {"seed"}}}
    for problem in relations.problems({name: part for name, part in config.items() if name != "evaluation"}):
        raise InputError(f"{key}: {problem}")
    kept = [item for item in run.overrides if group_of(item) not in groups]
    if "algo" in groups:
        kept = [item for item in kept if group_of(item) in KEPT]
        known = {key: value for key, value in start.items() if key in {*composed["start"], *config["algo"]["needs"]}}
        kept += _starts(known, {role, *lists}) if config["algo"]["needs"] else []
    chosen |= {group: choice for group, _, choice in (item.partition("=") for item in own)}
    made = {group: choice for group, choice in chosen.items() if group in run.choices}
    return Asked(config=config, overrides=[*kept, *items], choices=run.choices | made)


def _own(start: Mapping[str, Any], choice: str, group: str) -> list[str]:
    """What the user changes of a run that ``group=choice`` makes: its settings, and the model of a reward model."""
    names = [item.partition("=")[0] for item in start[choice]]
    open_to = {group} | ({"model"} if choice == "reward_model" else set())
    other = [item for item in start[choice] if group_of(item) not in open_to]
    if other:
        key = other[0].partition("=")[0]  # not its value, which may be a secret
        raise InputError(
            f"start.{choice}: {key} is no setting of the {group}{' or of the model' if len(open_to) > 1 else ''}; all "
            "else is as in the run that asks for it"
        )
    if any(group_of(item) == "model" for item in start[choice]) and "model" not in names:
        raise InputError(
            f"start.{choice}: a key of the model is set and no model is named: name it too, as in "
            f"start.{choice}=[model=NAME,model.path=...]"
        )
    return list(start[choice])


def _starts(start: Mapping[str, Any], without: set[str]) -> list[str]:
    """Overrides by which a run below another one starts from the same."""
    said = {key: value for key, value in start.items() if key not in without and value not in ("auto", None, [])}
    return [
        f"start.{key}={json.dumps(value) if isinstance(value, list) else value}"
        for key, value in sorted(said.items(), key=lambda item: not isinstance(item[1], list))
    ]


def suiting_model(config: Mapping[str, Any]) -> list[str]:
    """Overrides by which another algorithm takes the learning rates, sizes and ranks of this run's model."""
    known = {f"model.{part}.{name}": value for part in SUITING for name, value in config["model"][part].items()}
    return [f"{key}={_said(value)}" for key, value in known.items() if not key.endswith("._target_")]


def _said(value: float | str | None) -> str:
    return "null" if value is None else str(value)


def _composed(key: str, overrides: list[str]) -> dict[str, Any]:
    """The settings of a run that another one needs; what is wrong with them is said to stand in ``key``."""
    try:
        composed: dict[str, Any] = json.loads(_settings(*overrides))
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    return composed


@lru_cache(maxsize=64)
def _settings(*overrides: str) -> str:
    """The settings of a training command as JSON; the stages of a plan, and the cells of a sweep, share them.

    They need not fit the defaults of other groups: what they are put into is checked.
    """
    return json.dumps(plain(compose("train", overrides, complete=False)))


def _reseeded(run: Asked, seed: int) -> dict[str, Any]:
    """The settings with another seed, also where a file of their groups says that a key follows it."""
    config, old = plain(run.config), run.config["seed"]
    chosen = [f"{group}={choice}" for group, choice in run.choices.items() if group not in OVERLAYS]
    with opened("train") as tree:
        composed = tree.compose(prepare(chosen))
        own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        written: Any = OmegaConf.to_container(own, resolve=False)
    for key in [key for key, value in flatten(written).items() if value == "${seed}"]:
        *above, last = key.split(".")
        section = config
        for step in above:
            section = section.get(step, {})
        if section.get(last) == old:
            section[last] = seed
    return {**config, "seed": seed}


def named(role: str, start: str, root: str, product: str) -> tuple[str, str | None]:
    """A run, a folder or a hub id that the user named: what to load, and the run's id."""
    if not start.strip():
        raise InputError(f"start.{role} is empty; use auto, never, a run, a folder or a hub id")
    for folder in (Path(start), Path(root) / start):
        if (folder / "identity.json").is_file():
            if not (folder / product).is_dir():
                raise InputError(f"start.{role}={start}: that run holds no {product}/; name a finished run that does")
            stored_config(folder)  # refused now, before anything is trained
            return str(folder / product), folder.name
    if Path(start).is_dir():
        return start, None
    if product == "model" and HUB_ID.fullmatch(start):
        return start, None
    raise InputError(f"start.{role}={start}: no such run or folder; {nearest(start, root)}; or use auto")
