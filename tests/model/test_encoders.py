"""Encoders as trunks: each architecture reads a padded sequence as its own code reads it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.model.architectures import spec
from tests.reward.classifiers import encoder_tokenizer
from transformers import AutoConfig, AutoModel

from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.model.agreement import check_modes, check_trunk
from mora.model.features import last_hidden
from mora.model.tokenizer import separate

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 48,
    "pad_token_id": 1,
}
MORE = {
    "distilbert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
    "modernbert": {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "local_attention": 8},
}
READ = ("bert", "roberta", "xlm-roberta", "electra", "albert", "mpnet", "deberta-v2", "modernbert", "distilbert")


def made(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    attention = "eager" if kind in ("deberta-v2", "mpnet") else "sdpa"
    model = AutoModel.from_config(
        AutoConfig.for_model(kind, **SIZES | MORE.get(kind, {})), attn_implementation=attention
    )
    for parameter in model.parameters():  # larger than the usual 0.02, so that a wrong position shows
        parameter.data.mul_(4.0)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", READ)
def test_a_padded_sequence_is_read_as_the_models_own_code_reads_it_alone(kind):
    model, length = made(kind), 7
    alone = torch.arange(3, 3 + length)[None]
    expected = model(input_ids=alone, attention_mask=torch.ones_like(alone)).last_hidden_state
    for left in (False, True):
        ids, mask = torch.full((1, length + 4), 5), torch.zeros(1, length + 4, dtype=torch.bool)
        place = slice(4, None) if left else slice(length)
        ids[0, place], mask[0, place] = alone[0], True
        torch.testing.assert_close(last_hidden(model, ids, mask)[mask], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", READ)
def test_what_is_asked_of_a_trunk_before_anything_is_trained_passes(kind):
    model = made(kind)
    for module in model.modules():  # as loading leaves them
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    check_trunk(model)
    check_modes(model)


def test_an_encoder_is_loaded_without_the_pooler_that_nothing_reads(tmp_path: Path):
    made("bert").save_pretrained(tmp_path)
    model = spec(path=str(tmp_path), encoder=True).loaded()
    assert model.pooler is None and not [name for name, _ in model.named_parameters() if "pooler" in name]


def test_the_texts_of_an_encoder_are_separated_as_it_was_taught():
    tokenizer = encoder_tokenizer(types=True)
    separate(tokenizer)
    encoder = Encoder(tokenizer, 16, 16, "cut_answer")
    names = [*tokenizer.convert_ids_to_tokens(encoder.prompt("a b")), "|"]
    assert " ".join(names + tokenizer.convert_ids_to_tokens(encoder.response("c"))) == "[CLS] a b [SEP] | c [SEP]"
    tokenizer.sep_token = tokenizer.eos_token = None
    with pytest.raises(InputError, match="has no separator"):
        separate(tokenizer)
