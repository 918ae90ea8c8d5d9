"""From sections of the configuration to the objects and the data that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from mora.dataset.cache import DatasetCache
from mora.dataset.corpus import Corpus
from mora.dataset.pinned import used_rules
from mora.dataset.rules import Rule, Rules
from mora.errors import InputError
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
    scored = Rules({name: _rule(name, asked[name]) for name in objectives if name in asked})
    source = build(section)
    if "rules" not in signature(source.load).parameters:
        raise InputError(
            f"objectives.rules: {type(source).__name__}.load takes no rules, by which pairs would be labelled; give it "
            "a keyword argument rules, or use objectives of the dataset's own"
        )
    corpus = source.load(objectives, seed, cache, rules=scored)
    if len(asked) == len(objectives):
        corpus.rules = scored.with_references(chain(corpus.supervised["train"], corpus.supervised["test"]))
        corpus.rules.check(chain(corpus.prompts["train"], corpus.prompts["test"]))
    return corpus


def _rule(name: str, section: Any) -> Rule:
    """The function of a rule.  Raises InputError for a section that gives none."""
    try:
        rule = build(section)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"objectives.rules.{name}: {error}; name a function, with _partial_: true") from error
    if not callable(rule):
        raise InputError(f"objectives.rules.{name}={rule}: is no rule; give _target_, and _partial_: true")
    return rule


def load_corpus(config: Mapping[str, Any]) -> Corpus:
    """The data of a run; the stages of one command share it, and its rows are kept in files beside the runs."""
    objectives, root = tuple(config["objectives"]["names"]), config["paths"]["runs"]
    dataset, rules = canonical_json(config["dataset"]), canonical_json(used_rules(config["objectives"]))
    return _corpus(dataset, objectives, rules, config["seed"], root, granted())
