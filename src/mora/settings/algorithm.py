"""What the YAML of an algorithm says of its runs: what they are called, make, are trained on, read and need."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mora.errors import InputError
from mora.settings.declared import OVERRIDE_LISTS

NAME = re.compile(r"[a-z0-9_]{1,40}")  # of an algorithm and of a role: stands in names of folders and in keys
PRODUCTS = ("model", "policy", "reward")  # what a run makes, and the folder below the run that holds it
ROWS = ("supervised", "pairs", "prompts")
ALWAYS = ("model", "dataset", "objectives")  # sections that every run reads
SECTIONS = (*ALWAYS, "reward", "risk", "scalarize", "preference", "adapter")  # those that may determine a result
ONE = ("policy", "reward", "trunk", "teacher")  # roles that one run fills
_OVERRIDE = re.compile(r"(?P<key>[a-z_]+(?:[.@/][\w.@/]+)?)=.+", re.DOTALL)
_NEED = ("train", "each", "when", "produces")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What fills one role of a run: one or several runs that the plan makes by itself, or one that the user names."""

    train: tuple[str, ...] | None = None  # overrides of the run that makes it; None: the user names it
    each: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # one run for each combination of these values
    when: Mapping[str, Any] = field(default_factory=dict)  # key -> value: needed only where the settings are so
    produces: str | None = None  # of one that the user names: what its run makes

    def unmet(self, config: Mapping[str, Any]) -> str | None:
        """The first key of ``when`` that ``config`` has another value of; None where the role is needed."""
        return next((key for key, value in self.when.items() if _value(config, key) != value), None)

    def variants(self) -> list[list[str]]:
        """Further overrides of each run: one list without any, or one for each combination."""
        return [[f"{key}={_written(value)}" for key, value in one] for one in itertools.product(*self._choices())]

    def _choices(self) -> list[list[tuple[str, Any]]]:
        return [[(key, value) for value in values] for key, values in self.each.items()]


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The same of all of it."""

    name: str
    produces: str
    rows: str
    reads: tuple[str, ...]
    needs: Mapping[str, Need]


def described(algo: Mapping[str, Any], where: str = "") -> Algorithm:
    """What a section ``algo`` says.  Raises InputError, after ``where`` it comes from, for the first thing wrong."""
    for problem in problems(algo):
        raise InputError(f"{where}: {problem}" if where else problem)
    needs = {role: _need(given) for role, given in algo["needs"].items()}
    return Algorithm(
        name=algo["name"], produces=algo["produces"], rows=algo["rows"], reads=tuple(algo["reads"]), needs=needs
    )


def group_of(override: str) -> str:
    """The group or section that an override belongs to."""
    return re.split("[.@/]", override.lstrip("+~").partition("=")[0])[0]


def _need(given: Mapping[str, Any]) -> Need:
    train = given.get("train")
    return Need(**{**given, "train": None if train is None else tuple(train)})


def _value(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for step in key.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


# --- what is wrong with it -------------------------------------------------------------------------------------------


def problems(algo: Mapping[str, Any]) -> Iterator[str]:
    """A line for each thing that is wrong, with the key and what to do."""
    name, reads, needs = algo.get("name"), algo.get("reads"), algo.get("needs")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield f"algo.name={_shown(name)}: give the runs of this algorithm a name of at most 40 of a-z, 0-9 and _"
    for key, known in (("produces", PRODUCTS), ("rows", ROWS)):
        if algo.get(key) not in known:
            yield f"algo.{key}={_shown(algo.get(key))}: must be one of {', '.join(known)}"
    if not isinstance(reads, list) or set(ALWAYS) - {str(one) for one in reads}:
        yield f"algo.reads={_shown(reads)}: list the sections that determine a result, {', '.join(ALWAYS)} among them"
    elif len({str(one) for one in reads}) < len(reads) or not all(one in SECTIONS for one in reads):
        yield f"algo.reads={_shown(reads)}: there are {', '.join(SECTIONS)}; name each once"
    if not isinstance(needs, Mapping):
        yield f"algo.needs={_shown(needs)}: must be a mapping from roles to the runs that fill them; {{}} for none"
        return
    for role, given in needs.items():
        yield from _role(str(role), given)


def _role(role: str, given: Any) -> Iterator[str]:
    key = f"algo.needs.{role}"
    if not NAME.fullmatch(role) or f"start.{role}" in OVERRIDE_LISTS:
        yield f"{key}: a role is called by at most 40 of a-z, 0-9 and _, and not as a key of start that is a list"
    if not isinstance(given, Mapping) or set(given) - set(_NEED):
        yield f"{key}={_shown(given)}: must be a mapping with the keys {', '.join(_NEED)}, as in {{train: [algo=sft]}}"
        return
    train, each = given.get("train"), given.get("each", {})
    when = given.get("when", {})
    if not isinstance(when, Mapping) or not all(isinstance(one, str) for one in when):
        yield f"{key}.when={_shown(when)}: must map keys to the values with which the role is needed"
    if train is None:
        if given.get("produces") not in PRODUCTS or each:
            yield f"{key}: say by train how its run is made, or by produces what run the user is to name: " + ", ".join(
                PRODUCTS
            )
        return
    if role in ONE and each:
        yield f"{key}.each: one run fills the role {role}, which means the same in every algorithm; call it otherwise"
    if "produces" in given:
        yield f"{key}.produces: is said by the algorithm that train names; leave it out"
    yield from _overrides(key, train, each)


def _overrides(key: str, train: Any, each: Any) -> Iterator[str]:
    """What is wrong with the overrides of the run that fills a role: they choose, and then change, sections."""
    lists = isinstance(train, list) and all(isinstance(item, str) and _OVERRIDE.fullmatch(item) for item in train)
    if not lists or not train:
        yield f"{key}.train={_shown(train)}: must be a list of overrides, as in [algo=sft]"
        return
    if not isinstance(each, Mapping) or not all(isinstance(v, list) and v for v in each.values()):
        yield f"{key}.each={_shown(each)}: must map keys to lists of values, as in {{seed: [0, 1]}}"
        return
    chosen = [item.partition("=")[0] for item in train] + list(map(str, each))
    for one in chosen:
        group = group_of(one)
        if one == "seed" or one in ("algo", *SECTIONS):
            continue
        if group not in ("algo", *SECTIONS):
            yield f"{key}: {one} does not determine a result; there are seed, algo, {', '.join(SECTIONS)}"
        elif group not in chosen:
            yield f"{key}: {one} changes a section that is not chosen; choose it first, as in {group}=CHOICE"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: Any) -> str:
    return "null" if value is None else f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
