"""Tiny policies with an adapter and a critic that are not at their start, and rows of different lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters import svd_lora
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from mora.model.dropout import without_rates
from mora.model.policy import Critic, Policy
from mora.model.svd_lora import SVDLoRA
from mora.types import Prompts

VOCABULARY, EOS, PAD = 61, 1, 2
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_model(kind: str = "llama", *, tied: bool = False, seed: int = 0) -> PreTrainedModel:
    """A model with weights five times the usual: its next-token distributions are far from uniform."""
    config = without_rates(
        AutoConfig.for_model(
            kind,
            vocab_size=VOCABULARY,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=tied,
            bos_token_id=0,
            eos_token_id=EOS,
            pad_token_id=PAD,
            **SIZES,
        )
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(5.0)
    return model


def settings(*, targets: tuple[str, ...] = ("all-linear",), head: bool = True) -> SVDLoRA:
    return svd_lora(rank=3, targets=list(targets), head=head)


@torch.no_grad()
def perturb(policy: Policy, size: float = 0.7) -> None:
    """Move sigma, s and the critic away from zero."""
    generator = torch.Generator().manual_seed(7)
    last = [] if policy.critic is None else [policy.critic.body[-1].weight]
    for parameter in [*policy.adapter.singular_values(), *last]:
        parameter.add_(size * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    def make(
        kind: str = "llama",
        *,
        tied: bool = False,
        objectives: int = 2,
        checkpointing: bool = False,
        moved: bool = True,
        base: Path | None = None,
        **adapter: Any,
    ) -> Policy:
        model = tiny_model(kind, tied=tied)
        if base is not None:
            model.save_pretrained(base)
        attached = settings(**adapter).attach(model, [f"objective {i}" for i in range(objectives)], seed=3)
        if checkpointing:
            attached.recompute(model)
        critic = Critic(SIZES["hidden_size"], objectives, objectives, 16)
        critic.reset(torch.Generator().manual_seed(0))
        policy = Policy(model, attached, critic)
        if moved:
            perturb(policy)
        return policy

    return make


@pytest.fixture
def make_prompts() -> Callable[[int], Prompts]:
    """Left-padded prompts of 3 to 9 tokens."""

    def make(count: int) -> Prompts:
        generator = torch.Generator().manual_seed(5)
        lengths = torch.randint(3, 10, (count,), generator=generator)
        ids = torch.randint(3, VOCABULARY, (count, 9), generator=generator)
        mask = torch.arange(9)[None, :] >= 9 - lengths[:, None]
        ids = torch.where(mask, ids, PAD)
        return Prompts(
            ids=ids, mask=mask, row_ids=torch.arange(count) * 1_000_003 + 17, texts=[str(i) for i in range(count)]
        )

    return make


@pytest.fixture
def simplex() -> Callable[[int, int], Tensor]:
    """Different preferences, among them vertices."""

    def draw(count: int, objectives: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(11)
        weights = -torch.rand(count, objectives, generator=generator).log()
        weights = weights / weights.sum(-1, keepdim=True)
        weights[: min(count, objectives)] = torch.eye(objectives)[: min(count, objectives)]
        return weights

    return draw
