from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.model.architectures import made, settings, steered
from transformers import AutoModelForCausalLM, GenerationConfig

from mora.errors import InputError
from mora.model.export import merge, padded, write_lora, write_merged
from mora.model.load import load_causal
from mora.model.tokenizer import train_words

IDS = torch.randint(3, 61, (3, 12), generator=torch.Generator().manual_seed(0))


def _live(policy, preference):
    with torch.no_grad(), policy.adapter.using(preference.expand(len(IDS), -1)):
        return policy.model(input_ids=IDS).logits


def _export(policy, preference, folder: Path, base: Path, pad_rank=None) -> Path:
    folder.mkdir(exist_ok=True)
    write_lora(policy.adapter, policy.model, preference, folder, base=str(base), pad_rank=pad_rank, ends=[1])
    return folder


def _stock(base: Path, adapter: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns about an adapted head of tied embeddings
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()


@pytest.mark.parametrize("pad_rank", [None, 16])
@pytest.mark.parametrize(
    ("kind", "tied", "head"), [("llama", False, True), ("qwen2", True, True), ("llama", True, False)]
)
def test_a_stock_adapter_gives_the_live_logits(make_policy, simplex, tmp_path, kind, tied, head, pad_rank):
    base = tmp_path / "base"
    policy = make_policy(kind, tied=tied, head=head, base=base).eval()
    errors = []
    for n, preference in enumerate(simplex(6)):
        folder = _export(policy, preference, tmp_path / f"adapter-{n}", base, pad_rank)
        with torch.no_grad():
            logits = _stock(base, folder)(input_ids=IDS).logits
        errors.append(float((logits - _live(policy, preference)).abs().max()))
    assert max(errors) < 1e-5 * max(1.0, float(logits.abs().max()))
    spread = _live(policy, simplex(6)[0]) - _live(policy, simplex(6)[1])
    assert float(spread.abs().max()) > 0.1  # the preference matters, or the comparison would say nothing


def test_the_adapter_config_is_a_plain_lora_of_scale_one(make_policy, simplex, tmp_path):
    for pad, rank in ((None, 5), (8, 8)):
        folder = _export(make_policy(), simplex(1)[0], tmp_path / f"{pad}", Path("some/base"), pad)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (rank, rank, False)
        assert config["peft_type"] == "LORA" and config["base_model_name_or_path"] == "some/base"
        assert (config["lora_dropout"], config["bias"], config["task_type"]) == (0.0, "none", "CAUSAL_LM")
        assert sorted(config["target_modules"]) == sorted(
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
        )


def test_a_rank_below_the_adapters_own_is_refused(make_policy, simplex, tmp_path):
    with pytest.raises(InputError, match="pad_rank=4 is smaller than the adapter's rank 5"):
        _export(make_policy(), simplex(1)[0], tmp_path / "a", Path("base"), 4)


def test_only_some_modules_of_a_name_adapted_means_whole_paths(make_policy, simplex, tmp_path):
    policy = make_policy(targets=("q_proj", "down_proj"), head=False)
    layer = policy.adapter.layers.pop("model.layers.0.q_proj", None) or policy.adapter.layers.pop(
        "model.layers.0.self_attn.q_proj"
    )
    policy.model.model.layers[0].self_attn.q_proj = layer.base
    folder = _export(policy, simplex(1)[0], tmp_path / "a", Path("base"))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert "model.layers.1.self_attn.q_proj" in config["target_modules"] and "q_proj" not in config["target_modules"]


def test_the_factors_are_the_update_and_padding_is_zero(make_policy, simplex):
    policy, preference = make_policy(), simplex(3)[2]
    for path, layer in policy.adapter.layers.items():
        a, b = padded(policy.adapter.low_rank(path, preference), 9)
        assert a.dtype == b.dtype == torch.float32
        assert torch.allclose(b @ a, layer.delta(preference), atol=1e-6)
        assert not a[5:].any() and not b[:, 5:].any()


@pytest.mark.parametrize(
    ("kind", "tied", "head"), [("llama", False, True), ("qwen2", True, True), ("llama", True, False)]
)
def test_an_adapter_that_peft_merges_gives_the_live_logits_also_from_disk(
    make_policy, simplex, tmp_path, kind, tied, head
):
    base, preference = tmp_path / "base", simplex(3)[2]
    policy = make_policy(kind, tied=tied, head=head, base=base).eval()
    merged = _stock(base, _export(policy, preference, tmp_path / "adapter", base)).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    live = _live(policy, preference)
    for model in (merged, AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()):
        with torch.no_grad():
            error = float((model(input_ids=IDS).logits - live).abs().max())
        assert error < 1e-5 * max(1.0, float(live.abs().max()))
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert ("whole LM head" in card) is (tied and head)


def test_a_layer_that_peft_would_put_elsewhere_is_refused(tmp_path):
    made("deepseek_v3", tmp_path / "base")
    policy = steered(load_causal(tmp_path / "base"), settings("all-linear", head=True))
    with pytest.raises(InputError, match="to=lora.*use to=merged"):
        _export(policy, torch.tensor([0.5, 0.5]), tmp_path / "adapter", tmp_path / "base")
    assert not any((tmp_path / "adapter").iterdir())


def test_exporting_twice_and_saving_again_by_peft_change_nothing(make_policy, simplex, tmp_path):
    base, preference = tmp_path / "base", simplex(3)[2]
    policy = make_policy(base=base)
    one = _export(policy, preference, tmp_path / "one", base, 8)
    two = _export(policy, preference, tmp_path / "two", base, 8)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    _stock(base, one).save_pretrained(tmp_path / "again")
    stored, again = (load_file(folder / "adapter_model.safetensors") for folder in (one, tmp_path / "again"))
    again = {k: v for k, v in again.items() if "lora_" in k}
    assert stored.keys() == again.keys() and all(torch.equal(stored[k], again[k]) for k in stored)


@pytest.mark.parametrize(
    ("kind", "tied", "head"), [("llama", False, True), ("qwen2", True, True), ("llama", True, False)]
)
def test_a_merged_folder_gives_the_live_logits(make_policy, simplex, tmp_path, kind, tied, head):
    tokenizer = train_words(["a b c"], closed=False)
    for n, preference in enumerate(simplex(3)):
        policy = make_policy(kind, tied=tied, head=head).eval()
        live = _live(policy, preference)
        embeddings = policy.model.get_input_embeddings().weight.clone()
        write_merged(policy.model, policy.adapter, preference, tmp_path / f"{n}", tokenizer, [1])
        model = AutoModelForCausalLM.from_pretrained(tmp_path / f"{n}").eval()
        with torch.no_grad():
            logits = model(input_ids=IDS).logits
        assert (logits - live).abs().max() < 1e-5 * max(1.0, float(live.abs().max()))
        assert torch.equal(model.get_input_embeddings().weight, embeddings)  # merging the head leaves them alone
        config = json.loads((tmp_path / f"{n}" / "config.json").read_text())
        assert config["tie_word_embeddings"] is (tied and not head)
        assert not [name for name in load_file(tmp_path / f"{n}" / "model.safetensors") if ".base" in name]


@pytest.mark.parametrize(("ends", "stated"), [([1], 1), ([7, 1], [7, 1])])
def test_exports_state_what_ends_an_answer(make_policy, simplex, tmp_path, ends, stated):
    policy, preference = make_policy(), simplex(1)[0]
    limits = {"base": "org/base", "pad_rank": None, "ends": ends}
    write_lora(policy.adapter, policy.model, preference, tmp_path, **limits)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == stated
    tokenizer = train_words(["a b c"], closed=False)
    write_merged(policy.model, policy.adapter, preference, tmp_path / "merged", tokenizer, ends)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").generation_config.eos_token_id == stated


def test_merged_weights_keep_their_precision(make_policy, simplex):
    policy = make_policy().to(torch.bfloat16)
    preference = simplex(3)[2]
    layer = policy.adapter.layers["lm_head"]
    exact = layer.base.weight.float() + layer.delta(preference)
    merged = merge(policy.model, policy.adapter, preference).lm_head.weight
    assert merged.dtype == torch.bfloat16 and torch.equal(merged, exact.to(torch.bfloat16))


def test_a_whole_head_is_exported_in_fp32_whatever_the_base_has(make_policy, simplex, tmp_path):
    """Rounded to bf16 as its base, the head would lose an update that is small beside it."""
    policy = make_policy("qwen2", tied=True, head=True, base=tmp_path / "base").to(torch.bfloat16)
    folder = _export(policy, simplex(3)[2], tmp_path / "adapter", tmp_path / "base")
    layer = policy.adapter.layers["lm_head"]
    exact = layer.base.weight.float() + layer.delta(simplex(3)[2])
    written = load_file(folder / "adapter_model.safetensors")["base_model.model.lm_head.weight"]
    assert written.dtype == torch.float32 and torch.equal(written, exact)
    assert not torch.equal(exact, exact.to(torch.bfloat16).float())


def test_quantized_weights_are_not_merged(make_policy, simplex):
    policy = make_policy()
    layer = next(iter(policy.adapter.layers.values()))
    layer.base.weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(InputError, match="quantized"):
        merge(policy.model, policy.adapter, simplex(1)[0])
