from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

from mora.errors import InputError
from mora.files import read_json, write_json
from mora.functional.quantile import mean_gaps
from mora.model.heads import RewardHead
from mora.model.load import load_backbone
from mora.model.score_model import SCHEMA, ScoreModel
from mora.model.tokenizer import train_words
from mora.reward.quantile import Quantile
from mora.reward.scalar import Scalar

WORDS = "the cat sat on a mat and looked at the rose for an hour ."
TOKENIZER = train_words([WORDS], closed=False)
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
SHAPES = {
    "llama": SIZES | {"intermediate_size": 32},
    "qwen2": SIZES | {"intermediate_size": 32, "num_key_value_heads": 2},
    "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 16},  # learned positions: wrong position ids would show
}
QUANTILE = Quantile(atoms=5, at=None, coupling="independent", initial_gap=0.1, centering=0.01)
SCALAR = Scalar(strength="ignore", margin=0.0, centering=0.01, l2=0.0)


def config(model_type: str) -> AutoConfig:
    return AutoConfig.for_model(
        model_type,
        vocab_size=len(TOKENIZER),
        bos_token_id=TOKENIZER.bos_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
        **SHAPES[model_type],
    )


def backbone(model_type: str = "llama") -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModel.from_config(config(model_type)).eval()
    for parameter in model.parameters():  # larger than the usual 0.02, so that a wrong position moves the score
        parameter.data.mul_(10.0)
    return model


def score_model(kind: Scalar | Quantile = QUANTILE, model_type: str = "llama") -> ScoreModel:
    return ScoreModel.new(lambda: backbone(model_type), TOKENIZER, kind, objectives=("help", "harm"), seed=1).eval()


def padded(sequences: list[list[int]], width: int, pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(sequences), width), pad)
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(len(sequence))
        ids[row, place] = torch.tensor(sequence)
        mask[row, place] = True
    return ids, mask


@torch.no_grad()
@pytest.mark.parametrize("model_type", list(SHAPES))
def test_score_is_the_same_alone_batched_and_under_any_padding(model_type: str) -> None:
    model = score_model(model_type=model_type)
    eos, pad = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id
    sequences = [[6, 7, 8, eos], [9, 6, 10, 11, 12, 7, eos]]
    alone = torch.cat([model(*padded([s], len(s), pad, left=False)) for s in sequences])
    for token in (pad, eos):
        for left in (False, True):
            for width in (7, 12):
                got = model(*padded(sequences, width, token, left=left))
                torch.testing.assert_close(got, alone, atol=1e-4, rtol=1e-4)
    model.check_padding()


@torch.no_grad()
def test_padding_check_catches_a_backbone_that_ignores_position_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    model = score_model(model_type="gpt2")
    forward = model.backbones.trunks[0].forward
    monkeypatch.setattr(
        model.backbones.trunks[0], "forward", lambda **given: forward(**{**given, "position_ids": None})
    )
    with pytest.raises(InputError, match="left padding"):
        model.check_padding()


@torch.no_grad()
@pytest.mark.parametrize("model_type", list(SHAPES))
def test_rounding_of_a_trunk_in_bf16_is_no_padding_that_is_read(model_type: str) -> None:
    model = score_model(model_type=model_type)
    model.backbones.to(torch.bfloat16)
    model.head.linear.weight.mul_(1000)  # whatever the unit of scores
    model.check_padding()


@torch.no_grad()
def test_padding_that_is_read_in_bf16_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = score_model(model_type="gpt2")
    model.backbones.to(torch.bfloat16)
    forward = model.backbones.trunks[0].forward
    monkeypatch.setattr(
        model.backbones.trunks[0], "forward", lambda **given: forward(**{**given, "position_ids": None})
    )
    with pytest.raises(InputError, match="left padding"):
        model.check_padding()


@torch.no_grad()
def test_the_last_token_of_the_mask_decides() -> None:
    model = score_model()
    ids, mask = padded([[6, 7, 8, 9]], 6, 0, left=False)
    before = model(ids, mask)
    after_end, at_end = ids.clone(), ids.clone()
    after_end[0, 4:] = 12
    at_end[0, 3] = 12
    assert torch.equal(model(after_end, mask), before)
    assert not torch.allclose(model(at_end, mask), before)


@torch.no_grad()
def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        score_model()(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.bool))


@torch.no_grad()
def test_new_quantile_head_starts_with_the_initial_gaps_and_a_small_location() -> None:
    model = score_model()
    raw = model(*padded([[6, 7, 8], [9, 10, 11]], 3, 0, left=False))
    assert raw.shape == (2, 2, 5) and raw.dtype == torch.float32
    gaps = mean_gaps(raw).diff(dim=-1)
    torch.testing.assert_close(gaps, torch.full_like(gaps, 0.1))  # whatever the text
    assert raw[0, 0, 0] != raw[1, 0, 0]  # the location depends on it


