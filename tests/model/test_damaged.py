"""Weights with one flipped bit are not loaded, by whatever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mora import manifest
from mora.errors import InputError
from mora.files import new_folder
from mora.model.load import load_backbone, load_causal, load_classifier, load_tokenizer
from mora.model.stored import load_policy, load_unconditioned
from mora.model.svd_lora import AdapterSettings, attach
from mora.model.tokenizer import train_words


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What a stage hands on: a model with its tokenizer, and a manifest."""
    config = AutoConfig.for_model(
        "llama", vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with new_folder(tmp_path / "model", sealed=True) as made:
        AutoModelForCausalLM.from_config(config).save_pretrained(made)
        train_words(["a b c"], closed=True).save_pretrained(made)
    return tmp_path / "model"


@pytest.fixture
def policy(model: Path) -> Path:
    settings = AdapterSettings(rank=1, scale=1.0, init_std=0.1, targets=["q_proj"], head=False, objectives=["x", "y"])
    with new_folder(model.with_name("policy"), sealed=True) as made:
        attach(load_causal(model), settings, seed=0).save(made, base="../model")
        train_words(["a b c"], closed=True).save_pretrained(made)
    return model.with_name("policy")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    manifest._check.cache_clear()  # as in a new process


@pytest.mark.parametrize(
    "load",
    [
        load_causal,
        load_backbone,
        lambda folder: load_classifier(folder, dtype="float32"),
        load_tokenizer,
        lambda folder: load_unconditioned(folder, torch.device("cpu")),
    ],
)
def test_a_model(model, load):
    flip(model / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load(model)


@pytest.mark.parametrize("damaged", ["policy/adapter.safetensors", "model/model.safetensors", "policy/tokenizer.json"])
def test_a_policy_and_what_it_stands_on(policy, damaged):
    flip(policy.parent / damaged)
    with pytest.raises(InputError, match=r"is damaged"):
        load_policy(policy, torch.device("cpu"))


def test_undamaged_and_without_a_manifest_it_is_loaded(policy):
    load_policy(policy, torch.device("cpu"))
    for folder in (policy, policy.with_name("model")):
        (folder / "manifest.json").unlink()
    load_policy(policy, torch.device("cpu"))
