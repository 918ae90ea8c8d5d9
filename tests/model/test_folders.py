"""Folders as people have them, that hold no model or no tokenizer: one message each that says what to do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tests.security.test_models import spec

from mora.errors import InputError
from mora.model import place
from mora.model.load import load_causal, load_tokenizer
from mora.model.place import find, reason
from mora.model.tokenizer import train_bpe

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = train_bpe(["how do they run"], 300)
    spec().build(tokenizer, seed=0).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("model-q4.gguf", r"model-q4\.gguf is a GGUF file, made for llama\.cpp; make a folder of it"),
        ("pytorch_model.bin", r"pytorch_model\.bin is a pickle.*python -c .*from_pretrained\('.*model'\)\.save_pret"),
        (None, r"it holds no \*\.safetensors; get the folder again"),
    ],
)
def test_what_stands_in_place_of_the_weights_is_named(folder, weights, message):
    if weights is None:
        (folder / WEIGHTS).unlink()
    else:
        (folder / WEIGHTS).rename(folder / weights)
    with pytest.raises(InputError, match=f"^{folder}: no model can be loaded from there: {message}"):
        load_causal(folder, spec(folder))


def emptied(folder: Path, *kept: str) -> Path:
    for path in folder.iterdir():
        if path.name not in ("config.json", WEIGHTS, *kept):
            path.unlink()
    return folder


def test_a_folder_without_a_tokenizer_says_so(folder):
    with pytest.raises(InputError, match=r"it has no tokenizer\.json; copy the files of the model's tokenizer"):
        load_tokenizer(emptied(folder))


def test_a_tokenizer_without_its_vocabulary_is_none(folder):
    """transformers makes a tokenizer of the special tokens alone, and every text would be empty."""
    (emptied(folder) / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    with pytest.raises(InputError, match="special tokens alone, and no vocabulary; get the folder again"):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model"])
def test_the_package_that_reads_a_sentencepiece_model_is_named(folder, monkeypatch, name):
    asked = importlib.util.find_spec
    monkeypatch.setattr(place.importlib.util, "find_spec", lambda n: None if n == "sentencepiece" else asked(n))
    (emptied(folder) / name).write_bytes(b"\x0a\x0e")
    with pytest.raises(InputError, match=rf"{name} alone is read by the package sentencepiece.*pip install sentence"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("some/where/model", r"^model\.path: some/where/model: no such folder; name one, or a hub id \(OWNER/NAME\)"),
        ("./model", r"^model\.path: \./model: no such folder"),
        ("x.gguf", r"^model\.path: .*x\.gguf is a GGUF file, made for llama\.cpp; make a folder"),
        ("config.json", r"^model\.path: .*config\.json is a file; name the folder"),
    ],
)
def test_what_is_no_folder_is_told_without_asking_the_hub(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for file in ("x.gguf", "config.json"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(InputError, match=message):
        find(name, None, "model.path")


def test_what_a_library_says_is_not_cut_in_the_middle():
    said = "One of these is needed: \n(1) a file,\n  (2) a package.\n\nSee the documentation\nat length."
    assert reason(ValueError(said)) == "One of these is needed: (1) a file, (2) a package."
    assert reason(KeyError()) == "KeyError"
