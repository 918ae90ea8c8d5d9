"""What a model can read: which tokens it has embeddings for, and how many it has positions for."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from mora.errors import InputError


def check_tokens(model: Any, tokenizer: PreTrainedTokenizerBase, name: object) -> None:
    """Raises InputError, which begins with ``name``, where a token of ``tokenizer`` has no embedding in ``model``."""
    highest, known = max(tokenizer.get_vocab().values(), default=0), len(model.get_input_embeddings().weight)
    if highest >= known:
        raise InputError(
            f"{name}: the tokenizer has token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}), and the model "
            f"embeddings for {known}: they do not belong together. Name a model with its own tokenizer; where a token "
            "was added, save the model again after model.resize_token_embeddings(len(tokenizer))"
        )


def positions(model: Any) -> int | None:
    """The most tokens that ``model`` can read by its configuration and its tables; None where neither bounds them."""
    found = [getattr(model.config.get_text_config(), "max_position_embeddings", None)]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1  # RoBERTa counts from there
            found.append(module.num_embeddings - reserved)
    return min((limit for limit in found if limit is not None and 0 < limit < 1e9), default=None)


def check_lengths(model: Any, max_prompt: int, max_response: int, name: object, *, section: str = "dataset") -> None:
    """Raises InputError, which begins with ``name``, where a prompt with its answer may exceed the positions.

    ``section`` is that of the two limits in the configuration.
    """
    limit = positions(model)
    if limit is not None and max_prompt + max_response > limit:
        raise InputError(
            f"{name}: reads at most {limit} tokens, and {section}.max_prompt={max_prompt} with "
            f"{section}.max_response={max_response} allows {max_prompt + max_response}; lower them, or name a "
            "model with more positions"
        )
