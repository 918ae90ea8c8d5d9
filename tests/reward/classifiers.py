"""Tiny sequence classifiers of several architectures, as folders."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from mora.model.tokenizer import train_words

WORDS = "a b c d e f g h i j user : answer".split()
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": SIZES | {"intermediate_size": 32},
    "qwen2": SIZES | {"intermediate_size": 32, "num_key_value_heads": 2},
    "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 16},  # learned positions: wrong position ids would show
    "bert": SIZES | {"intermediate_size": 32, "max_position_embeddings": 64},
    "roberta": SIZES | {"intermediate_size": 32, "max_position_embeddings": 66},
}
SHAPES["bart"] = {"d_model": 16, "max_position_embeddings": 64}
SHAPES["bart"] |= {f"{side}_{key}": 2 for side in ("encoder", "decoder") for key in ("layers", "attention_heads")}
SHAPES["bart"] |= {f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")}
ENCODERS = ("bert", "roberta", "bart")


def decoder_tokenizer(pad: str | None = "<pad>") -> PreTrainedTokenizerBase:
    tokenizer = train_words([" ".join(WORDS)], closed=False)
    tokenizer.pad_token = pad
    return tokenizer


def encoder_tokenizer(*, types: bool) -> PreTrainedTokenizerBase:
    """As BERT's: ``[CLS] a [SEP] b [SEP]`` with token types 0 and 1, or as RoBERTa's, without ``types``."""
    names = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        pad_token="[PAD]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
    )


def classifier(
    folder: Path,
    model_type: str = "llama",
    *,
    labels: tuple[str, ...] = ("score",),
    pad: str | None = "<pad>",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **changed: Any,
) -> Path:
    """Write a random classifier with its tokenizer; ``pad`` None: no padding token anywhere."""
    tokenizer = encoder_tokenizer(types=model_type == "bert") if model_type in ENCODERS else decoder_tokenizer(pad)
    end = tokenizer.sep_token_id if model_type == "bart" else tokenizer.eos_token_id
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={name: number for number, name in enumerate(labels)},
        **SHAPES[model_type] | changed,
    )
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():  # larger than the usual 0.02, so that a wrong token moves the score
        parameter.data.mul_(8.0)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def plain(folder: Path | str, *texts: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Logits (labels,) by transformers alone: one text or pair, no padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
    batch = tokenizer(*texts, return_tensors="pt")
    accepted = inspect.signature(model.forward).parameters
    return model(**{key: value for key, value in batch.items() if key in accepted}).logits[0]
