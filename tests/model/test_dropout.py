"""Whatever a configuration says of dropout, training computes what evaluation computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model.architectures import made, spec
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from mora.errors import InputError
from mora.model.agreement import check_modes
from mora.model.dropout import without_dropout, without_rates
from mora.model.load import load_causal

# rates that models keep under names of their own, as plain numbers, per layer, and in a nested configuration
LOUD: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"attention_dropout": 0.5}),
    ("gpt2", {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5}),
    ("gpt_bigcode", {"attn_pdrop": 0.5}),
    ("biogpt", {"hidden_dropout_prob": 0.5, "activation_dropout": 0.5, "layerdrop": 0.5}),
    ("opt", {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}),
    ("mixtral", {"router_jitter_noise": 0.5}),
    ("dbrx", {"attn_config": {"attn_pdrop": 0.5}}),
]


def louder(folder: Path, rates: dict[str, Any]) -> None:
    """Write the rates into the configuration of a stored model."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in rates.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(("name", "rates"), LOUD, ids=[name for name, _ in LOUD])
def test_a_loaded_model_computes_in_training_what_it_computes_in_evaluation(tmp_path, name, rates):
    made(name, tmp_path)
    louder(tmp_path, rates)
    torch.manual_seed(0)
    loud = AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="training mode changes its log-probabilities"):
        check_modes(loud)
    check_modes(load_causal(tmp_path, spec(path=str(tmp_path))))


def test_a_made_model_too():
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "attn_pdrop": 0.5, "resid_pdrop": 0.5}
    check_modes(spec(config=config).made(20, (0, 1, 2), seed=0))


def test_a_rate_that_is_a_constant_of_the_code_is_off():
    model = without_dropout(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Dropout2d(0.2)))
    assert [module.p for module in model[1:]] == [0.0, 0.0]


def test_only_rates_are_touched():
    config = AutoConfig.for_model("mixtral", attention_dropout=0.5, router_jitter_noise=0.1, rms_norm_eps=0.25)
    quiet = without_rates(config)
    assert (quiet.attention_dropout, quiet.router_jitter_noise, quiet.rms_norm_eps) == (0.0, 0.0, 0.25)
