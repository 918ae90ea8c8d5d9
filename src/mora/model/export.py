"""A policy for other programs: a stock LoRA adapter, or merged weights; a steered one at one preference.

At a fixed preference the preference-conditioned layer is a LoRA of rank k+M: ``A = V^T`` and ``B = scale U diag``, with
``lora_alpha = r`` so that the outer factor is 1.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from mora.errors import InputError
from mora.model.adapter import Adapter, place
from mora.model.generate import state_ends

PREFIX = "base_model.model."


@torch.no_grad()
def padded(factors: tuple[Tensor, Tensor], rank: int) -> tuple[Tensor, Tensor]:
    """``A`` (rank, d_in) and ``B`` (d_out, rank) of an update B A, zero-padded to ``rank``."""
    a, b = factors
    missing = rank - a.shape[0]
    a = torch.cat([a, a.new_zeros(missing, a.shape[1])])
    b = torch.cat([b, b.new_zeros(b.shape[0], missing)], dim=1)
    return a.contiguous().cpu(), b.contiguous().cpu()


def write_lora(
    adapter: Adapter,
    model: PreTrainedModel,
    preference: Tensor | None,
    folder: Path,
    *,
    base: str,
    pad_rank: int | None,
    ends: Sequence[int],
) -> None:
    """Write a folder that ``peft.PeftModel.from_pretrained`` and multi-LoRA servers load on the stock base model.

    Its ``generation_config.json`` names the tokens that end an answer (``ends``).  ``preference`` is (M,), None for a
    policy that is not steered.  Raises InputError when ``pad_rank`` is smaller than the adapter's rank, and where all
    weights were trained.
    """
    if not adapter.layers:
        raise InputError("to=lora: all weights of this policy were trained (adapter=full); use to=merged")
    own = adapter.low_rank(next(iter(adapter.layers)), preference)[0].shape[0]
    rank = own if pad_rank is None else pad_rank
    if rank < own:
        raise InputError(
            f"pad_rank={pad_rank} is smaller than the adapter's rank {own}"
            + (" (free and steered singular values)" if adapter.settings.steered else "")
        )
    tensors: dict[str, Tensor] = {}
    whole = _shared_head(adapter, model)
    for path, layer in adapter.layers.items():
        if path == whole:
            exact = merged_weight(adapter, path, preference, torch.float32)  # bf16 would round most of the update away
            head = layer.base.state_dict() | {"weight": exact}
            tensors |= {f"{PREFIX}{path}.{name}": tensor.cpu().contiguous() for name, tensor in head.items()}
            continue
        a, b = padded(adapter.low_rank(path, preference), rank)
        tensors[f"{PREFIX}{path}.lora_A.weight"] = a
        tensors[f"{PREFIX}{path}.lora_B.weight"] = b
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=_target_names(adapter, model, without=whole),
        modules_to_save=None if whole is None else [whole.rpartition(".")[2]],
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
        init_lora_weights=True,
        use_rslora=False,
    )
    _check_places(config, model, adapter.layers.keys() - {whole})
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(folder))
    state_ends(model, ends)
    assert model.generation_config is not None
    model.generation_config.save_pretrained(folder)
    (folder / "README.md").write_text(_card(adapter, preference, base, whole), encoding="utf-8")


def _card(adapter: Adapter, preference: Tensor | None, base: str, whole: str | None) -> str:
    """What a user of the adapter needs to know, as a model card."""
    lines = [
        f"---\nbase_model: {json.dumps(base)}\nlibrary_name: peft\n---",
        f"# A policy{'' if preference is None else ' at one preference'}, as a LoRA adapter",
        _objectives(adapter, preference),
        f"Base model: `{base}`. Load it with `peft.PeftModel.from_pretrained`; `merge_and_unload` may merge it.",
    ]
    if whole is not None:
        lines.append(
            "The base ties its LM head to its input embeddings, and this policy changes the head alone. So the "
            f"adapter holds the whole LM head (`{whole}`, `modules_to_save`) beside its low-rank updates; merged, the "
            "model is no longer tied. The head is in fp32; on a base that is loaded in bf16 it is rounded to that. A "
            "server that takes low-rank updates only cannot serve it: export with "
            "`to=merged`."
        )
    return "\n\n".join(lines) + "\n"


def _objectives(adapter: Adapter, preference: Tensor | None) -> str:
    if preference is None:
        return f"Objectives that it was trained on: {', '.join(adapter.objectives)}."
    names = zip(adapter.objectives, preference.tolist(), strict=True)
    return "Weights of the objectives:\n\n" + "\n".join(f"- {name}: {weight:g}" for name, weight in names)


def _shared_head(adapter: Adapter, model: nn.Module) -> str | None:
    """Path of an adapted LM head that has its weight in common with the input embeddings.

    A low-rank update of it, once merged, would change the embeddings too; so its weight is written whole, as a module
    that PEFT puts in the place of the model's own.
    """
    embeddings = model.get_input_embeddings().weight  # type: ignore[operator]
    return next((path for path, layer in adapter.layers.items() if layer.base.weight is embeddings), None)


def _target_names(adapter: Adapter, model: nn.Module, *, without: str | None) -> list[str]:
    """Last parts of the module paths where they name exactly the adapted layers, else whole paths."""
    targets = {path for path in adapter.layers if path != without}
    names = {path.rpartition(".")[2] for path in targets}
    called = {path for path, _ in model.named_modules() if path.rpartition(".")[2] in names}
    return sorted(names if called == targets else targets)


def _check_places(config: LoraConfig, model: PreTrainedModel, layers: set[str]) -> None:
    """Ask PEFT, on a model without memory, whether it puts adapters on ``layers``; for some it knows better.

    Raises InputError where it does not.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = AutoModelForCausalLM.from_config(deepcopy(model.config), attn_implementation="eager")
        try:
            adapted = get_peft_model(plain, deepcopy(config))
        except ValueError as error:
            raise InputError(f"to=lora: PEFT cannot adapt {type(model).__name__} ({error}); use to=merged") from error
    found = {name.removeprefix(PREFIX) for name, module in adapted.named_modules() if isinstance(module, LoraLayer)}
    if found != layers:
        raise InputError(
            f"to=lora: PEFT puts adapters of {type(model).__name__} on {sorted(found ^ layers)[0]} differently from "
            "this policy, so it would not be this policy; use to=merged"
        )


