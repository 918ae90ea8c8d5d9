"""Weights with one flipped bit are not loaded, by whatever reads them, and files that are cut or lost are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.adapters import svd_lora
from tests.model.architectures import spec
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from mora import manifest
from mora.errors import InputError
from mora.files import new_folder
from mora.model.backbones import Backbones, Layout, TrunkSource
from mora.model.load import load_backbone, load_causal, load_classifier, load_tokenizer
from mora.model.lora import LoRASettings, attach_several
from mora.model.stored import load_plain, load_policy
from mora.model.svd_lora import SVDLoRA
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
    settings = svd_lora(rank=1, init_std=0.1, targets=["q_proj"])
    with new_folder(model.with_name("policy"), sealed=True) as made:
        settings.attach(load_causal(model), ["x", "y"], seed=0).save(made, base="../model")
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
        lambda folder: load_plain(folder, torch.device("cpu")),
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


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def other_shapes(path: Path) -> None:
    save_file({name: torch.cat([tensor, tensor]) for name, tensor in load_file(path).items()}, path)


def configured(**changed):
    def change(path: Path) -> None:
        config = path.with_name("config.json")
        config.write_text(json.dumps(json.loads(config.read_text()) | changed))

    return change


@pytest.mark.parametrize("load", [load_causal, load_backbone])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "no model can be loaded from there .*not fully covered"),
        (Path.unlink, "no model can be loaded from there.*no .*safetensors"),
        (configured(vocab_size=9), r"weight is stored as \(16, 8\), and config.json asks for \(9, 8\)"),
        (configured(intermediate_size=4), r"is stored as .*: weights and configuration are of two models"),
        (configured(model_type="unheard"), "unheard"),
    ],
)
def test_a_model_of_a_stranger(model, load, damage, message):
    (model / "manifest.json").unlink()
    damage(model / "model.safetensors")
    with pytest.raises(InputError, match=f"^{model}.*{message}") as refused:
        load(model)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("load", [load_causal, load_backbone, lambda folder: load_classifier(folder, dtype="float32")])
def test_weights_that_are_not_stored_are_not_drawn_first(model, load, monkeypatch):
    (model / "manifest.json").unlink()
    configured(hidden_size=4096, intermediate_size=2**16)(model / "model.safetensors")
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", None)
    with pytest.raises(InputError, match=f"^{model}: .*weight is stored as .16, 8., .* asks for .16, 4096."):
        load(model)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(cut, "is damaged"), (Path.unlink, "is missing; without"), (other_shapes, "do(es)? not fit this")],
)
def test_adapters_and_heads(policy, model, damage, message):
    for folder in (policy, model):
        (folder / "manifest.json").unlink()
    settings = LoRASettings(rank=1, scale=1.0, targets=["q_proj"])
    bank = attach_several(load_backbone(model), settings, count=1, seed=0)
    bank.save(model)
    for path, load in (
        (policy / "adapter.safetensors", lambda: load_policy(policy, torch.device("cpu"))),
        (model / "lora.safetensors", lambda: bank.load(model)),
    ):
        damage(path)
        with pytest.raises(InputError, match=f"^{path}.*{message}"):
            load()


@pytest.mark.parametrize("attention", ["flash_attention_2", "quick"])
def test_attention_that_is_not_there(model, attention):
    config = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    loaded, made = spec(path=str(model), attention=attention), spec(config=config, attention=attention)
    for make in (lambda: load_causal(model, loaded), lambda: made.made(16, (0, 1, 2), seed=0)):
        with pytest.raises(InputError, match="set model.attention=sdpa"):
            make()


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"rank": 10**9},
            r"adapter\.safetensors: .*sigma is stored as .1,., and its settings ask for .1000000000,.",
        ),
        (
            {"objectives": ["y", "x"]},
            r"adapter\.json: has the objectives y, x, and standardization\.json has .'x', 'y'.",
        ),
    ],
)
def test_settings_of_another_adapter_are_refused_before_memory_is_taken(policy, monkeypatch, values, message):
    (policy / "manifest.json").unlink()
    (policy / "standardization.json").write_text(json.dumps({"objectives": ["x", "y"]}))
    load_policy(policy, torch.device("cpu"))
    changed(policy / "adapter.json", **values)
    monkeypatch.setattr(SVDLoRA, "attach", None)
    with pytest.raises(InputError, match=message):
        load_policy(policy, torch.device("cpu"))


@pytest.mark.parametrize(("rank", "objectives"), [(10**9, 1), (1, 10**9)])
def test_adapters_of_a_reward_model_are_held_against_what_is_stored_first(model, monkeypatch, rank, objectives):
    (model / "manifest.json").unlink()
    attach_several(load_backbone(model), LoRASettings(rank=1, scale=1.0, targets=["q_proj"]), count=1, seed=0).save(
        model
    )
    monkeypatch.setattr("mora.model.backbones.attach_several", None)
    lora = LoRASettings(rank=rank, scale=1.0, targets=["q_proj"])
    layout = Layout(objectives="lora", members="trunk", lora=lora)
    source = TrunkSource(path=None, attention="eager")
    with pytest.raises(InputError, match=r"lora\.safetensors: .*A is stored as \(1, 1, 8\), and its settings ask for"):
        Backbones.load(model, layout, objectives=objectives, members=1, source=source)
