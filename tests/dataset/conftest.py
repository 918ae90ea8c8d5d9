"""Small tokenizers, made here: byte-level and word-level, padding of its own or shared with the end token; a hub."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = ["user : how do ostriches run away from danger ? assistant : they run away very fast .\n"] * 4
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}user : {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(special_tokens=["<s>", "</s>", "<pad>", "<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def make_tokenizer():
    """Tokenizers that put their own <s> before a text, as Llama's do; ``pad``: own, the end token, or none."""

    def make(kind: str = "bytes", pad: str = "own", template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
        tokenizer = _byte_level() if kind == "bytes" else _word_level()
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[bos])
        pads = {"own": {"pad_token": "<pad>"}, "eos": {"pad_token": "</s>"}, "none": {}}
        named = {"unk_token": "<unk>"} if kind == "words" else {}
        made = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **pads[pad], **named
        )
        made.chat_template = template
        return made

    return make


@pytest.fixture
def hub(monkeypatch):
    """Stand-ins for the hub; the calls that reach it."""
    calls, answers = [], {}

    def load_dataset(path, **keys):
        calls.append({"path": path} | keys)
        found = answers[keys.get("data_dir"), keys["split"]]
        if isinstance(found, Exception):
            raise found
        return found

    def dataset_info(self, repo, revision, timeout):
        if isinstance(answers.get("commit"), Exception):
            raise answers["commit"]
        return SimpleNamespace(sha=f"commit-of-{revision}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    return SimpleNamespace(calls=calls, answers=answers)
