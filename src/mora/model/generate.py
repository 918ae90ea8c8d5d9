"""Sampling whose randomness belongs to rows.

The draw of a token is keyed by (seed, step, row, position): a row gets the same text alone, in any batch and on any
number of processes, up to the rounding of its logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from mora.functional.noise import Stream, uniform
from mora.types import Prompts

NUMBERS_AT_ONCE = 2**24  # of the distributions that tokens are drawn from
BLOCK = 256  # tokens whose masses are summed first: only the block that holds the draw is accumulated token by token


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn.  Training uses temperature 1 and no filter: log-probabilities describe the sampler."""

    temperature: float  # 0: greedy
    top_p: float  # 1: off
    top_k: int  # 0: off


def _filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits (B, V) with the tokens outside top-k and top-p removed."""
    if sampling.top_k > 0:
        least = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probs = ordered.softmax(-1)
        outside = probs.cumsum(-1) - probs >= sampling.top_p
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return logits


def draw(logits: Tensor, sampling: Sampling, noise: Tensor) -> Tensor:
    """One token per row from logits (B, V) by inversion of the cumulative distribution at ``noise`` (B,) in (0, 1)."""
    rows = max(NUMBERS_AT_ONCE // logits.shape[-1], 1)
    some = zip(logits.split(rows), noise.split(rows), strict=True)
    return torch.cat([_draw(own, sampling, drawn) for own, drawn in some])


def _draw(logits: Tensor, sampling: Sampling, noise: Tensor) -> Tensor:
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = _filtered(logits / sampling.temperature, sampling)
    masses = (logits - logits.amax(-1, keepdim=True)).exp()
    blocks = F.pad(masses, (0, -masses.shape[-1] % BLOCK)).view(len(masses), -1, BLOCK)
    ahead = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = noise[:, None].to(ahead) * ahead[:, -1:]
    block = _inverted(ahead, target)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).squeeze(1).double().cumsum(-1)
    before = ahead.gather(1, (block - 1).clamp_min(0)) * (block > 0)
    return (block * BLOCK + _inverted(inside, target - before)).squeeze(-1)


def _inverted(cumulative: Tensor, target: Tensor) -> Tensor:
    """The first of N places whose cumulative mass (B, N) is above ``target`` (B, 1): (B, 1).

    Rounding of the last value never selects a place without mass: the last that has some is taken.
    """
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(cumulative, target, right=True), last)


def _cache_name(model: PreTrainedModel) -> str:
    """What the model's forward calls its cache; transformers before 5.24 would swallow the new name without a word."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Prompts,
    *,
    sampling: Sampling,
    seed: int,
    step: int,
    max_new_tokens: int,
    ends: Sequence[int],
    pad: int,
    on_shrink: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample one response per row: tokens (B, T) right-padded with ``pad``, and their mask (B, T).

    A row ends with the first of ``ends``, which belongs to the response; rows that reach ``max_new_tokens`` have none.
    Rows that have ended leave the batch at every fourth step; ``on_shrink(kept)`` hears which rows stay, so that
    whoever holds per-row state (a preference) can follow.
    """
    ids, mask = prompts.ids, prompts.mask
    rows, device = ids.shape[0], ids.device
    tokens = torch.full((rows, max_new_tokens), pad, dtype=torch.long, device=device)
    alive = torch.arange(rows, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    cache = DynamicCache(config=model.config)
    remembered = {_cache_name(model): cache}
    attention = torch.cat([mask, torch.ones(rows, max_new_tokens, dtype=torch.bool, device=device)], dim=1)
    feed, at = ids, (mask.cumsum(-1) - 1).clamp_min(0)
    for t in range(max_new_tokens):
        seen = attention[:, : ids.shape[1] + t].long()
        output = model(
            input_ids=feed,
            attention_mask=seen,
            position_ids=at,
            use_cache=True,
            logits_to_keep=1,
            **remembered,
        )
        noise = uniform(seed, Stream.GENERATION, step, prompts.row_ids[alive], t)
        token = draw(output.logits[:, -1].float(), sampling, noise)
        token = torch.where(ended, pad, token)
        tokens[alive, t] = token
        ended = ended | _in(token, ends)
        if bool(ended.all()):
            break
        feed, at = token[:, None], at[:, -1:] + 1
        if t % 4 == 3 and bool(ended.any()):
            kept = (~ended).nonzero().squeeze(-1)
            cache.reorder_cache(kept)  # type: ignore[arg-type]  # unlike other selections, of recurrent states too
            alive, attention, feed, at, ended = alive[kept], attention[kept], feed[kept], at[kept], ended[kept]
            if on_shrink is not None:
                on_shrink(kept)
    return tokens, response_mask(tokens, ends)


def response_mask(tokens: Tensor, ends: Sequence[int]) -> Tensor:
    """True up to and including the first of ``ends`` in each row (B, T).

    Built from where the first end token stands, not from token identity: right also when an end token pads.
    A row without an end counts whole, since generation pads only after one.
    """
    is_end = _in(tokens, ends)
    before = is_end.cumsum(-1) - is_end.long()
    return before == 0


def state_ends(model: PreTrainedModel, ends: Sequence[int]) -> None:
    """Let ``generation_config.json`` of ``model``, once it is written, name the tokens that end an answer."""
    assert model.generation_config is not None
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else list(ends)


def _in(tokens: Tensor, ends: Sequence[int]) -> Tensor:
    return torch.isin(tokens, torch.tensor(ends, device=tokens.device))
