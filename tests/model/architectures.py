"""Architectures at two layers with random weights: what each is made of, and what mora can do with it.

``python -m tests.model.architectures`` tries all and writes the table of docs/models.md.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tests.adapters import sequences as answered
from tests.adapters import svd_lora
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, logging

from mora.algo.sft import SFT
from mora.errors import InputError
from mora.model.agreement import check_adapter, check_modes, check_policy, check_trunk
from mora.model.export import write_lora, write_merged
from mora.model.features import width_of_causal
from mora.model.generate import Sampling
from mora.model.load import ModelSpec, load_backbone, load_causal
from mora.model.policy import Critic, Policy
from mora.model.score_model import ScoreModel
from mora.model.svd_lora import SVDLoRA
from mora.model.tokenizer import train_words
from mora.reward.scalar import Scalar
from mora.types import Prompts, Sequences

VOCABULARY, SPECIAL = 96, (0, 1, 2)  # first, end and padding token
COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
HEADS = {"head_dim": 8}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}

# What each architecture needs beside or instead of the common sizes; None: the key does not exist there.
CONFIGS: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "biogpt": {},
    "bitnet": {},
    "bloom": {},
    "codegen": {"rotary_dim": 4},
    "cohere": {},
    "cohere2": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
    "ctrl": {"dff": 48},
    "dbrx": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
             "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "diffllama": {},
    "ernie4_5": HEADS,
    "exaone4": HEADS,
    "falcon": {"head_dim": None},
    "falcon_h1": {**MAMBA, "mamba_d_ssm": 64, **HEADS},
    "falcon_mamba": {"state_size": 8},
    "gemma": HEADS,
    "gemma2": {**HEADS, "sliding_window": 8},
    "gemma3_text": {**HEADS, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma3": {
        "text_config": {**COMMON, **HEADS, "vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1,
                        "pad_token_id": 2, "sliding_window": 8},
        "vision_config": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
                          "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4, "image_token_index": VOCABULARY - 1, **dict.fromkeys(COMMON),
    },
    "glm": HEADS,
    "glm4": HEADS,
    "glm4_moe": {**HEADS, **EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": {**HEADS, **LOCAL, "sliding_window": 8},
    "gptj": {"rotary_dim": 4},
    "granite": {},
    "granitemoe": LOCAL,
    "granitemoehybrid": {**MAMBA, **LOCAL, "shared_intermediate_size": 16, "layer_types": ["mamba", "attention"]},
    "helium": HEADS,
    "hunyuan_v1_dense": HEADS,
    "jamba": {**EXPERTS, "mamba_d_state": 8, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
              "use_mamba_kernels": False},
    "jetmoe": {**LOCAL, "kv_channels": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "llama": {},
    "mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "n_groups": 1, "chunk_size": 8, "head_dim": 8},
    "minimax": {**HEADS, **LOCAL, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    "ministral": HEADS,
    "mistral": {},
    "mixtral": LOCAL,
    "modernbert-decoder": {},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmoe": {**EXPERTS},
    "openai-gpt": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "phimoe": LOCAL,
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": HEADS,
    "qwen3_moe": {**HEADS, **EXPERTS},
    "qwen3_next": {**HEADS, **EXPERTS, **DELTA, "shared_expert_intermediate_size": 16},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "seed_oss": HEADS,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "mamba_d_state": 8, "n_mamba_heads": 8,
               "chunk_size": 8, "use_mamba_kernels": False, "num_key_value_heads": 4},
}  # fmt: skip

STEPS = ("load", "SFT step", "reward head", "padding and cache", "train = eval", "Panacea step", "export")
DOCS = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- written by python -m tests.model.architectures -->", "<!-- until here -->"
TARGETS = re.compile(r"use .*adapter\.targets=\[([\w,.]+)\]")
OBJECTIVES, KEY = ("one", "two"), "adapter.targets"


@dataclass
class Trial:
    """What became of each step: an empty text where it worked, else the message that refused it."""

    results: dict[str, str] = field(default_factory=dict)
    attention: str = "sdpa"
    targets: str = "all-linear"  # what the adapter was put on
    head: bool = True  # and the LM head

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step that may be refused; anything but a refusal goes through."""
        try:
            yield
            self.results.setdefault(name, "")
        except InputError as error:
            self.results[name] = str(error)


