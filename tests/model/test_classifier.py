"""A reward model for other programs: the written folder, loaded by stock transformers, scores as mora does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.model.test_score_model import QUANTILE, SCALAR, TOKENIZER, score_model
from transformers import AutoModelForSequenceClassification

from mora.errors import InputError
from mora.files import read_json
from mora.model.classifier import write_classifier
from mora.model.load import load_tokenizer
from mora.model.score_model import ScoreModel
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar

MEAN, STD = torch.tensor([0.5, -2.0]), torch.tensor([2.0, 0.25])
UNITS = {"objectives": ("help", "harm"), "shift": MEAN[:, None], "std": STD[:, None]}
EOS = TOKENIZER.eos_token_id
SEQUENCES = [[5, 6, 7, EOS], [6, 9, 5, 8, 7, 6, EOS], [8, EOS]]


def filled(kind: Scalar | Quantile, model_type: str = "llama") -> ScoreModel:
    model = score_model(kind, model_type)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.head.linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", [SCALAR, QUANTILE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt2"])
def test_a_stock_classifier_gives_the_mean_of_the_belief_in_standard_units(tmp_path: Path, kind, model_type) -> None:
    model = filled(kind, model_type)
    facts = write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert stock.score.weight.dtype == torch.float32 and stock.config.id2label == {0: "help", 1: "harm"}
    constants = torch.tensor(read_json(tmp_path / "scores.json")["constants"])
    for one in SEQUENCES:
        ids = torch.tensor([one])
        with torch.no_grad():
            belief = kind.belief(model(ids, torch.ones_like(ids, dtype=torch.bool)))
            found = stock(input_ids=ids).logits[0] + constants
        expected = ((belief.weights * belief.atoms).sum(-1)[0] - MEAN) / STD
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert facts["objectives"] == ["help", "harm"] and facts["largest error"] < 1e-4


def test_a_head_that_is_not_plain_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled(SCALAR)
    for found in (torch.nn.Module(), torch.nn.ModuleDict({"score": torch.nn.Linear(16, 2)})):  # none; one with a bias
        monkeypatch.setattr(AutoModelForSequenceClassification, "from_config", lambda config, made=found: made)
        with pytest.raises(InputError, match="no plain linear head named score"):
            write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)


@pytest.fixture
def padding():
    """Another padding token for a while."""
    pad, special = TOKENIZER.pad_token, list(TOKENIZER.extra_special_tokens)

    def set_to(token: str) -> None:
        TOKENIZER.pad_token = token

    yield set_to
    TOKENIZER.pad_token = pad
    assert list(TOKENIZER.extra_special_tokens) == special


def test_where_padding_is_the_end_token_the_written_tokenizer_pads_with_another_one(tmp_path: Path, padding) -> None:
    """As many real models do: stock classifiers would read one token early."""
    model = filled(SCALAR)
    padding(TOKENIZER.eos_token)
    assert write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)["largest error"] < 1e-4
    stock, tokenizer = AutoModelForSequenceClassification.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    assert stock.config.pad_token_id == tokenizer.pad_token_id != EOS
    assert tokenizer.eos_token_id == EOS and TOKENIZER.pad_token == TOKENIZER.eos_token  # its own stays


def test_a_tokenizer_that_has_nothing_else_to_pad_with_is_told(tmp_path: Path, padding, monkeypatch) -> None:
    model = filled(SCALAR)
    padding(TOKENIZER.eos_token)
    monkeypatch.setattr(type(TOKENIZER), "all_special_ids", [EOS])
    with pytest.raises(InputError, match="has no special token but those that end answers"):
        write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)


def test_a_server_that_reads_another_token_is_noticed(tmp_path: Path, padding, monkeypatch) -> None:
    """Then nothing is left behind as done."""
    model = filled(SCALAR)
    padding(TOKENIZER.eos_token)
    monkeypatch.setattr("mora.model.classifier._padding_apart", lambda tokenizer, ends: tokenizer)
    with pytest.raises(InputError, match="its pooling or padding is not mora's"):
        write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)


def test_a_backbone_in_half_precision_keeps_its_head_in_full(tmp_path: Path) -> None:
    model = score_model(SCALAR)
    model.backbones.trunks[0].to(torch.bfloat16)
    facts = write_classifier(model, tmp_path, **UNITS, sequences=SEQUENCES)
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["score.weight"].dtype == torch.float32
    assert {tensor.dtype for name, tensor in tensors.items() if name != "score.weight"} == {torch.bfloat16}
    assert facts["largest error"] < 5e-2
