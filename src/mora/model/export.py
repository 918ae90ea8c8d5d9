"""A policy at one preference, for other programs: a stock LoRA adapter, or merged weights.

At a fixed preference the preference-conditioned layer is a LoRA of rank k+M: ``A = V^T`` and ``B = scale U diag``, with
``lora_alpha = r`` so that the outer factor is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora.errors import InputError
from mora.model.generate import state_ends
from mora.model.svd_lora import Adapter, SVDLoRALinear

PREFIX = "base_model.model."


@torch.no_grad()
def lora_factors(layer: SVDLoRALinear, preference: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``A`` (rank, d_in) and ``B`` (d_out, rank), fp32, zero-padded to ``rank``; B A is the layer's update."""
    diagonal = layer.diagonal(preference[None])[0].float()
    a, b = layer.V.float().T, layer.scale * layer.U.float() * diagonal
    missing = rank - a.shape[0]
    a = torch.cat([a, a.new_zeros(missing, a.shape[1])])
    b = torch.cat([b, b.new_zeros(b.shape[0], missing)], dim=1)
    return a.contiguous().cpu(), b.contiguous().cpu()


def write_lora(
    adapter: Adapter,
    model: PreTrainedModel,
    preference: Tensor,
    folder: Path,
    *,
    base: str,
    pad_rank: int | None,
    ends: Sequence[int],
) -> None:
    """Write a folder that ``peft.PeftModel.from_pretrained`` and multi-LoRA servers load on the stock base model.

    Its ``generation_config.json`` names the tokens that end an answer (``ends``).  ``preference`` is (M,).  Raises
    InputError when ``pad_rank`` is smaller than the adapter's rank.
    """
    own = adapter.settings.rank + len(adapter.settings.objectives)
    rank = own if pad_rank is None else pad_rank
    if rank < own:
        raise InputError(
            f"pad_rank={pad_rank} is smaller than the adapter's rank {own} (rank {adapter.settings.rank} + objectives)"
        )
    tensors: dict[str, Tensor] = {}
    for path, layer in adapter.layers.items():
        a, b = lora_factors(layer, preference, rank)
        tensors[f"{PREFIX}{path}.lora_A.weight"] = a
        tensors[f"{PREFIX}{path}.lora_B.weight"] = b
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=_target_names(adapter, model),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
        init_lora_weights=True,
        use_rslora=False,
    )
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(folder))
    state_ends(model, ends)
    assert model.generation_config is not None
    model.generation_config.save_pretrained(folder)


def _target_names(adapter: Adapter, model: nn.Module) -> list[str]:
    """Last parts of the module paths where they name exactly the adapted layers, else whole paths."""
    names = {path.rsplit(".", 1)[-1] for path in adapter.layers}
    linears = [
        path.removesuffix(".base")
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and path.removesuffix(".base").rsplit(".", 1)[-1] in names
    ]
    return sorted(names) if set(linears) == set(adapter.layers) else sorted(adapter.layers)


@torch.no_grad()
def merge(model: PreTrainedModel, adapter: Adapter, preference: Tensor) -> PreTrainedModel:
    """Put the update at ``preference`` (M,) into the weights, in place: a plain model without adapter.

    The sum is taken in fp32 and cast back.  Tied embeddings are untied when the LM head is adapted.  Raises InputError
    for quantized weights, into which nothing can be merged without loss.
    """
    for path, layer in adapter.layers.items():
        base = layer.base
        if not isinstance(base, nn.Linear) or not base.weight.is_floating_point():
            raise InputError("a quantized model cannot be merged; use to=lora, or load the base unquantized")
        merged = base.weight.float() + layer.delta(preference.to(base.weight.device))
        base.weight = nn.Parameter(merged.to(base.weight.dtype), requires_grad=False)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, base)
        if base is model.get_output_embeddings() and model.config.tie_word_embeddings:
            model.config.tie_word_embeddings = False
    return model


def write_merged(
    model: PreTrainedModel,
    adapter: Adapter,
    preference: Tensor,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
) -> None:
    """Write the merged model, its tokenizer and the tokens that end an answer as an ordinary model folder."""
    merged = merge(model, adapter, preference)
    state_ends(merged, ends)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
