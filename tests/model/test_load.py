from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.adapters import sequences, svd_lora

from mora.errors import InputError
from mora.files import write_json
from mora.model.adapter import SETTINGS
from mora.model.load import ModelSpec, load_backbone, load_causal, load_tokenizer
from mora.model.stored import base_of, base_reference, load_policy
from mora.model.svd_lora import AdapterState, SVDLoRAAdapter
from mora.model.tokenizer import train_words

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
TEXTS = ["a b c d e f g", "h i j k"]


def spec(**changed) -> ModelSpec:
    fields = {
        "name": "tiny",
        "path": None,
        "revision": None,
        "config": LLAMA,
        "vocab_size": 300,
        "chat_template": None,
        "template_date": "2024-07-26",
        "dtype": "float32",
        "quantization": None,
        "attention": "sdpa",
        "gradient_checkpointing": False,
        "encoder": False,
        "needs_sft": True,
        "smoke": True,
        "rates": {},
        "sizes": {},
        "steering": {},
    }
    return ModelSpec(**(fields | changed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with its tokenizer."""
    tokenizer = spec().tokenizer(TEXTS, tokens="words")
    spec().build(tokenizer, seed=0).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("given", [{"config": None}, {"path": "x"}])
def test_a_model_is_loaded_or_made_not_both(given):
    with pytest.raises(InputError, match="model.path.*or model.config"):
        spec(**given)


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="model.dtype=fp8: use one of float32, bfloat16, float16"):
        spec(dtype="fp8")


def test_a_made_model_takes_its_tokens_from_the_tokenizer():
    tokenizer = spec().tokenizer(TEXTS, tokens="words")
    model = spec().build(tokenizer, seed=0)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 16
    config = model.config
    expected = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == expected


def test_weights_are_drawn_from_the_seed_alone_and_leave_the_generator_alone():
    tokenizer = spec().tokenizer(TEXTS, tokens="words")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = spec().build(tokenizer, seed=0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    two, other = spec().build(tokenizer, seed=0).state_dict(), spec().build(tokenizer, seed=1).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_the_tokenizer_is_by_words_or_by_bytes():
    assert len(spec().tokenizer(TEXTS, tokens="words")) == 16
    assert len(spec().tokenizer(TEXTS, tokens="bytes")) > 256
    with pytest.raises(InputError, match="model.vocab_size"):
        spec(vocab_size=None).tokenizer(TEXTS, tokens="bytes")


def test_a_chat_template_is_copied_when_named(tmp_path):
    (tmp_path / "mine.jinja").write_text("{{ messages[0]['content'] }}")
    tokenizer = spec(chat_template=str(tmp_path / "mine.jinja")).tokenizer(TEXTS, tokens="words")
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_precision_asked_for(folder, dtype):
    loaded = spec(path=str(folder), config=None, dtype=dtype)
    tokenizer = loaded.tokenizer([], tokens="words")
    assert loaded.build(tokenizer, seed=0).dtype == getattr(torch, dtype)
    assert spec(dtype=dtype).build(tokenizer, seed=0).dtype == getattr(torch, dtype)


def test_without_a_spec_the_stored_precision_is_kept(folder):
    load_causal(folder).to(torch.bfloat16).save_pretrained(folder)
    assert load_causal(folder).dtype == torch.bfloat16


def test_a_backbone_is_the_model_without_its_head(folder):
    model, backbone = load_causal(folder), load_backbone(folder)
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        logits = model.lm_head(backbone(input_ids=ids).last_hidden_state)
        assert torch.equal(logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("load", [load_causal, load_backbone, load_tokenizer])
def test_a_folder_without_a_model_is_refused_by_name(tmp_path, load):
    with pytest.raises(InputError, match=f"^{tmp_path}: no (model|tokenizer) can be loaded from there"):
        load(tmp_path)


def test_pickled_weights_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    os.remove(folder / "model.safetensors")
    with pytest.raises(InputError, match="no model can be loaded"):
        load_causal(folder)


def test_a_weight_that_the_file_lacks_is_not_drawn_at_random(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="model.layers.1.mlp.up_proj.weight"):
        load_causal(folder)


def _settings() -> dict[str, object]:
    return {"kind": "svd_lora", **asdict(svd_lora(rank=1, targets=["q"])), "objectives": ["a"]}


def _stored(folder: Path, base: str) -> Path:
    model = load_causal(folder)
    settings = svd_lora(head=True)
    adapter = settings.attach(model, ["a", "b"], seed=1)
    with torch.no_grad():
        for value in adapter.singular_values():
            value.add_(0.5)
    place = folder.parent / "run" / "policy"
    adapter.save(place, base=base_reference(base, place))
    train_words(TEXTS, closed=False).save_pretrained(place)
    return place


def test_a_stored_policy_comes_back(folder):
    place = _stored(folder, str(folder))
    policy, tokenizer = load_policy(place, torch.device("cpu"))
    assert not policy.training and policy.critic is None and len(tokenizer) == 16
    ids, mask = torch.tensor([[3, 4, 5, 6]]), torch.ones(1, 4, dtype=torch.bool)
    at = [policy(sequences(ids, mask, torch.tensor([w]), response=2)).logps for w in ([1.0, 0.0], [0.0, 1.0])]
    assert not torch.equal(*at)
    with torch.no_grad():
        base = load_causal(folder)(input_ids=ids).logits.log_softmax(-1)[0, 1:3].gather(-1, ids[0, 2:, None])
    assert torch.allclose(policy.reference(sequences(ids, mask, response=2))[0], base[:, 0], atol=1e-6)


def test_policy_and_base_may_be_moved_together(folder, tmp_path, monkeypatch):
    place = _stored(folder, str(folder))
    assert json.loads((place / "adapter.json").read_text())["base"] == "../../base"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    os.rename(folder, moved / "base")
    os.rename(place.parent, moved / "run")
    monkeypatch.chdir("/")
    assert base_of(moved / "run" / "policy") == str(moved / "base")
    load_policy(moved / "run" / "policy", torch.device("cpu"))


@pytest.mark.parametrize("inside", [True, False], ids=["a base among the runs", "a base elsewhere"])
def test_a_base_is_found_through_links_and_after_the_runs_are_moved(tmp_path, monkeypatch, inside):
    runs, elsewhere = tmp_path / "disk" / "far" / "runs", tmp_path / "models" / "base"
    policy, base = runs / "one" / "policy", runs / "sft" / "model" if inside else elsewhere
    for path in (policy, base, tmp_path / "project"):
        path.mkdir(parents=True)
    link = tmp_path / "project" / "runs"
    link.symlink_to(runs)
    monkeypatch.chdir(tmp_path / "project")
    named = "runs/sft/model" if inside else "../models/base"  # as on a command line
    write_json(policy / SETTINGS, {**_settings(), "base": base_reference(named, Path("runs/one/policy"))})
    linked = tmp_path / "a link to a run"
    linked.symlink_to(runs / "one")
    monkeypatch.chdir("/")
    for place in (policy, link / "one" / "policy", linked / "policy"):
        assert base_of(place) == str(base)
    link.unlink()
    moved = runs.rename(tmp_path / "moved")
    assert base_of(moved / "one" / "policy") == str(moved / "sft" / "model" if inside else base)


def test_a_base_that_is_gone_is_named(folder):
    place = _stored(folder, str(folder))
    os.rename(folder, folder.with_name("renamed"))
    with pytest.raises(InputError, match="the base model .*base is gone"):
        load_policy(place, torch.device("cpu"))


def test_a_hub_id_stays_as_it_is(tmp_path):
    assert base_reference("owner/model", tmp_path) == "owner/model"
    settings = svd_lora(rank=1, targets=["q"])
    SVDLoRAAdapter({}, AdapterState(), settings, ["a"]).save(tmp_path, base="owner/model")
    assert base_of(tmp_path) == "owner/model"
