"""Which resolvers (``${name:..}``) a configuration may use, and which environment variables it may read.

A resolver is a function that a text calls.  Those that make sections of text, or read any variable, would let a value
become what the check of the settings has not seen, or carry a secret into a run folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from antlr4 import ParserRuleContext
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from mora.errors import InputError

RESOLVERS: Mapping[str, str] = {
    "mora.slug": "a text as one short name of a folder",
    "mora.name": "the last part of a path or of a hub id",
    "mora.if_bf16": "the first of two values where this machine computes in bfloat16, else the second",
    "now": "the time at which the command began",
    "oc.env": "an environment variable, of those in VARIABLES",
}
"""What may be called, with the reason; every other resolver is refused by name."""

VARIABLES: tuple[str, ...] = (
    "HOME",
    "USER",
    "LOGNAME",
    "HOSTNAME",
    "SCRATCH",
    "WORK",
    "TMPDIR",
    "CUDA_VISIBLE_DEVICES",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_NODEID",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_TMPDIR",
)
"""Variables that say where and as what a run runs, and never hold a secret."""


def reason(name: str) -> str:
    """Why the resolver ``name`` is refused."""
    return f"the resolver {name} is not for configurations; there are {', '.join(RESOLVERS)}"


def called(text: str) -> list[tuple[str, str]]:
    """Resolvers that ``text`` calls, inner ones too: the name of each and its first argument, as they are written.

    Raises InputError for an interpolation that cannot be read.
    """
    if "${" not in text:
        return []
    try:
        return list(_called(parse(text)))
    except OmegaConfBaseException as error:
        raise InputError(f"{text}: the interpolation cannot be read ({str(error).splitlines()[0]})") from None


def _called(tree: ParserRuleContext) -> Iterator[tuple[str, str]]:
    if isinstance(tree, OmegaConfGrammarParser.InterpolationResolverContext):
        arguments = tree.sequence().element() if tree.sequence() is not None else []
        yield tree.resolverName().getText(), arguments[0].getText().strip("'\"") if arguments else ""
    for child in getattr(tree, "children", None) or []:
        yield from _called(child)


def refused(value: Any, where: str = "") -> Iterator[str]:
    """A line for each refused resolver and variable that a plain tree of values calls, keys by their dotted place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from refused(key, f"{where}.{key}" if where else str(key))
            yield from refused(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from refused(item, f"{where}[{index}]")
    elif isinstance(value, str):
        try:
            found = [_why_not(name, argument) for name, argument in called(value)]
        except InputError as error:
            found = [str(error)]
        yield from (f"{where}: {said}" for said in found if said is not None)


def _why_not(name: str, argument: str) -> str | None:
    if name == "oc.env" and argument not in VARIABLES:
        return _no_variable(argument)
    return None if name in RESOLVERS else reason(name)


def _no_variable(name: str) -> str:
    return f"the environment variable {name} is not for configurations; there are {', '.join(VARIABLES)}"


@contextmanager
def guarded() -> Iterator[None]:
    """While this lasts, an interpolation can call no resolver but those above, wherever its text came from."""
    before = BaseContainer._resolvers
    kept = {name: work for name, work in before.items() if name in RESOLVERS and name != "oc.env"}
    refusals = {name: _Refusal(name) for name in before if name not in RESOLVERS}
    BaseContainer._resolvers = {**kept, **refusals, "oc.env": _variable}
    try:
        yield
    finally:
        BaseContainer._resolvers = before


@dataclass(frozen=True)
class _Refusal:
    """Stands for a resolver that is refused."""

    name: str

    def __call__(self, *_: Any) -> Any:
        raise InputError(reason(self.name))


def _variable(_config: Any, _parent: Any, _node: Any, arguments: tuple[Any, ...], _texts: tuple[str, ...]) -> Any:
    name, *default = arguments
    if name not in VARIABLES:
        raise InputError(_no_variable(str(name)))
    if name not in os.environ and not default:
        raise InputError(f"the environment variable {name} is not set; give another value: ${{oc.env:{name},VALUE}}")
    return os.environ.get(name, *default)
