"""The parts of a mixture written out: each short form becomes the whole section of the source that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from mora.errors import InputError
from mora.settings.compose import compose
from mora.settings.identity import plain

TARGET = "mora.dataset.mixture.Mixture"
PART = "mora.dataset.mixture.Part"
SOURCE = "mora.dataset.source.Source"
SHARES = ("fraction", "count", "weight")


def expanded(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the parts of its mixture, if its dataset is one, as sections to construct; done ones stay.

    Raises InputError for a part that cannot be read, an unknown source or key, and a source that makes its own world.
    """
    dataset = config["dataset"]
    if dataset["_target_"] != TARGET:
        return dict(config)
    if not isinstance(dataset["sources"], list):
        raise InputError(
            f"dataset.sources={dataset['sources']}: must be a list, as in [pku_saferlhf:0.5,hummer:1:PATH]"
        )
    parts = [_part(part, number, config["plugins"]) for number, part in enumerate(dataset["sources"], start=1)]
    return {**config, "dataset": {**dataset, "sources": parts}}


def _part(part: Any, number: int, plugins: list[str]) -> dict[str, Any]:
    where = f"dataset.sources[{number - 1}]"
    if isinstance(part, str):
        part = _parsed(part, where)
    if not isinstance(part, Mapping):
        raise InputError(f"{where}={part}: write NAME:PROPORTION:PATH, or a mapping with the key dataset")
    if part.get("_target_") == PART:
        return dict(part)
    if "dataset" not in part:
        raise InputError(f"{where}: name the source, as in {{dataset: pku_saferlhf, fraction: 0.5}}")
    own = {key: value for key, value in part.items() if key not in ("dataset", "seed", *SHARES)}
    overrides = [f"dataset.{key}={_written(value)}" for key, value in own.items()]
    try:
        composed = compose("train", [f"dataset={part['dataset']}", f"plugins={json.dumps(plugins)}", *overrides])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    source = plain(composed)["dataset"]
    if source["_target_"] != SOURCE:
        raise InputError(f"{where}: dataset={part['dataset']} makes its own rows and cannot be mixed")
    return {"_target_": PART, "source": source, "seed": part.get("seed"), **{key: part.get(key) for key in SHARES}}


def _written(value: Any) -> str:
    """A value as an override has it: keys of mappings stand without quotes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value)


def _parsed(text: str, where: str) -> dict[str, Any]:
    """``NAME:PROPORTION`` or ``NAME:PROPORTION:PATH``; a proportion is a number or a fraction such as 1/3."""
    name, _, rest = text.partition(":")
    share, _, path = rest.partition(":")
    try:
        fraction = float(Fraction(share)) if share else 1.0
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{where}={text}: {share!r} is no proportion; write one such as 0.5 or 1/3") from None
    return {"dataset": name, "fraction": fraction} | ({"path": path} if path else {})
