"""What lies in the folder of a model that a stranger made: adapters, pickles, code, absurd sizes; and no network."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, modeling_utils

import mora
from mora.errors import InputError
from mora.model import place, sizes
from mora.model.load import ModelSpec, load_backbone, load_causal, load_classifier, load_tokenizer
from mora.model.tokenizer import copy_chat_template, train_bpe
from mora.train import train

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "model_type": "llama"}


def spec(path: Path | None = None, **changed) -> ModelSpec:
    fields = dict(name="x", path=None if path is None else str(path), revision=None, chat_template=None)
    fields |= dict(template_date="2024-07-26")
    fields |= dict(config=SIZES if path is None else None, vocab_size=300, dtype="float32", quantization=None)
    fields |= dict(
        attention="sdpa",
        gradient_checkpointing=False,
        encoder=False,
        needs_sft=True,
        smoke=True,
        rates={},
        sizes={},
        steering={},
    )
    return ModelSpec(**fields | changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = train_bpe(["how do they run"], 300)
    spec().build(tokenizer, seed=0).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def classifier(folder: Path) -> Path:
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def causal(path):
    return load_causal(path, spec(path))


def backbone(path):
    return load_backbone(path, spec(path))


def scorer(path):
    return load_classifier(path, dtype="float32")


def change(folder: Path, **keys) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("read", [causal, backbone, scorer, load_tokenizer, load_causal])
def test_an_adapter_beside_the_weights_is_refused(classifier, read, name):
    facts = {"peft_type": "LORA", "base_model_name_or_path": "org/other", "r": 1, "target_modules": ["q_proj"]}
    (classifier / name).write_text(json.dumps(facts))
    with pytest.raises(InputError, match=f"{name}: an adapter lies beside the model .* remove the file .* or merge"):
        read(classifier)


def test_an_adapter_alone_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/other"}))
    with pytest.raises(InputError, match="holds a PEFT adapter and no model"):
        causal(tmp_path)


class Boom:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("read", [causal, backbone, scorer])
@pytest.mark.parametrize("beside", [True, False])
def test_pickled_weights_are_never_unpickled(classifier, tmp_path, read, beside):
    (classifier / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(tmp_path / "mark")))
    if beside:
        if read is not causal:  # whose head the classifier's weights lack
            read(classifier)
    else:
        (classifier / "model.safetensors").unlink()
        with pytest.raises(InputError, match="pytorch_model.bin is a pickle"):
            read(classifier)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("read", [causal, backbone, scorer])
def test_code_of_a_model_is_never_run(classifier, tmp_path, read):
    mark = tmp_path / "mark"
    (classifier / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    change(classifier, model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    with pytest.raises(InputError, match="it needs code of its own .* never run"):
        read(classifier)
    assert not mark.exists()


@pytest.mark.parametrize("read", [causal, backbone, scorer])
def test_weights_that_others_quantized_are_refused(classifier, read):
    change(classifier, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(InputError, match="quantization_config.*model.quantization"):
        read(classifier)


@pytest.fixture
def fetched(monkeypatch):
    """The kernels that transformers would have fetched and run."""
    asked = []
    for name in ("lazy_import_flash_attention", "is_kernel"):
        monkeypatch.setattr(modeling_utils, name, lambda value, *a, name=name, **k: asked.append((name, value)))
    return asked


@pytest.mark.parametrize("read", [causal, backbone, scorer, load_causal])
@pytest.mark.parametrize(
    "keys",
    [
        {"attn_implementation": "stranger/kernel"},
        {"_attn_implementation": "stranger/kernel:run"},
        {"_attn_implementation_internal": "stranger/kernel"},
        {"attn_implementation": {"": "sdpa", "text_config": "stranger/kernel"}},
        {"text_config": {"_attn_implementation": "paged|stranger/kernel"}},
        {"experts_implementation": "stranger/kernel"},
    ],
    ids=str,
)
def test_kernels_of_the_hub_are_refused(classifier, fetched, read, keys):
    change(classifier, **keys)
    with pytest.raises(InputError, match=r"config\.json: .*_implementation.* names '.*stranger/kernel.*never run"):
        read(classifier)
    assert not fetched
    with pytest.raises(InputError, match=r"model\.config: .*stranger/kernel"):
        spec(config=SIZES | keys)


@pytest.mark.parametrize("read", [causal, backbone, scorer, load_causal])
def test_attention_that_a_folder_asks_for_is_not_fetched(folder, classifier, read):
    if read in (causal, load_causal):
        spec().build(load_tokenizer(folder), seed=0).save_pretrained(folder)
    change(folder, _attn_implementation="flash_attention_2")
    assert read(folder).config._attn_implementation in ("sdpa", "eager")


def test_infinity_in_a_configuration_is_read(folder):
    before = causal(folder).state_dict()
    change(folder, time_step_limit=[0.0, float("inf")])
    assert "Infinity" in (folder / "config.json").read_text()
    assert all(torch.equal(value, before[name]) for name, value in causal(folder).state_dict().items())
    (folder / "config.json").write_text('{"hidden_size": 1e999}')
    with pytest.raises(InputError, match="beyond double precision"):
        causal(folder)


def test_a_library_that_is_missing_is_told(folder):
    change(folder, quantization_config={"quant_method": "torchao", "quant_type": "int4_weight_only"})
    with pytest.raises(InputError, match="no model can be loaded from there"):
        load_causal(folder)


ABSURD = [{"hidden_size": 10**9, "num_attention_heads": 2}, {"vocab_size": 10**12}, {"num_hidden_layers": 10**9}]
ABSURD += [{"intermediate_size": 10**12}, {"hidden_size": -4}, {"hidden_size": "many"}, {"num_attention_heads": 0}]


@pytest.mark.parametrize("read", [causal, backbone, scorer])
@pytest.mark.parametrize("keys", ABSURD, ids=str)
def test_an_absurd_configuration_is_refused_before_memory_goes(classifier, read, keys):
    change(classifier, **keys)
    with pytest.raises(InputError, match="asks for|can be loaded from there"):
        read(classifier)


@pytest.mark.parametrize("keys", [ABSURD[0], *ABSURD[2:4]], ids=str)
def test_an_absurd_model_is_not_made(keys):
    with pytest.raises(InputError, match="model.config: .*asks for .* (parameters|layers)"):
        spec(config=SIZES | keys).build(train_bpe(["how"], 300), seed=0)


def test_what_is_asked_for_is_held_against_what_is_free(folder, monkeypatch):
    count = sum(p.numel() for p in load_causal(folder).parameters())
    for free, fits in ((4 * count, True), (4 * count - 1, False)):
        monkeypatch.setattr(sizes, "available_memory", lambda free=free: free)
        if fits:
            causal(folder)
        else:
            with pytest.raises(InputError, match="parameters, 0 GiB, and 0.0 GiB of memory are free"):
                causal(folder)
    monkeypatch.setattr(sizes, "available_memory", lambda: 2 * count)
    assert load_causal(folder, spec(folder, dtype="bfloat16")).dtype == torch.bfloat16
    assert place.available_memory() > 2**20


def test_values_for_generating_in_a_strangers_folder_change_no_answer(folder):
    before = causal(folder).generation_config.to_dict()
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.01, "suppress_tokens": [5]}))
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        assert causal(folder)(input_ids=ids).logits[0, -1, 5] > -100
    assert before["suppress_tokens"] is None


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_damaged_files_are_told(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(InputError):
        load_tokenizer(folder) if "tokenizer" in file else causal(folder)


def test_missing_weights_of_a_shard_are_told(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack model.norm.weight"):
        causal(folder)


# --- no network -------------------------------------------------------------------------------------------------------

AWAY = {"HF_HUB_OFFLINE=1": "offline mode", "HF_ENDPOINT=http://127.0.0.1:9": "refused"}


@pytest.mark.parametrize("read", [causal, backbone, scorer, load_tokenizer])
def test_a_model_that_is_not_cached_is_told_in_one_line(read):
    with pytest.raises(
        InputError, match="the hub cannot be reached .* the local cache has no copy of org/absent"
    ) as found:
        read("org/absent")
    assert "\n" not in str(found.value)


def test_a_template_of_the_hub_that_is_not_cached_is_told():
    with pytest.raises(InputError, match="model.chat_template: the hub cannot be reached"):
        copy_chat_template(train_bpe(["how"], 300), "org/absent")


def test_a_run_on_a_missing_model_makes_no_folder(tmp_path):
    for given in (["model=qwen2_5_0_5b", "model.path=org/absent"], ["start.policy=org/absent", "algo=panacea"]):
        own = [*given, "dataset=oracle", f"paths.runs={tmp_path / 'runs'}"]
        own += ["dataset.supervised={train: 60, test: 5}", "dataset.pairs={train: 60, test: 5}"]
        with pytest.raises(InputError, match="the hub cannot be reached .* no copy of org/absent"):
            train(mora.compose(*own), own)
    assert not any((tmp_path / "runs").glob("*absent*")) and not any((tmp_path / "runs").glob("*/status.json"))


@pytest.mark.parametrize(
    "away", ["HF_ENDPOINT=http://127.0.0.1:9", pytest.param("HF_HUB_OFFLINE=1", marks=pytest.mark.truth)]
)
def test_a_cached_model_is_used_without_a_network_and_a_missing_one_is_told_within_seconds(folder, tmp_path, away):
    cache, commit = tmp_path / "hub" / "hub" / "models--org--here", "0123456789" * 4
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / commit)
    code = (
        "import time; from mora.model.load import load_causal, load_tokenizer; from mora.errors import InputError\n"
        "load_causal('org/here'); load_tokenizer('org/here'); begin = time.time()\n"
        "try: load_causal('org/absent')\n"
        "except InputError as error: print(error, '|', time.time() - begin)\n"
    )
    key, value = away.split("=")
    others = {"HF_HOME": str(tmp_path / "hub"), "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), key: value}
    done = subprocess.run([sys.executable, "-c", code], env=others, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said, seconds = done.stdout.rsplit("|", 1)
    assert AWAY[away] in said and "no copy of org/absent" in said and float(seconds) < 10
