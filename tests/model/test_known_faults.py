"""Faults of tests/mutation that nothing else would notice."""

from __future__ import annotations

import pytest
import torch
from tests.adapters import sequences, svd_lora
from transformers import AutoConfig, AutoModelForCausalLM

from mora.model.policy import Critic, Policy

LONGEST, RESPONSE = 7, 4


@pytest.fixture
def with_a_table_of_positions() -> Policy:
    """GPT-Neo: a token's embedding depends on its absolute position, which rotary models hide."""
    config = AutoConfig.for_model(
        "gpt_neo",
        vocab_size=31,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global"], 2]],
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(5.0)
    names = ["first", "second"]
    settings = svd_lora()
    adapter, critic = settings.attach(model, names, seed=0), Critic(16, 2, 2, 8)
    critic.reset(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for parameter in [*adapter.singular_values(), critic.body[-1].weight]:
        parameter.data.add_(torch.randn(parameter.shape, generator=generator))
    return Policy(model, adapter, critic)


@torch.no_grad()
def test_padding_moves_neither_log_probabilities_nor_values(with_a_table_of_positions):
    """Each row beside longer ones, and alone without padding: policy, reference and critic say the same."""
    policy, lengths = with_a_table_of_positions, torch.tensor([7, 2, 4, 1])
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(2, 31, (4, LONGEST + RESPONSE), generator=generator)
    mask = torch.arange(LONGEST + RESPONSE) >= LONGEST - lengths[:, None]
    preference = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.3, 0.7]])
    together = policy(sequences(ids, mask, preference, response=RESPONSE))
    reference = policy.reference(sequences(ids, mask, response=RESPONSE))
    assert (together.logps - reference).abs().max() > 0.1  # the adapter has moved
    for row in range(4):
        own = ids[row : row + 1, mask[row]]
        whole = torch.ones_like(own, dtype=torch.bool)
        alone = policy(sequences(own, whole, preference[row : row + 1], response=RESPONSE))
        assert torch.allclose(alone.logps[0], together.logps[row], atol=1e-4)
        assert torch.allclose(alone.values[0], together.values[row], atol=1e-4)
        assert torch.allclose(policy.reference(sequences(own, whole, response=RESPONSE))[0], reference[row], atol=1e-4)
