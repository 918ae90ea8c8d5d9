from __future__ import annotations

import pytest
import torch

from mora.functional.kl import sequence_kl


def _enumerated():
    """All sequences of two tokens from a vocabulary of three, under two Markov policies: exact KL and its terms."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(2, 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    second = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    sequences = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    logps = [torch.stack([first[p, sequences[:, 0]], second[p, sequences[:, 0], sequences[:, 1]]], 1) for p in (0, 1)]
    probability = logps[0].sum(-1).exp()
    return *logps, probability, (probability * (logps[0] - logps[1]).sum(-1)).sum()


def test_the_expectation_is_the_kl_of_the_sequences():
    logps, ref_logps, probability, exact = _enumerated()
    mask = torch.ones(9, 2, dtype=torch.bool)
    assert float((probability * sequence_kl(logps, ref_logps, mask)).sum()) == pytest.approx(float(exact), rel=1e-12)


def test_terms_by_hand():
    logps, ref_logps = torch.tensor([[-1.0, -2.0, 5.0]]), torch.tensor([[-2.0, -1.0, -5.0]])
    mask = torch.tensor([[True, True, False]])
    assert sequence_kl(logps, ref_logps, mask).tolist() == [0.0]  # 1 - 1


def test_an_estimate_may_be_negative():
    generator = torch.Generator().manual_seed(0)
    logps, ref_logps = torch.randn(2, 500, 6, generator=generator)
    mask = torch.ones(500, 6, dtype=torch.bool)
    assert bool((sequence_kl(logps, ref_logps, mask) < 0).any())


def test_nothing_off_the_mask_counts():
    logps = torch.tensor([[-1.0, float("nan"), -float("inf")]])
    mask = torch.tensor([[True, False, False]])
    assert sequence_kl(logps, torch.tensor([[-1.0, 0.0, 3.0]]), mask).tolist() == [0.0]
