"""From sections of the configuration to the objects and the data that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mora.dataset.corpus import Corpus
from mora.dataset.shelf import Cache
from mora.errors import InputError
from mora.settings.identity import canonical_json

ROWS = ".rows"  # below the folder of all runs: rows of datasets in files, found by content


def build(section: Any, **more: Any) -> Any:
    """The object that a section of the configuration names; what it refuses comes as its own InputError."""
    try:
        return instantiate(OmegaConf.create(section), _convert_="all", **more)
    except InstantiationException as error:
        cause: BaseException | None = error
        while isinstance(cause, InstantiationException):
            cause = cause.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        raise


@lru_cache(maxsize=2)
def _corpus(dataset: str, objectives: tuple[str, ...], seed: int, root: str) -> Corpus:
    section = json.loads(dataset)
    corpus: Corpus = build(section).load(objectives, seed, Cache(Path(root) / ROWS, section))
    return corpus


def load_corpus(config: Mapping[str, Any]) -> Corpus:
    """The data of a run; the stages of one command share it, and its rows are kept in files beside the runs."""
    objectives, root = tuple(config["objectives"]["names"]), config["paths"]["runs"]
    return _corpus(canonical_json(config["dataset"]), objectives, config["seed"], root)
