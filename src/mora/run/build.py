"""From sections of the configuration to the objects and the data that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from mora.dataset.cache import DatasetCache
from mora.dataset.corpus import Corpus
from mora.dataset.rules import Rules
from mora.settings.declared import STATED
from mora.settings.identity import canonical_json, plain
from mora.settings.permitted import check_section, granted

STATED_KEYS = frozenset(key for keys in STATED.values() for key in keys)
ROWS = ".rows"  # below the folder of all runs: rows of datasets in files, found by content


def build(section: Any, **more: Any) -> Any:
    """The object that a section of the configuration names, with those that it holds; ``more`` are further arguments.

    Keys that only a plan reads (``declared.STATED``) are not handed to an object that does not take them.
    With ``_partial_=True`` the class or function waiting for the rest of its arguments.  Texts are taken as they are:
    an interpolation in them is never resolved.  Raises InputError, and builds nothing, where a section names an object
    that no configuration may name (``mora.settings.permitted``).
    """
    values = plain(section)
    check_section(values)
    return _made({**values, **more} if more else values)


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _made(item) for key, item in value.items()}
    named = get_object(value["_target_"])
    left_out = {"_target_", "_partial_", *(STATED_KEYS - signature(named).parameters.keys())}
    arguments = {key: _made(item) for key, item in value.items() if key not in left_out}
    return partial(named, **arguments) if value.get("_partial_") else named(**arguments)


@lru_cache(maxsize=2)
def _corpus(
    dataset: str, objectives: tuple[str, ...], rules: str, seed: int, root: str, packages: tuple[str, ...]
) -> Corpus:
    section, asked = json.loads(dataset), json.loads(rules)
    cache = DatasetCache(Path(root) / ROWS, section, asked)
    if not asked:
        corpus: Corpus = build(section).load(objectives, seed, cache)
        return corpus
    scored = Rules({name: build(asked[name]) for name in objectives if name in asked})
    corpus = build(section).load(objectives, seed, cache, rules=scored)
    if len(asked) == len(objectives):
        corpus.rules = scored.with_references([*corpus.supervised["train"], *corpus.supervised["test"]])
    return corpus


def load_corpus(config: Mapping[str, Any]) -> Corpus:
    """The data of a run; the stages of one command share it, and its rows are kept in files beside the runs."""
    objectives, root = tuple(config["objectives"]["names"]), config["paths"]["runs"]
    known = config["objectives"].get("rules", {})
    rules = {name: known[name] for name in objectives if name in known}
    dataset = canonical_json(config["dataset"])
    return _corpus(dataset, objectives, canonical_json(rules), config["seed"], root, granted())