def test_location_weights_have_a_deviation_of_one_over_width_plus_one() -> None:
    head = RewardHead(399, 2, 3, backbones=(0, 0))
    head.reset((0.0, 1.0, 2.0), torch.Generator().manual_seed(0))
    weight = head.linear.weight.detach().view(2, 3, 399)
    # 798 draws: the sample deviation is within 4 / sqrt(2 * 798) = 10 % of 1/400.
    assert abs(weight[:, 0].std().item() * 400 - 1) < 0.1
    assert weight[:, 1:].abs().max() == 0
    assert head.linear.bias.tolist() == [0.0, 1.0, 2.0] * 2


def test_head_is_a_function_of_the_seed() -> None:
    first, again = score_model().head.linear.weight, score_model().head.linear.weight
    assert torch.equal(first, again)
    other = ScoreModel.new(backbone, TOKENIZER, QUANTILE, objectives=("help", "harm"), seed=2)
    assert not torch.equal(first, other.head.linear.weight)


@torch.no_grad()
def test_head_stays_in_float32_when_the_model_is_cast() -> None:
    model = score_model()
    before = model.head.linear.weight.clone()
    model = model.to(torch.bfloat16)
    assert model.backbones.trunks[0].dtype == torch.bfloat16
    assert torch.equal(model.head.linear.weight, before)
    assert model(*padded([[6, 7, 8]], 3, 0, left=False)).dtype == torch.float32


def test_head_refuses_biases_of_another_width() -> None:
    with pytest.raises(ValueError, match="width 3"):
        RewardHead(4, 2, 3, backbones=(0, 0)).reset((0.0,), torch.Generator())


def test_gradients_reach_head_and_backbone() -> None:
    model = score_model()
    model(*padded([[6, 7, 8]], 3, 0, left=False))[..., 0].sum().backward()
    assert model.head.linear.weight.grad is not None and model.head.linear.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for n, p in model.backbones.trunks[0].named_parameters() if "layers.0" in n)


def test_backbone_of_a_causal_folder_keeps_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    causal = AutoModelForCausalLM.from_config(config("llama"))
    causal.save_pretrained(tmp_path)
    model = ScoreModel.new(lambda: load_backbone(tmp_path), TOKENIZER, SCALAR, objectives=("help",), seed=0)
    for name, parameter in causal.model.named_parameters():
        assert torch.equal(model.backbones.trunks[0].get_parameter(name), parameter), name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    score_model().save(tmp_path / "reward", {"note": "kept"})
    return tmp_path / "reward"


@torch.no_grad()
def test_round_trip_is_exact(folder: Path) -> None:
    model, ids_and_mask = score_model(), padded([[6, 7, 8], [9, 10, 11]], 3, 0, left=False)
    loaded = ScoreModel.load(folder, objectives=("help", "harm"), width=5)
    assert torch.equal(loaded(*ids_and_mask), model(*ids_and_mask))
    assert (loaded.objectives, loaded.kind) == (("help", "harm"), "quantile")
    assert loaded.tokenizer(WORDS)["input_ids"] == TOKENIZER(WORDS)["input_ids"]
    assert read_json(folder / "reward.json")["note"] == "kept"
    assert not loaded.training


def test_only_safetensors_are_written(folder: Path) -> None:
    assert not [p.name for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def _without_head(folder: Path) -> None:
    (folder / "head.safetensors").unlink()


def _without_bias(folder: Path) -> None:
    tensors = load_file(folder / "head.safetensors")
    save_file({"weight": tensors["weight"]}, folder / "head.safetensors")


def _damaged_head(folder: Path) -> None:
    (folder / "head.safetensors").write_bytes(b"no tensors")


def _other_head(folder: Path) -> None:
    save_file({"weight": torch.zeros(4, 16), "bias": torch.zeros(4)}, folder / "head.safetensors")


def _without_card(folder: Path) -> None:
    (folder / "reward.json").unlink()


def _poor_card(folder: Path) -> None:
    write_json(folder / "reward.json", {"schema": SCHEMA, "objectives": ["help", "harm"]})


def _old_card(folder: Path) -> None:
    write_json(folder / "reward.json", {**read_json(folder / "reward.json"), "schema": SCHEMA - 1})


def _vast_card(key: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        write_json(folder / "reward.json", {**read_json(folder / "reward.json"), key: 10**9})

    return spoil


def _without_a_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("q_proj.weight")))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_head, r"head\.safetensors is missing"),
        (_without_bias, "bias has the shape None"),
        (_damaged_head, "damaged"),
        (_other_head, r"shape \(4, 16\)"),
        (
            _vast_card("width"),
            r"weight has the shape .*reward\.json asks for 2 objectives of 1000000000 outputs",
        ),
        (_vast_card("members"), "outputs by 1000000000 members"),
        (_without_card, r"reward\.json is missing"),
        (_old_card, "was written by another version of mora"),
        (_poor_card, "kind, width, members, layout, trunk, pooling missing"),
        (_without_a_weight, "q_proj"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    (folder / "manifest.json").unlink()  # as of a folder from elsewhere
    spoil(folder)
    with pytest.raises(InputError, match=message):
        ScoreModel.load(folder)


def test_other_objectives_and_other_widths_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="scores help, harm, not harm, help"):
        ScoreModel.load(folder, objectives=("harm", "help"))
    with pytest.raises(InputError, match="5 outputs"):
        ScoreModel.load(folder, width=1)
