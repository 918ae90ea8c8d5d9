"""Models whose frozen weights are held in 4 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.adapters import svd_lora
from tests.model.test_load import TEXTS, spec

from mora.model.load import load_causal

pytest.importorskip("bitsandbytes")


def gradients(path: Path, *, first: bool) -> list[torch.Tensor]:
    """Gradients of an adapter on a 4-bit model, ``first`` after a pass in evaluation mode, as of a rollout."""
    given = replace(spec(), path=str(path), config=None, quantization="4bit", dtype="bfloat16")
    model = load_causal(path, given)
    settings = svd_lora(init_std=0.1)
    adapter = settings.attach(model, ["a", "b"], seed=0)
    weights, ids = torch.tensor([[0.5, 0.5]]), torch.arange(3, 11)[None]
    if first:
        with torch.no_grad(), adapter.using(weights):
            model.eval()(input_ids=ids)
    with adapter.using(weights):
        model.train()(input_ids=ids, labels=ids).loss.backward()
    return [torch.zeros(0) if p.grad is None else p.grad for p in adapter.singular_values()]


def test_gradients_pass_through_4_bit_layers_after_a_pass_in_evaluation_mode(tmp_path: Path) -> None:
    tokenizer = spec().tokenizer(TEXTS, tokens="words")
    spec().build(tokenizer, seed=0).save_pretrained(tmp_path)
    plain, after = gradients(tmp_path, first=False), gradients(tmp_path, first=True)
    assert len(plain) > 8 and all(one.abs().sum() > 0 for one in plain)
    for one, other in zip(plain, after, strict=True):
        torch.testing.assert_close(one, other)
