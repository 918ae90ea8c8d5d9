"""What heads and critics read of a model: its last hidden states, and how wide they are.

The width is asked of the model: configurations call it by many names, nest it, and some models project it once more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mora.errors import InputError
from mora.functional.masking import position_ids


def last_hidden(trunk: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden states (B, L, H) by a model without an LM head, of sequences (B, L) padded on any side."""
    output = trunk(input_ids=ids, attention_mask=mask.long(), position_ids=position_ids(mask), use_cache=False)
    hidden: Tensor = output.last_hidden_state
    return hidden


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
