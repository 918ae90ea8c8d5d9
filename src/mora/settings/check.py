"""The strict check: every key of every cell of a sweep, before Hydra composes and long before torch is imported."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from mora.errors import InputError
from mora.settings import relations
from mora.settings.declared import OVERLAYS, REQUIRED, is_one_line, is_path
from mora.settings.identity import flatten
from mora.settings.overlays import check_overlays, written
from mora.settings.override_problems import target_problems, value_problems
from mora.settings.overrides import as_text, parse, values
from mora.settings.schema import Schema
from mora.settings.tree import Tree, explain


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check: what is wrong, whether the command is a sweep, its launcher, the settings of each run."""

    problems: tuple[str, ...]
    multirun: bool
    launcher: str = ""
    configs: tuple[dict[str, Any], ...] = ()

    def refuse(self, command: str) -> None:
        """Raise InputError with the numbered list of problems, if there is one."""
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
            raise InputError("\n".join([f"{count} with the settings of {command}:", *lines]))


def check(tree: Tree, overrides: Sequence[str], *, multirun: bool = False, complete: bool = True) -> Verdict:
    """Check prepared overrides; ``complete`` also asks for the keys that have no default."""
    parsed, problems = parse(overrides, tree.loader)
    problems += _sweeping_hydra(parsed)
    native = [o.input_line or "" for o in parsed if o.is_hydra_override() and not o.is_sweep_override()]
    own = [o for o in parsed if not o.is_hydra_override()]
    chosen, valued, found = _sort_out(tree, own)
    problems += found
    fixed = [o.input_line or "" for o in chosen if not o.is_sweep_override()]
    try:
        master = tree.compose([*native, *fixed])
    except InputError as error:
        return Verdict((*_unique(problems), str(error)), multirun)
    multirun = multirun or OmegaConf.select(master, "hydra.mode") == RunMode.MULTIRUN
    if multirun:
        extra_chosen, extra_valued, found = _swept_in_yaml(tree, master, own)
        chosen, valued, problems = chosen + extra_chosen, valued + extra_valued, problems + found
    else:
        problems += [_needs_multirun(o) for o in own if o.is_sweep_override()]
    found, configs = _check_cells(tree, native, chosen, valued, complete=complete and not problems)
    launcher = str(OmegaConf.select(master, "hydra.launcher._target_"))
    return Verdict(tuple(_unique(problems + found)), multirun, launcher, configs)


def _unique(problems: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(problems))


def _sweeping_hydra(parsed: Sequence[Override]) -> list[str]:
    swept = [o for o in parsed if o.is_hydra_override() and o.is_sweep_override()]
    return [f"{o.input_line}: Hydra's own settings cannot be swept" for o in swept]


def _needs_multirun(override: Override) -> str:
    key, text = override.key_or_group, override.get_value_string()
    return f"{key}={text}: several values; add -m to run one after another, or write {key}=[{text}] for a list"


def _sort_out(tree: Tree, overrides: Sequence[Override]) -> tuple[list[Override], list[Override], list[str]]:
    """Valid choices of groups, overrides of values, and what is wrong with the choices."""
    chosen: list[Override] = []
    valued: list[Override] = []
    problems: list[str] = []
    for override in overrides:
        name = override.key_or_group
        is_choice = tree.is_group(name) and not any(isinstance(value, dict) for value in values(override))
        if not is_choice and "/" not in name and override.package is None:
            valued.append(override)
            continue
        found = _choice_problems(tree, override)
        problems += found
        if not found:
            chosen.append(override)
    return chosen, valued, problems


def _choice_problems(tree: Tree, override: Override) -> list[str]:
    name = override.key_or_group
    if name not in tree.groups:
        close = difflib.get_close_matches(name, tree.groups, n=1)
        nearest = f"; the nearest is {close[0]}" if close else f"; its groups are {', '.join(tree.groups)}"
        return [f"{name}: {tree.command} has no such group{nearest}"]
    if override.is_delete():
        return [f"~{name}: a group cannot be removed; choose one of {', '.join(tree.choices(name))}"]
    if override.is_add() or override.is_force_add():
        return [f"{override.get_key_element()}: {name} is there already; write {name}= without the sign"]
    known = tree.choices(name)
    problems = []
    for value in values(override):
        if value in known:
            continue
        close = difflib.get_close_matches(str(value), known, n=1, cutoff=0.4)
        nearest = f"; the nearest is {name}={close[0]}" if close else ""
        listed = ", ".join(known) or "none"
        problems.append(f"{name}={as_text(value)}: no such choice{nearest} (there are {listed})")
    return problems


def _swept_in_yaml(
    tree: Tree, master: DictConfig, own: Sequence[Override]
) -> tuple[list[Override], list[Override], list[str]]:
    """Overrides under ``hydra.sweeper.params`` that the command line does not replace."""
    params = OmegaConf.select(master, "hydra.sweeper.params") or {}
    parsed, problems = parse([f"{key}={value}" for key, value in params.items()], tree.loader)
    given = {o.get_key_element() for o in own}
    problems += [f"{o.key_or_group}: cannot be swept" for o in parsed if o.is_hydra_override()]
    chosen, valued, found = _sort_out(tree, [o for o in parsed if o.get_key_element() not in given])
    return chosen, valued, [f"hydra.sweeper.params: {problem}" for problem in problems + found]