@torch.no_grad()
def merged_weight(adapter: Adapter, path: str, preference: Tensor | None, dtype: torch.dtype | None = None) -> Tensor:
    """The weight (d_out, d_in) of the layer at ``path`` with its update at ``preference`` (M,).

    Added in fp32, then cast to ``dtype``; without one, to that of the base's weight.

    Raises InputError for quantized weights, into which nothing can be merged without loss.
    """
    base = adapter.layers[path].base
    if not isinstance(base, nn.Linear) or not base.weight.is_floating_point():
        raise InputError("a quantized model cannot be merged; use to=lora, or load the base unquantized")
    a, b = adapter.low_rank(path, preference)
    merged = base.weight.float() + b @ a
    return merged.to(dtype or base.weight.dtype)


@torch.no_grad()
def merge(model: PreTrainedModel, adapter: Adapter, preference: Tensor | None) -> PreTrainedModel:
    """Put the update, of a steered policy at ``preference`` (M,), into the weights, in place: a plain model.

    Tied embeddings are untied when the LM head is adapted.  Raises InputError as :func:`merged_weight` does.
    """
    untied = _shared_head(adapter, model) is not None
    for path, layer in adapter.layers.items():
        layer.base.weight = nn.Parameter(merged_weight(adapter, path, preference), requires_grad=False)
    place(model, {path: layer.base for path, layer in adapter.layers.items()})
    if untied:
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    return model


def write_merged(
    model: PreTrainedModel,
    adapter: Adapter,
    preference: Tensor | None,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
) -> None:
    """Write the merged model, its tokenizer and the tokens that end an answer as an ordinary model folder."""
    merged = merge(model, adapter, preference)
    state_ends(merged, ends)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