def spec(**changed: Any) -> ModelSpec:
    """A model of plain attention; without ``config`` it is loaded from ``path``."""
    fields = dict.fromkeys(("path", "revision", "config", "vocab_size", "chat_template", "quantization"))
    rest = {"name": "tried", "dtype": "float32", "attention": "sdpa", "gradient_checkpointing": False}
    rest |= {
        "template_date": "2024-07-26",
        "rates": {},
        "sizes": {},
        "steering": {},
        "encoder": False,
        "needs_sft": True,
        "smoke": True,
    }
    return ModelSpec(**(fields | rest | changed))


def attention(name: str, folder: Path) -> str:
    """Make the model with the attention of the defaults, or with what the refusal advises; returns which."""
    try:
        made(name, folder)
        return "sdpa"
    except InputError as error:
        if "set model.attention=eager" not in str(error):
            raise
    made(name, folder, attention="eager")
    return "eager"


def made(name: str, folder: Path, *, attention: str = "sdpa", **changed: Any) -> None:
    """A model of an architecture in ``folder``, its weights three times the usual, so that differences show."""
    own = {**COMMON, **CONFIGS[name], **changed}
    config = {"model_type": name} | {key: value for key, value in own.items() if value is not None}
    model = spec(config=config, attention=attention).made(VOCABULARY, SPECIAL, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    model.save_pretrained(folder)


def tried(name: str, folder: Path) -> Trial:
    """Everything that training asks of a model, of one architecture."""
    trial = Trial()
    with trial.step("load"):
        trial.attention = attention(name, folder / "base")
        load = partial(load_causal, folder / "base", spec(path=str(folder / "base"), attention=trial.attention))
        load()
    if trial.results["load"]:
        return trial
    with trial.step("train = eval"):
        check_modes(load())
    with trial.step("SFT step"):
        fine_tune(load())
    with trial.step("reward head"):
        reward(folder / "base")
    with trial.step("padding and cache"):
        check_policy(load())
    if trial.results["padding and cache"]:
        return trial
    with trial.step("Panacea step"):
        trial.targets, trial.head = adaptable(load)
        policy = steered(load(), settings(trial.targets, trial.head))
        panacea(policy)
    if not trial.results["Panacea step"]:
        with trial.step("export"):
            export(policy, folder)
    return trial


def fine_tune(model: PreTrainedModel) -> None:
    """A step of SFT lowers the loss of its own answers."""
    ids, mask = sequences()
    response = mask & (torch.arange(ids.shape[1]) >= ids.shape[1] - 4)
    rows = Sequences(ids=ids, mask=mask, response=response)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = SFT.loss(None, model, rows, float(response.sum()))  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[1] < losses[0], losses


def reward(base: Path) -> None:
    """A reward model of the trunk scores the same under padding, and its gradient reaches the trunk."""
    check_trunk(load_backbone(base))
    words = train_words([" ".join(f"w{n}" for n in range(VOCABULARY - 8))], closed=False)
    scalar = Scalar(strength="ignore", margin=0.0, centering=0.0, l2=0.0)
    model = ScoreModel.new(lambda: load_backbone(base), words, scalar, objectives=OBJECTIVES, seed=0)
    model.eval().check_padding()
    model.train()(*sequences()).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.backbones.parameters())


def settings(targets: str, head: bool) -> SVDLoRA:
    """A small adapter."""
    names = targets.split(",")
    return svd_lora(targets=names, head=head)


def adaptable(load: Callable[[], PreTrainedModel]) -> tuple[str, bool]:
    """Targets that an adapter works on, and whether the head is one: all, or those that the refusal advises."""
    targets, head = "all-linear", True
    try:
        check_adapter(load(), settings(targets, head), OBJECTIVES, key=KEY)
        return targets, head
    except InputError as error:
        advised, head = TARGETS.search(str(error)), "use " in str(error) and "adapter.head=false" not in str(error)
        if advised is None and head:
            raise
    targets = advised[1] if advised is not None else targets
    check_adapter(load(), settings(targets, head), OBJECTIVES, key=KEY)
    return targets, head


def steered(model: PreTrainedModel, shape: SVDLoRA) -> Policy:
    """The model with an adapter that is away from its start, and a critic."""
    critic = Critic(width_of_causal(model), len(OBJECTIVES), len(OBJECTIVES), 8)
    critic.reset(torch.Generator().manual_seed(0))
    adapter = shape.attach(model, list(OBJECTIVES), seed=0)
    with torch.no_grad():
        for values in adapter.singular_values():
            values.add_(0.3 * torch.randn(values.shape, generator=torch.Generator().manual_seed(len(values))))
    return Policy(model, adapter, critic)


