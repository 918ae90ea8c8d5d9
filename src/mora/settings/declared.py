"""What is declared about settings, in one place: where the tree is open, which values are free text, what overlays."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

OPEN: Mapping[str, str] = {
    "hydra": "Hydra's own configuration, which Hydra checks",
    "algo.needs": "roles under names that the algorithm chooses, which mora.settings.algorithm checks",
    "model.kwargs": "keyword arguments of the library that loads the model",
    "tracker.kwargs": "keyword arguments of the tracking service",
    "runtime.deepspeed": "DeepSpeed's own configuration format",
    "objectives.rules": "rules under the names of objectives, which the user chooses",
    "reward.models": "models under the names of objectives, which the user chooses",
    "dataset.columns": "what a source calls the objectives, which the user names",
    "dataset.test_where": "values of a source's own fields",
    "evaluation.sections": "sections of a benchmark under names that the user chooses",
    "evaluation.weights": "weights of a benchmark's subsets, by name",
    "scalarize.floors": "floors under the names of objectives, which the user chooses",
    "task.shares": "shares of parts under names that the user chooses",
}
"""Sections below which keys are not checked, each with the reason."""

FREE_TEXT: tuple[str, ...] = ("prompt", "reward.chat")
"""Keys whose value is text for a model: whatever the shell hands over is the value."""

PATHS: tuple[str, ...] = (
    "run",
    "model",
    "runs",
    "input",
    "output",
    "quarantine",
    "summary",
    "task.exclude",
    "task.scores",
    "out",
    "paths.*",
    "dataset.path",
    "dataset.*_path",
    "evaluation.path",
    "evaluation.judge",
    "tracker.folder",
    "start.*",
    "model.path",
    "reward.models.*.path",
)
"""Keys (patterns) whose value is a path or an address: like free text, but ``${key}`` keeps its meaning."""

OVERRIDE_LISTS: tuple[str, ...] = ("start.sft", "start.reward_model", "start.ensemble")
"""Keys whose value is a list of overrides for another run: ``[algo.steps=50]`` needs no quotes around its items."""

OVERLAYS: tuple[str, ...] = ("experiment", "sweep")
"""Groups whose files change other keys and bring none of their own; what they set is checked like the command line."""

SPECIAL: tuple[str, ...] = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
"""Keys of a constructed section that are read by Hydra's ``instantiate``, not handed to the object."""

STATED: Mapping[str, tuple[str, ...]] = {
    "algo": ("name", "produces", "rows", "reads", "needs"),
    "reward": ("origin",),
    "reward.*": ("origin",),
    "evaluation": ("measures", "takes"),
    "evaluation.*": ("measures", "takes"),
}
"""Keys of constructed sections (patterns) that say what the plan of a command needs to know; no object is handed them.
"""

SUPPLIED: tuple[str, ...] = ("context",)
"""Fields that code hands to a constructed object; no YAML sets them."""

VALUES: Mapping[str, str] = {
    "seed": "Seed",
    "batch_size": "Count",
    "samples": "Count",
    "temperature": "NonNegative",
    "max_new_tokens": "Count | None",
    "plain.max_prompt": "Count",
    "plain.max_response": "AtLeastTwo",
    "pad_rank": "Count | None",
    "preference": "list[Share] | list[list[Share]] | None",
    "to": "Literal['lora', 'merged', 'classifier']",
    "on_bad_row": "Literal['error', 'quarantine']",
    "objectives.names": "list[str]",
    "paths.runs": "str",
    "plugins": "list[str]",
    "model.config.*_size": "Count",
    "model.config.num_*": "Count",
    "model.config.max_position_embeddings": "Count",
    "algo.name": "str",
    "algo.produces": "Literal['model', 'policy', 'reward']",
    "algo.rows": "Literal['supervised', 'pairs', 'prompts']",
    "algo.reads": "list[str]",
    "reward*.origin": "Literal['trained', 'imported', 'rules']",
    "evaluation*.measures": "Literal['policy', 'reward']",
    "evaluation*.takes": "Literal['run', 'finished_run', 'runs']",
}
"""What keys (patterns) take that fill no field of a class that a YAML names, in the names of :mod:`mora.bounds`."""

WRITTEN: Mapping[str, tuple[str, ...]] = {
    "train": ("paths.runs",),
    "evaluate": ("paths.runs",),
    "export": ("out",),
    "score": ("output",),
    "prepare": ("output", "quarantine", "summary"),
}
"""Of each command the keys with places that it writes to."""

REQUIRED: Mapping[str, tuple[str, str]] = {
    "run": ("a run folder or its name", "run=runs/NAME"),
    "input": ("the file with the rows", "input=rows.jsonl"),
    "out": ("the folder to write", "out=exported"),
    "preference": ("one weight per objective", "preference=[0.5,0.5]"),
    "model.path": ("the folder or the hub id of the model", "model=hf model.path=FOLDER"),
    "dataset.path": ("the file with the training rows", "dataset=jsonl dataset.path=pairs.jsonl"),
    "scalarize.floors": ("the least expected reward of some objectives", "scalarize.floors={safe:0.9}"),
    "evaluation.path": ("the file with the benchmark's rows", "evaluation=sections evaluation.path=rows.jsonl"),
}
"""Keys that have no default: what they are, and an example."""


def declared(key: str) -> str | None:
    """What ``key`` is declared to take."""
    return next((said for pattern, said in VALUES.items() if fnmatchcase(key, pattern)), None)


def stated(place: str) -> tuple[str, ...]:
    """The keys of a section in ``place`` that its object is not handed."""
    return next((keys for pattern, keys in STATED.items() if fnmatchcase(place, pattern)), ())


def handed(section: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A section, and the constructed ones in it, without those keys: what results depend on."""
    kept = {key: value for key, value in section.items() if "_target_" not in section or key not in stated(place)}
    return {
        key: handed(value, f"{place}.{key}") if isinstance(value, Mapping) else value for key, value in kept.items()
    }


def is_open(key: str) -> bool:
    """Whether ``key`` lies below an open section."""
    return any(key.startswith(f"{section}.") for section in OPEN)


def is_free_text(key: str) -> bool:
    """Whether the value of ``key`` is text for a model."""
    return key in FREE_TEXT


def is_path(key: str) -> bool:
    """Whether the value of ``key`` is a path or an address."""
    return key not in OVERRIDE_LISTS and any(fnmatchcase(key, pattern) for pattern in PATHS)


def is_one_line(text: str) -> bool:
    """Whether ``text`` holds no control character and no end of a line, so that a script can name it."""
    return not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)
