from __future__ import annotations

import pytest
import torch

from mora.functional.masking import last_true, pool_last, pool_mean, position_ids


def test_last_true_is_the_same_token_under_either_padding() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0]]).bool()
    assert last_true(mask).tolist() == [1, 3, 3, 1]


def test_last_true_refuses_an_empty_row() -> None:
    with pytest.raises(ValueError, match="no True"):
        last_true(torch.tensor([[True, False], [False, False]]))


def test_positions_count_tokens_and_not_padding() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]).bool()
    # Left: the two tokens are number 0 and 1, the padding before them is held at 0.
    # Right: 0, 1, 2; the padding after them keeps the last position.
    assert position_ids(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


def test_pooling_takes_the_hidden_state_at_the_last_true() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)  # row 0: (0,1)(2,3)(4,5); row 1: (6,7)(8,9)(10,11)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()
    assert pool_last(hidden, mask).tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_the_mean_is_over_what_the_mask_keeps_and_reads_nothing_else() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    hidden[0, 2], hidden[1, 0] = torch.nan, torch.inf
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()
    assert pool_mean(hidden, mask).tolist() == [[1.0, 2.0], [9.0, 10.0]]
    with pytest.raises(ValueError, match="no True"):
        pool_mean(hidden, torch.zeros(2, 3).bool())
