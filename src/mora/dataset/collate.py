"""From rows to padded batches.

Masks are made from lengths, never from token ids: padding may share its id with the end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora.dataset.encode import Encoder
from mora.types import Judgments, PairBatch, Prompts, Row, Sampled, Sequences

Ids = NDArray[np.integer[Any]]


def supervised(rows: Sequence[Row], encoder: Encoder, *, multiple: int = 1) -> Sequences:
    """Prompt and answer of each row, right-padded to a length that ``multiple`` divides.

    Raises InputError where an answer is longer than the encoder allows.
    """
    parts = [(encoder.prompt_of(_only(row)), encoder.response_of(row)) for row in rows]
    return _joined(parts, encoder.pad, multiple)


def scored(
    prompts: Sequence[str],
    responses: Sequence[str],
    encoder: Encoder,
    sampled: Sampled | None = None,
    *,
    multiple: int = 1,
) -> Sequences:
    """Prompts with answers that are to be scored, such as generated ones; longer answers are cut, never refused.

    Sampled answers are the tokens that were sampled where the encoder has their vocabulary; else their texts, with an
    end token where they ended.
    """
    answers = [np.array(ids, dtype=np.int32) for ids in _answers(responses, encoder, sampled)]
    both = zip(prompts, answers, strict=True)
    return _joined([(np.array(encoder.prompt(prompt)), ids) for prompt, ids in both], encoder.pad, multiple)


def _answers(responses: Sequence[str], encoder: Encoder, sampled: Sampled | None) -> list[list[int]]:
    if sampled is None:
        return [encoder.scored(text) for text in responses]
    tokens = sampled.tokens_for(encoder.vocabulary)
    if tokens is not None:
        return [encoder.fitted(ids, ended=ended) for ids, ended in zip(tokens, sampled.ended, strict=True)]
    return [encoder.scored(text, ended=ended) for text, ended in zip(responses, sampled.ended, strict=True)]


def pairs(rows: Sequence[Row], encoder: Encoder, objectives: Sequence[str], *, multiple: int = 1) -> PairBatch:
    """Pairs: all first answers, then all second ones, right-padded to one length, with the labels of ``objectives``.

    Raises InputError where an answer is longer than the encoder allows.
    """
    for row in rows:
        if len(row.responses) != 2:
            raise ValueError(f"{row.where or row.prompt[:60]!r}: a pair has 2 responses, not {len(row.responses)}")
    parts = [(encoder.prompt_of(row), encoder.response_of(row, side)) for side in (0, 1) for row in rows]
    sequences = [np.concatenate(part) for part in parts]
    ids, mask = _padded(sequences, encoder.pad, multiple, left=False)
    return PairBatch(ids=ids, mask=mask, judgments=judgments(rows, objectives))


def judgments(rows: Sequence[Row], objectives: Sequence[str]) -> Judgments:
    """What the pairs say on ``objectives``.

    The strength of a judgment is the row's own, else the distance of the mean ratings of its two answers, else 1.
    """
    shape = (len(rows), len(objectives))
    known = [[row.labels.get(objective) for objective in objectives] for row in rows]
    labels = [[0.0 if label is None else label for label in of] for of in known]
    strengths = [[_strength(row, objective) for objective in objectives] for row in rows]
    given = [[[_ratings(row, side, objective) for objective in objectives] for row in rows] for side in (0, 1)]
    most = max((len(values) for side in given for row in side for values in row), default=0)
    ratings, rated = np.zeros((2, *shape, most), dtype=np.float32), np.zeros((2, *shape, most), dtype=bool)
    for side, row, column in np.ndindex(2, *shape):
        values = given[side][row][column]
        ratings[side, row, column, : len(values)] = values
        rated[side, row, column, : len(values)] = True
    return Judgments(
        objectives=tuple(objectives),
        labels=torch.tensor(labels, dtype=torch.float32).reshape(shape),
        labelled=torch.tensor([[label is not None for label in of] for of in known], dtype=torch.bool).reshape(shape),
        strengths=torch.tensor(strengths, dtype=torch.float32).reshape(shape),
        ratings=torch.from_numpy(ratings),
        rated=torch.from_numpy(rated),
        row_ids=torch.tensor([row.id for row in rows], dtype=torch.int64),
    )


def _ratings(row: Row, side: int, objective: str) -> tuple[float, ...]:
    return row.ratings[objective][side] if objective in row.ratings else ()


def _strength(row: Row, objective: str) -> float:
    if objective in row.strengths:
        return row.strengths[objective]
    first, second = (_ratings(row, side, objective) for side in (0, 1))
    return abs(sum(second) / len(second) - sum(first) / len(first)) if first and second else 1.0


def prompts(rows: Sequence[Row], encoder: Encoder, *, multiple: int = 1) -> Prompts:
    """Prompts to be answered, left-padded to a length that ``multiple`` divides; responses of the rows are not used."""
    ids, mask = _padded([encoder.prompt_of(row) for row in rows], encoder.pad, multiple, left=True)
    row_ids = torch.tensor([row.prompt_id for row in rows], dtype=torch.int64)
    return Prompts(ids=ids, mask=mask, row_ids=row_ids, texts=[row.prompt for row in rows])


def sequences(prompts: Prompts, tokens: Tensor, response: Tensor, preference: Tensor | None = None) -> Sequences:
    """Left-padded prompts followed by answers: tokens (B, T) and their mask ``response`` (B, T)."""
    ids, mask = torch.cat([prompts.ids, tokens], 1), torch.cat([prompts.mask, response], 1)
    return Sequences(ids=ids, mask=mask, response=response, preference=preference)


def _only(row: Row) -> Row:
    if len(row.responses) != 1:
        raise ValueError(f"{row.where or row.prompt[:60]!r}: a supervised row has 1 response, not {len(row.responses)}")
    return row


def _joined(parts: Sequence[tuple[Ids, Ids]], pad: int, multiple: int) -> Sequences:
    ids, mask = _padded([np.concatenate(part) for part in parts], pad, multiple, left=False)
    response = mask.clone()
    for index, (prompt, _) in enumerate(parts):
        response[index, : len(prompt)] = False
    return Sequences(ids=ids, mask=mask, response=response)


def _padded(sequences: Sequence[Ids], pad: int, multiple: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Ids (B, L) int64 and mask (B, L) bool."""
    width = -(-max((len(sequence) for sequence in sequences), default=0) // multiple) * multiple
    ids = np.full((len(sequences), width), pad, dtype=np.int64)
    mask = np.zeros((len(sequences), width), dtype=bool)
    for index, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(len(sequence))
        ids[index, place] = sequence
        mask[index, place] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)
