"""What a model cannot read is refused before it is trained: tokens without an embedding, texts beyond its positions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.security.test_models import spec
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from mora.errors import InputError
from mora.model.agreement import check_modes, check_policy, check_span
from mora.model.capacity import check_lengths, check_tokens, positions
from mora.model.stored import load_plain
from mora.model.tokenizer import train_bpe

SIZES = {"vocab_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}


@pytest.mark.parametrize(
    ("kind", "keys", "limit"),
    [
        ("llama", {"intermediate_size": 8, "max_position_embeddings": 48}, 48),
        ("gpt2", {"n_positions": 32}, 32),
        ("opt", {"ffn_dim": 8, "max_position_embeddings": 24, "word_embed_proj_dim": 16}, 24),
        ("bloom", {}, None),
    ],
)
def test_positions_are_those_of_the_architecture(kind, keys, limit):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **keys))
    assert positions(model) == limit
    check_lengths(model, 12, 12, kind)
    if limit is not None:
        check_lengths(model, 4, limit - 4, kind)
        with pytest.raises(
            InputError, match=rf"^{kind}: reads at most {limit} .*max_prompt=5 .*max_response={limit - 4}"
        ):
            check_lengths(model, 5, limit - 4, kind)


def test_a_model_too_short_to_be_tried_is_told_its_length_and_not_its_architecture():
    sizes = SIZES | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    configs = (AutoConfig.for_model("gpt2", **sizes, n_positions=n) for n in (14, 15))
    short, enough = (AutoModelForCausalLM.from_config(config) for config in configs)
    with pytest.raises(InputError, match="^base: reads at most 14 tokens; .* at least 15 positions"):
        check_span(short, "base")
    check_span(enough, "base")
    check_modes(enough)
    check_policy(enough)


def test_positions_of_encoders_leave_out_what_is_reserved():
    config = AutoConfig.for_model("roberta", **SIZES, intermediate_size=8, max_position_embeddings=34, pad_token_id=1)
    assert positions(AutoModelForSequenceClassification.from_config(config)) == 32


def test_a_token_without_an_embedding_is_named(tmp_path: Path):
    tokenizer = train_bpe(["how do they run"], 300)
    model = spec().build(tokenizer, seed=0)
    check_tokens(model, tokenizer, "base")
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    with pytest.raises(InputError, match=r"^base: .*'<padding>'.* embeddings for \d+: .*resize_token_embeddings"):
        check_tokens(model, tokenizer, "base")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="<padding>"):
        load_plain(tmp_path, torch.device("cpu"))
