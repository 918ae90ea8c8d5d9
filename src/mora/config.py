"""``python -m mora.config``: show, compare and snapshot configurations."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mora import terminal
from mora.errors import REFUSED, InputError, correctable, visible
from mora.settings import snapshot
from mora.settings.compose import compose
from mora.settings.identity import canonical_json, difference, plain, to_yaml
from mora.settings.overrides import named_on
from mora.settings.permitted import grant
from mora.settings.reading import read_mapping
from mora.settings.secrets import masked_text
from mora.settings.tree import commands, conf_dir

_EPILOG = """examples:
  python -m mora.config show algo=sft seed=3
  python -m mora.config diff "algo=sft" "algo=sft seed=3"
  python -m mora.config diff runs/NAME "algo=sft"
  python -m mora.config snapshot --check"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    terminal.opened()
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.action(arguments)
    except (InputError, OSError) as error:
        if correctable(error) is None:
            raise
        print(visible(masked_text(f"error: {correctable(error)}")), file=sys.stderr)
        code = REFUSED
    sys.exit(terminal.closed(code))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mora.config",
        description="Show, compare and snapshot configurations.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print the resolved configuration of a command")
    show.add_argument(
        "words", nargs="*", metavar="[COMMAND] KEY=VALUE", help="a command (train, when left out) and overrides"
    )
    show.set_defaults(action=_show)
    diff = actions.add_parser("diff", help="one line for each key that differs; exit code 1 when one does")
    for side in ("left", "right"):
        diff.add_argument(side, help='a YAML file, a run folder, or overrides in quotes ("" for the defaults)')
    diff.set_defaults(action=_diff)
    snapshots = actions.add_parser("snapshot", help="write the resolved configuration of the canonical commands")
    snapshots.add_argument("--check", action="store_true", help="write nothing; exit code 1 when one is stale")
    snapshots.set_defaults(action=_snapshot)
    return parser


def _show(arguments: argparse.Namespace) -> int:
    print(to_yaml(_composed(arguments.words)), end="")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    found = difference(_tree(arguments.left), _tree(arguments.right))
    for key, sides in found.items():
        if len(sides) == 2:
            print(f"{key}: {canonical_json(sides['left'])} -> {canonical_json(sides['right'])}")
        else:
            side, value = next(iter(sides.items()))
            print(f"{key}: only in the {'first' if side == 'left' else 'second'}: {canonical_json(value)}")
    return 1 if found else 0


def _snapshot(arguments: argparse.Namespace) -> int:
    paths = snapshot.stale() if arguments.check else snapshot.write()
    for path in paths:
        print(f"{'stale' if arguments.check else 'written'}: {path}")
    if arguments.check and paths:
        print("run python -m mora.config snapshot and look at the difference")
        return 1
    return 0


def _composed(words: Sequence[str]) -> dict[str, Any]:
    named = bool(words) and words[0] in commands(conf_dir())
    command, overrides = (words[0], words[1:]) if named else ("train", words)
    grant(named_on(overrides))
    tree: dict[str, Any] = plain(compose(command, list(overrides), complete=False))
    return tree


def _tree(side: str) -> dict[str, Any]:
    """The configuration behind one side of a comparison.  Raises InputError when there is none."""
    path = Path(side)
    if side and path.is_dir():
        path = path / "config.yaml"
        if not path.is_file():
            raise InputError(f"{side}: this folder has no config.yaml, so it is no run folder")
    elif path.suffix not in (".yaml", ".yml") or "=" in side:
        return _composed(shlex.split(side))
    if not path.is_file():
        raise InputError(f"{side}: no such file")
    return read_mapping(path)


if __name__ == "__main__":
    main()