def _check_cells(
    tree: Tree, native: list[str], chosen: list[Override], valued: list[Override], *, complete: bool
) -> tuple[list[str], tuple[dict[str, Any], ...]]:
    """Check the values in every combination of swept choices; a problem of some combinations says which."""
    options = [[f"{o.get_key_element()}={as_text(value)}" for value in values(o)] for o in chosen]
    configs: list[dict[str, Any]] = []
    swept = {o.get_key_element() for o in chosen if o.is_sweep_override()}
    cells = list(itertools.product(*options))
    found: dict[str, list[str]] = {}
    for cell in cells:
        where = " ".join(choice for choice in cell if choice.split("=")[0] in swept)
        problems = _check_cell(tree, native, list(cell), valued, complete=complete)
        if not problems:
            problems, whole = _check_whole(tree, [*native, *cell], valued, complete=complete)
            configs += whole
        for problem in _unique(problems):
            found.setdefault(problem, []).append(where)
    everywhere = len(cells)
    said = [
        text if len(where) == everywhere else f"{text} (in the cells with {', '.join(where)})"
        for text, where in found.items()
    ]
    return said, tuple(configs)


def _check_whole(
    tree: Tree, fixed: list[str], valued: list[Override], *, complete: bool
) -> tuple[list[str], list[dict[str, Any]]]:
    """Check every value of the composed settings, wherever it was set; where they are ``complete``, also whether the
    values fit each other: defaults of a command with one choice changed need not.
    """
    problems: list[str] = []
    configs: list[dict[str, Any]] = []
    for texts in itertools.product(*map(_alternatives, valued)):
        try:
            composed = tree.compose([*fixed, *texts])
            config = _resolved(composed)
        except InterpolationToMissingValueError as error:  # an incomplete one is only shown
            problems += [explain(error)] if complete else []
            continue
        except (InputError, OmegaConfBaseException) as error:
            problems += _replaced(tree, fixed, texts) or [explain(error)]
            continue
        configs.append(config)
        schema = Schema(config)
        flat = flatten(config)
        found = [f for key, value in flat.items() if value != "???" for f in schema.problems(key, value)]
        found += [f for key, value in flat.items() if is_path(key) for f in _control(key, value)]
        problems += found or (relations.problems(config) if complete else [])
    return problems, configs


def _replaced(tree: Tree, fixed: list[str], texts: Iterable[str]) -> list[str]:
    """What is said of sections that are set to something else, where other settings refer to their keys."""
    schema = Schema(written(tree.compose(fixed)))
    given = (text.lstrip("+").partition("=") for text in texts)
    return [
        schema.section(key)
        for key, _, value in given
        if isinstance(schema.nodes.get(key), dict) and not value.startswith("{")
    ]


def _control(key: str, value: Any) -> list[str]:
    """What is wrong with a path that is no single line: it goes into scripts of jobs and into messages."""
    texts = value if isinstance(value, list) else [value]
    odd = [text for text in texts if isinstance(text, str) and not is_one_line(text)]
    return [f"{key}={text!r}: holds a control character, such as the end of a line" for text in odd]


def _alternatives(override: Override) -> list[str]:
    """The override once for each of its values."""
    if not override.is_sweep_override() or isinstance(override.value(), IntervalSweep):
        return [override.input_line or ""] if not override.is_sweep_override() else []
    return [f"{override.get_key_element()}={as_text(value)}" for value in override.sweep_iterator()]


def _resolved(composed: DictConfig) -> dict[str, Any]:
    """The values of a composition, in which nothing refers to Hydra's section."""
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    tree: Any = OmegaConf.to_container(own, resolve=True)
    return dict(tree)


def _check_cell(tree: Tree, native: list[str], cell: list[str], valued: list[Override], *, complete: bool) -> list[str]:
    try:
        composed = tree.compose([*native, *cell])
        overlays = {group: composed.hydra.runtime.choices.get(group) for group in OVERLAYS if group in tree.groups}
        schema = Schema(written(composed))
        problems: list[str] = []
        if any(overlays.values()):
            schema, problems = check_overlays(tree, native, composed, overlays)
    except InputError as error:
        return [str(error)]
    alien = bool(problems)  # what an overlay sets, and the choices lack, no object takes
    for override in valued:
        problems += value_problems(tree, schema, override)
    problems += [] if alien else target_problems(written(composed), valued)
    if complete:
        given = {o.key_or_group for o in valued}
        problems += [_required(tree.command, key) for key in sorted(Schema(written(composed)).missing - given)]
    return problems


def _required(command: str, key: str) -> str:
    what, example = REQUIRED.get(key, ("a value", f"{key}=VALUE"))
    return f"{key} is needed ({what}); for example: python -m mora.{command} {example}"