def panacea(policy: Policy) -> None:
    """Rows at their own preferences are sampled, and read again in training mode as they were sampled."""
    ids, mask = sequences()
    prompts = Prompts(ids=ids, mask=mask, row_ids=torch.arange(len(ids)), texts=[""] * len(ids))
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    drawn = {"sampling": sampling, "seed": 0, "step": 0, "max_new_tokens": 6, "ends": [-1], "pad": 2}
    tokens, kept = policy.eval().generate(prompts, preferences(), **drawn)
    whole, seen = torch.cat([ids, tokens], 1), torch.cat([mask, kept], 1)
    with torch.no_grad():
        old = policy(answered(whole, seen, preferences(), response=6))
    new = policy.train()(answered(whole, seen, preferences(), response=6))
    assert torch.allclose(new.logps, old.logps, atol=1e-4), "the ratio of a new policy to itself is 1"
    (new.logps.sum() + (new.values - 1).pow(2).sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in policy.adapter.singular_values())
    policy.eval()


def export(policy: Policy, folder: Path) -> None:
    """Stock libraries give the policy's logits from an adapter, from that merged by PEFT, and from merged weights."""
    preference = preferences()[1]
    ids, mask = sequences(padded=False)
    with torch.no_grad(), policy.adapter.using(preference.expand(len(ids), -1)):
        live = policy.model(input_ids=ids).logits
    (folder / "lora").mkdir()
    base = str(folder / "base")
    write_lora(policy.adapter, policy.model, preference, folder / "lora", base=base, pad_rank=None, ends=[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(stock(folder / "base"), folder / "lora").eval()
        same(adapted, ids, live)
        merged = adapted.merge_and_unload()
        same(merged, ids, live)
        merged.save_pretrained(folder / "by-peft")
        same(stock(folder / "by-peft"), ids, live)
    write_merged(policy.model, policy.adapter, preference, folder / "merged", train_words(["a"], closed=True), [1])
    same(stock(folder / "merged"), ids, live)


def stock(folder: Path) -> PreTrainedModel:
    """As a user of transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def same(model: Any, ids: Tensor, live: Tensor) -> None:
    with torch.no_grad():
        error = float((model(input_ids=ids).logits - live).abs().max())
    assert error < 1e-4 * max(1.0, float(live.abs().max())), error


def sequences(*, padded: bool = True) -> tuple[Tensor, Tensor]:
    """Three rows of 5 to 8 tokens, padded on the left."""
    ids = torch.randint(3, VOCABULARY - 1, (3, 8), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([[5], [8], [7]] if padded else [[8], [8], [8]])
    mask = torch.arange(8) >= 8 - lengths
    return torch.where(mask, ids, 2), mask


def preferences() -> Tensor:
    """One for each of the three rows."""
    return torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])


def line(name: str, trial: Trial) -> str | None:
    """A row of the table of docs/models.md; None where everything works with the defaults."""
    default = trial.targets == "all-linear"
    chosen = [] if trial.attention == "sdpa" else [f"`model.attention={trial.attention}`"]
    chosen += [] if default else [f"`{KEY}=[{trial.targets}]`".replace(",", ", ")]
    chosen += [] if trial.head else ["`adapter.head=false`"]
    refused = [f"{step}: {_reason(message)}" for step, message in sorted(trial.results.items()) if message]
    return f"| `{name}` | {', '.join(chosen)} | {'; '.join(refused)} |" if chosen or refused else None


def _reason(message: str) -> str:
    """The first clause of a message, without the size of a difference, which is another on another machine."""
    return re.sub(r", by [\d.e-]+ of their spread.*| \(.*", "", message.split(";")[0])


def table(trials: dict[str, Trial]) -> str:
    """What docs/models.md says of all architectures."""
    rows = {name: line(name, trial) for name, trial in trials.items()}
    plain = ", ".join(f"`{name}`" for name, row in rows.items() if row is None)
    others = [row for row in rows.values() if row is not None]
    return "\n".join(
        [
            f"Everything works with the defaults: {plain}.",
            "",
            "| architecture | works with | refused |",
            "| --- | --- | --- |",
            *others,
        ]
    )


def main() -> None:
    """Try all architectures and put the table into docs/models.md."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    trials = {}
    for name in sorted(CONFIGS):
        with tempfile.TemporaryDirectory() as place:
            trials[name] = tried(name, Path(place))
        print(line(name, trials[name]) or f"{name}: works")
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before}{BEGIN}\n{table(trials)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
