"""The tree in conf/: every file composes, fits the object that it constructs, and explains itself."""

from __future__ import annotations

import re
import shlex
from functools import cache, lru_cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mora.settings.check import check
from mora.settings.declared import OPEN, OVERLAYS, SPECIAL, SUPPLIED, stated
from mora.settings.overrides import prepare
from mora.settings.schema import Schema
from mora.settings.targets import define, targets
from mora.settings.tree import commands, conf_dir, opened

ROOT = conf_dir()
FILES = sorted(path for path in ROOT.rglob("*.yaml") if "_resolved" not in path.parts)
GROUP_FILES = [path for path in FILES if path.parent != ROOT and "hydra" not in path.relative_to(ROOT).parts]
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


@lru_cache
def owner(group: str) -> str:
    """A command that has ``group``."""
    for command in ["train", *commands(ROOT)]:
        with opened(command) as tree:
            if group in tree.groups:
                return command
    raise AssertionError(f"conf/{group} belongs to no command")


@cache
def checked(command: str, *overrides: str) -> tuple[tuple[str, ...], dict]:
    """The problems of a command and what it composes; most files state the command that chooses them."""
    with opened(command) as tree:
        ready = prepare(overrides)
        problems = check(tree, ready, complete=False).problems
        whole = {} if problems else OmegaConf.to_container(tree.compose(ready), resolve=False)
        return problems, {key: value for key, value in whole.items() if key != "hydra"}


def composed(path: Path) -> dict:
    """What a command composes that chooses the file: the one at the head of it where there is one."""
    group = str(path.parent.relative_to(ROOT))
    choice = f"{group}={path.stem}"
    commands_of_it = [stated_command(line) for line in stated_commands(path)]
    chosen = [(command, overrides) for command, overrides in commands_of_it if choice in overrides]
    command, overrides = chosen[0] if chosen else (owner(group), (choice,))
    problems, whole = checked(command, *overrides)
    assert problems == ()
    return whole


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_choice_composes_and_fits_what_it_constructs(path):
    """YAML keys equal the fields of a class, less what code supplies; of a function they are among its parameters."""
    whole = composed(path)
    group = path.parent.name
    for where, section in targets(whole if group in OVERLAYS else whole[group], group):
        definition = define(section["_target_"])
        said = set(stated(where.removeprefix(f"{group}.") if group in OVERLAYS else where))
        assert said <= set(section), f"{where}: lacks {said - set(section)}"
        given = set(section) - set(SPECIAL) - said
        fields = set(definition.annotations)
        if section.get("_partial_"):
            assert given <= fields, f"{where}: {given - fields} unknown"
        else:
            assert given == fields - set(SUPPLIED), f"{where}: {given ^ (fields - set(SUPPLIED))} differ"


@pytest.mark.parametrize("command", commands(ROOT))
def test_every_command_composes(command):
    assert checked(command)[0] == ()


def test_every_number_of_the_tree_has_bounds():
    """So that a new key cannot go without: numbers of every file in conf/, as its command composes it."""
    unbounded = set()
    chosen = [path for path in GROUP_FILES if path.parent.name not in ("experiment", "sweep", "objectives")]
    for whole in [*(checked(command)[1] for command in commands(ROOT)), *map(composed, chosen)]:
        schema = Schema(whole)
        for key in schema.nodes:
            if any(key == section or key.startswith(f"{section}.") for section in OPEN):
                continue
            kind = schema.kind(key)
            if kind.numbers and not kind.bounded and not key.endswith("_"):
                unbounded.add(key)
    assert sorted(unbounded) == []


def test_the_mirror_rule():
    """``conf/<group>/<name>.yaml`` constructs something of ``mora.<group>``; functions live in ``mora.functional``."""
    functional = {"risk", "scalarize", "preference"}
    strangers = {"tracker": "mora.runtime.track", "adapter": "mora.model"}
    for path in GROUP_FILES:
        target = OmegaConf.load(path).get("_target_")
        group = path.relative_to(ROOT).parts[0]
        if isinstance(target, str):
            home = f"mora.functional.{group}" if group in functional else strangers.get(group, f"mora.{group}")
            homes = (
                (home, "mora.functional.lagrangian", "mora.functional.tchebycheff") if group == "scalarize" else (home,)
            )
            assert target.rpartition(".")[0].startswith(homes), f"{path}: {target} is not in {homes}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_key_has_a_comment_above(path):
    """``defaults`` and Hydra's special keys need none; the keys of a section that is data for a library need none."""
    lines = path.read_text().splitlines()
    foreign = None  # indentation of a section such as model.config, whose keys are another library's
    for number, line in enumerate(lines):
        found = re.match(r"^(\s*)([A-Za-z][\w/]*):", line)
        if found is None or found[2] in ("defaults", "hydra") or line.lstrip().startswith("- "):
            continue
        if foreign is not None and len(found[1]) > foreign:
            continue
        foreign = len(found[1]) if found[2] in ("config", "params") else None
        above = lines[number - 1].strip() if number else ""
        parent_only = re.match(r"^\s*[\w/]+:\s*$", line) is not None
        assert above.startswith("#") or parent_only, f"{path.name}:{number + 1}: {found[2]} has no comment above it"


def stated_commands(path: Path) -> list[str]:
    """Commands in the comment at the head of a file."""
    head = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            break
        head.append(line)
    return re.findall(r"-m mora\.(\w+ [^#\n`]*)", "\n".join(f"{line} " for line in head))


def stated_command(line: str) -> tuple[str, tuple[str, ...]]:
    """A command and its overrides."""
    command, *words = shlex.split(line)
    return command, tuple(word for word in words if "=" in word)


@pytest.mark.parametrize("path", [path for path in FILES if "hydra" not in path.parts], ids=lambda path: path.name)
def test_the_command_at_the_head_of_a_file_is_accepted(path):
    for line in stated_commands(path):
        command, overrides = stated_command(line)
        assert checked(command, *overrides)[0] == (), line


def documented(page: Path) -> list[str]:
    """Commands in the shell blocks of a page."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    return re.findall(r"^python -m mora\.(.+)$", "\n".join(blocks), re.MULTILINE)


@pytest.mark.parametrize("page", ["commands.md", "configuration.md", "datasets.md"])
def test_the_commands_of_a_page_are_accepted(page):
    stated = documented(ROOT.parent / "docs" / page)
    assert len(stated) > 10
    for line in stated:
        command, *words = shlex.split(line, comments=True)
        overrides = [word for word in words if "=" in word and not word.startswith("-")]
        if command == "config":
            continue  # tests/settings/test_config.py
        with opened(command) as tree:
            multirun = "-m" in words
            complete = "--cfg" not in words
            found = check(tree, prepare(overrides, multirun), multirun=multirun, complete=complete)
            assert found.problems == (), line


def test_top_files_and_own_groups_state_a_command():
    mine = [path for path in FILES if path.parent == ROOT or path.parent.name in ("risk", "scalarize", "preference")]
    assert all(stated_commands(path) for path in mine)
