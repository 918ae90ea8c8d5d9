"""Sampling answers for prompts, with the identities that random draws are keyed by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.functional.noise import Stream, hashed
from mora.model.capacity import positions
from mora.model.generate import Sampling, generate
from mora.model.policy import Policy
from mora.types import Prompts, Row, Sampled

ANSWERING = -2  # the step that draws of single answers are keyed by: never one of training
STANDARDIZING = -4  # the step that answers for the units of rewards are keyed by: of nothing else


@dataclass(kw_only=True)
class Samples:
    """Answers sampled for a list of prompts, several per prompt."""

    prompts: list[str]  # B, each prompt repeated N times
    texts: list[str]  # B
    sampled: Sampled  # B: which ended, and their tokens
    mask: Tensor  # (B, T)


def sample_rows(
    rows: Sequence[Row], samples: int, encoder: Encoder, device: torch.device, keep: Sequence[int] | None = None
) -> tuple[Prompts, Tensor]:
    """Each row ``samples`` times, left-padded, with an identity per sample; and identities of the groups (B,).

    The samples of a row are a group.  A prompt that stands among ``rows`` twice is another group with other samples the
    second time.  ``keep`` selects some of the repeated rows (those of one process) by their place.
    """
    places = range(len(rows) * samples) if keep is None else keep
    seen: Counter[int] = Counter()
    turns = []  # how often each row's prompt stood before it
    for row in rows:
        turns.append(seen[row.prompt_id])
        seen[row.prompt_id] += 1
    repeated = [rows[i // samples] for i in places]
    prompts = collate.prompts(repeated, encoder).to(device)
    identity = torch.tensor([row.prompt_id for row in repeated], dtype=torch.int64, device=device)
    turn = torch.tensor([turns[i // samples] for i in places], dtype=torch.int64, device=device)
    number = torch.tensor([i % samples for i in places], dtype=torch.int64, device=device)
    prompts.row_ids = hashed(0, Stream.ROW, identity, number + samples * turn)
    return prompts, hashed(0, Stream.ROW, identity, turn)


def decode(tokens: Tensor, mask: Tensor, encoder: Encoder) -> tuple[list[str], Sampled]:
    """Texts of responses (B, T), end and special tokens dropped; which ended, and their tokens as they are."""
    kept = [row[keep].tolist() for row, keep in zip(tokens.cpu(), mask.cpu(), strict=True)]
    ended = tuple(bool(ids) and ids[-1] in encoder.ends for ids in kept)
    sampled = Sampled(ended=ended, tokens=tuple(map(tuple, kept)), vocabulary=encoder.vocabulary)
    said = [ids[:-1] if end else ids for ids, end in zip(kept, ended, strict=True)]  # an end may be no special token
    return encoder.tokenizer.batch_decode(said, skip_special_tokens=True), sampled


def sample_reference(
    model: PreTrainedModel,
    encoder: Encoder,
    rows: Sequence[Row],
    *,
    samples: int,
    seed: int,
    batch_size: int,
    device: torch.device,
) -> Samples:
    """``samples`` answers per prompt from a plain model at temperature 1: what rewards are standardized on."""
    prompts: list[str] = []
    texts: list[str] = []
    sampled, masks = [], []
    per_batch = max(batch_size // samples, 1)
    for start in range(0, len(rows), per_batch):
        batch, _ = sample_rows(rows[start : start + per_batch], samples, encoder, device)
        drawn, mask = generate(
            model,
            batch,
            sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0),
            seed=seed,
            step=STANDARDIZING,
            max_new_tokens=encoder.max_response,
            ends=encoder.ends,
            pad=encoder.pad,
        )
        prompts += batch.texts
        written, known = decode(drawn, mask, encoder)
        texts += written
        sampled.append(known)
        masks.append(mask)
    return Samples(prompts=prompts, texts=texts, sampled=Sampled.joined(sampled), mask=torch.cat(masks))


def answer(
    policy: Policy | PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[str],
    preferences: Sequence[Sequence[float]],
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int | None,
    seed: int,
) -> list[list[list[tuple[str, bool]]]]:
    """Answers to every prompt under every preference, in one batch, and whether they ended:
    ``[prompt][preference][sample]``.

    The random numbers of a prompt's n-th answer are the same under every preference.  A plain model, and a policy that
    is not steered, heed no preference.  Raises InputError where prompt and answer may exceed the model's positions.
    """
    device = next(policy.parameters()).device
    once, _ = sample_rows([Row(prompt=prompt) for prompt in prompts], samples, encoder, device)
    place = torch.arange(len(once.texts), device=device).view(len(prompts), 1, samples)
    place = place.expand(-1, len(preferences), -1).flatten()
    batch = Prompts(
        ids=once.ids[place],
        mask=once.mask[place],
        row_ids=once.row_ids[place],
        texts=[once.texts[i] for i in place.tolist()],
    )
    longest = max_new_tokens or encoder.max_response
    limit, read = positions(policy.model if isinstance(policy, Policy) else policy), once.ids.shape[1]
    if limit is not None and read + longest > limit:
        raise InputError(
            f"max_new_tokens={longest}: after a prompt of {read} tokens the model has positions for {limit - read} more"
        )
    how: dict[str, Any] = {
        "sampling": Sampling(temperature=temperature, top_p=1.0, top_k=0),
        "seed": seed,
        "step": ANSWERING,
        "max_new_tokens": longest,
        "ends": encoder.ends,
        "pad": encoder.pad,
    }
    if isinstance(policy, Policy):
        weights = torch.tensor(preferences, dtype=torch.float32, device=device)
        rows = weights.repeat_interleave(samples, dim=0).repeat(len(prompts), 1)
        tokens, mask = policy.generate(batch, rows, **how)
    else:
        tokens, mask = generate(policy, batch, **how)
    texts, sampled = decode(tokens, mask, encoder)
    answers = iter(zip(texts, sampled.ended, strict=True))
    return [[[next(answers) for _ in range(samples)] for _ in preferences] for _ in prompts]
