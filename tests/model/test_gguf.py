"""A GGUF file that is written here becomes a folder with the same numbers, by the command that a refusal names."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import gguf
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from mora.errors import InputError
from mora.model.load import load_causal, load_tokenizer
from mora.model.place import find
from mora.model.tokenizer import train_bpe
from mora.prepare import prepare
from mora.settings.launch import launch

HEADS, GROUPS, WIDTH, LAYERS = 4, 2, 32, 2
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def written(path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """``model`` as llama.cpp's own converter lays it out: rotary halves of queries and keys are interleaved."""
    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(64)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(48)
    file.add_head_count(HEADS)
    file.add_head_count_kv(GROUPS)
    file.add_rope_freq_base(10000.0)
    file.add_layer_norm_rms_eps(1e-6)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = set(tokenizer.all_special_tokens)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([3 if token in special else 1 for token in tokens])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    file.add_token_merges([" ".join(pair) for pair in merges])
    file.add_bos_token_id(tokenizer.bos_token_id or tokenizer.eos_token_id)
    file.add_eos_token_id(tokenizer.eos_token_id)
    file.add_pad_token_id(tokenizer.pad_token_id)
    state = {name: value.detach().float() for name, value in model.state_dict().items()}
    file.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    file.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    file.add_tensor("output.weight", state["lm_head.weight"].numpy())
    for layer in range(LAYERS):
        for own, theirs in NAMES.items():
            value = state[f"model.layers.{layer}.{own}.weight"]
            heads = {"attn_q": HEADS, "attn_k": GROUPS}.get(theirs)
            if heads is not None:
                halves = value.view(heads, 2, len(value) // heads // 2, -1)
                value = halves.transpose(1, 2).reshape(value.shape)
            file.add_tensor(f"blk.{layer}.{theirs}.weight", value.contiguous().numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@pytest.fixture
def model(tmp_path, monkeypatch) -> LlamaForCausalLM:
    """A small model with random weights, and ``tiny.gguf`` of it in the working directory."""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_bpe(["how do they run, and where to", "slowly, to the river"], 300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=GROUPS, max_position_embeddings=64, rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    written(tmp_path / "tiny.gguf", made, tokenizer)
    return made


def test_the_command_of_the_refusal_makes_a_folder_with_the_same_logits(model, capsys):
    with pytest.raises(InputError, match="is a GGUF file, made for llama.cpp; make a folder of it") as refused:
        find("tiny.gguf", None, "model.path")
    command = shlex.split(str(refused.value).splitlines()[-1])
    assert command[:3] == ["python", "-m", "mora.prepare"]
    assert launch("prepare", prepare, [*command[3:], "task.dtype=float32"]) == 0
    assert "tokens" in capsys.readouterr().out
    ids = torch.randint(5, 250, (3, 9), generator=torch.Generator().manual_seed(1))
    found, tokenizer = load_causal("models/tiny").eval(), load_tokenizer("models/tiny")
    with torch.no_grad():
        assert torch.allclose(found(ids).logits, model(ids).logits, atol=1e-5)
        assert float(model(ids).logits.std()) > 0.01
    assert tokenizer.decode(tokenizer("how do they run")["input_ids"]) == "how do they run"
    assert not hasattr(found.config, "quantization_config")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task=gguf", "output=models/a"], "input is needed: name the GGUF file"),
        (["task=gguf", "input=none.gguf", "output=models/a"], "input=none.gguf: no such file"),
        (["task=gguf", "input=tiny.gguf"], "output is needed: the folder to write"),
        (["task=gguf", "input=tiny.gguf", "output=there"], "output=there exists"),
        (["task=gguf", "input=damaged.gguf", "output=models/a"], "damaged.gguf: no model can be read from it"),
        (
            ["task=gguf", "input=tiny.gguf", "output=models/a", "summary=a.json"],
            "summary=a.json is for tasks that read",
        ),
        (["task=smollm2", "input=tiny.gguf", "output=models/a"], "task.sha256 is bcc81830"),
        (["task=gguf", "input=[tiny.gguf]", "output=models/a"], "input: this task takes one file"),
        (["task=check"], "input is needed .the file with the rows"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(model, capsys, options, message):
    Path("there").mkdir()
    Path("damaged.gguf").write_bytes(Path("tiny.gguf").read_bytes()[:900])
    assert launch("prepare", prepare, options) == 2
    assert message.replace(".the", "(the") in capsys.readouterr().err.replace("\n", " ")
    assert not Path("models").exists() and not any(Path("there").iterdir())
