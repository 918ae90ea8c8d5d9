"""A folder with a PEFT adapter is never taken for a model, and the advice on what to do with it works."""

from __future__ import annotations

import shlex

import pytest
import torch
from tests.model.architectures import made, preferences, sequences, settings, spec, steered

import mora
from mora.errors import InputError
from mora.model.export import write_lora
from mora.model.load import load_backbone, load_causal, load_classifier, load_tokenizer
from mora.model.place import find
from mora.model.tokenizer import train_words
from mora.train import train


@pytest.fixture
def adapter(tmp_path):
    """A model with tied embeddings, its tokenizer, and an adapter that changes its head too."""
    made("llama", tmp_path / "base", tie_word_embeddings=True)
    train_words(["a b c"], closed=False).save_pretrained(tmp_path / "base")
    policy = steered(load_causal(tmp_path / "base"), settings("all-linear", head=True)).eval()
    (tmp_path / "it's an adapter").mkdir()
    base, folder = str(tmp_path / "base"), tmp_path / "it's an adapter"
    write_lora(policy.adapter, policy.model, preferences()[1], folder, base=base, pad_rank=None, ends=[1])
    return policy, tmp_path / "it's an adapter"


READERS = [
    load_causal,
    load_backbone,
    load_tokenizer,
    lambda path: load_classifier(path, dtype="float32"),
    lambda path: find(str(path), None, "model.path"),
    lambda path: spec(path=str(path)).tokenizer([], tokens="bytes"),
]


@pytest.mark.parametrize("read", READERS)
def test_it_is_refused_by_whatever_reads_models(adapter, read):
    with pytest.raises(InputError, match="holds a PEFT adapter and no model; merge it"):
        read(adapter[1])


@pytest.mark.parametrize("key", ["model.path", "start.policy"])
def test_it_is_refused_before_the_folder_of_a_run_is_made(adapter, tmp_path, key):
    given = [f"paths.runs={tmp_path / 'runs'}", f'{key}="{adapter[1]}"', "algo=panacea", "reward=gold"]
    given += ["dataset.supervised={train: 64, test: 8}", "dataset.pairs={train: 64, test: 16}"]
    given += ["model.config=null"] if key == "model.path" else []
    with pytest.raises(InputError, match="holds a PEFT adapter and no model"):
        train(mora.compose(*given), given)
    assert not list((tmp_path / "runs").glob("*-*"))


def test_the_command_that_is_advised_makes_the_model(adapter):
    policy, folder = adapter
    with pytest.raises(InputError) as refused:
        load_causal(folder)
    python, option, code = shlex.split(str(refused.value).splitlines()[-1])
    assert (python, option) == ("python", "-c")
    exec(code, {})
    merged = load_causal(f"{folder}-merged")
    load_tokenizer(f"{folder}-merged")
    ids, _ = sequences(padded=False)
    with torch.no_grad(), policy.adapter.using(preferences()[1].expand(len(ids), -1)):
        live = policy.model(input_ids=ids).logits
        assert torch.allclose(merged(input_ids=ids).logits, live, atol=1e-4)


def test_an_adapter_beside_a_model_is_named(adapter):
    (adapter[1] / "config.json").write_text("{}")
    with pytest.raises(InputError, match="an adapter lies beside the model"):
        load_causal(adapter[1])
