"""What heads and critics read of a model: its last hidden states, and how wide they are.

The width is asked of the model: configurations call it by many names, nest it, and some models project it once more.
"""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mora.errors import InputError
from mora.functional.masking import pool_last, pool_mean, position_ids

Pooling = Literal["last", "mean"]  # of the hidden states of a sequence: at its last token, or over all of its tokens
POOLS = {"last": pool_last, "mean": pool_mean}


def last_hidden(trunk: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden states (B, L, H) by a model without an LM head, of sequences (B, L) padded on any side."""
    given: dict[str, Any] = {"position_ids": position_ids(mask) + _first_position(trunk), "use_cache": False}
    taken = signature(trunk.forward).parameters
    if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in taken.values()):  # encoders know fewer
        given = {name: value for name, value in given.items() if name in taken}
    hidden: Tensor = trunk(input_ids=ids, attention_mask=mask.long(), **given).last_hidden_state
    return hidden


def _first_position(trunk: nn.Module) -> int:
    """The position of a first token: RoBERTa and its kin count from after that of padding."""
    table = getattr(getattr(trunk, "embeddings", None), "position_embeddings", None)
    reserved = getattr(table, "padding_idx", None)
    return 0 if reserved is None else reserved + 1


@torch.no_grad()
def width_of_trunk(trunk: nn.Module) -> int:
    """Width H of what :func:`last_hidden` gives."""
    return int(last_hidden(trunk, *_one_token(trunk)).shape[-1])


@torch.no_grad()
def width_of_causal(model: nn.Module) -> int:
    """Width H of the last of the hidden states that a model with an LM head gives.

    Raises InputError where it gives none.
    """
    ids, mask = _one_token(model)
    output = model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False)
    hidden = getattr(output, "hidden_states", None)
    if not hidden or hidden[-1].shape[:2] != ids.shape:
        raise InputError(f"{type(model).__name__} gives no hidden states of its tokens, which a critic reads")
    return int(hidden[-1].shape[-1])


def _one_token(model: nn.Module) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    return torch.full((1, 1), 3, device=device), torch.ones(1, 1, dtype=torch.bool, device=device)
