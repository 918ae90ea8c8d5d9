"""Dropout, off: log-probabilities that are compared must come from one function.

A rate may be read by a module of PyTorch, or lie as a plain number in any module that calls ``F.dropout``.  So it is
set where all of them take it from, in the configuration, before the model is made.  ``mora.model.agreement`` checks
that nothing of it is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedConfig

# attention_dropout, resid_pdrop, hidden_dropout_prob, layerdrop, drop_path_rate; router_jitter_noise, moe_jitter_eps
RATE = re.compile("drop|jitter")
Config = TypeVar("Config", bound=PreTrainedConfig)
Model = TypeVar("Model", bound=nn.Module)


def without_rates(config: Config) -> Config:
    """``config``, in place, with every rate of dropout and of noise in routers at 0, in nested ones too."""
    for values, name in list(_rates(config)):
        values[name] = type(values[name])(0)  # some configurations check their types
    return config


def without_dropout(model: Model) -> Model:
    """``model``, in place, with the dropout modules off whose rate is a constant of its code."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    return model


def _rates(config: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every rate below ``config``: what holds it, and its name there."""
    values = vars(config) if isinstance(config, PreTrainedConfig) else config
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig | dict):
            yield from _rates(value)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, PreTrainedConfig | Mapping):
                    yield from _rates(item)
        elif isinstance(value, int | float) and not isinstance(value, bool) and RATE.search(str(name)):
            yield values, name
