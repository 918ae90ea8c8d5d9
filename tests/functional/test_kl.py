from __future__ import annotations

import pytest
import torch

from mora.functional.kl import ESTIMATORS, sequence_kl, token_kl_loss


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


def _three_words():
    """A distribution over three words with logits that are differentiated, and that of the reference."""
    logits = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64, requires_grad=True)
    return logits, torch.tensor([0.9, 0.2, -0.4], dtype=torch.float64).log_softmax(0)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_loss_of_a_token_has_the_gradient_of_a_kl_of_that_token(estimator):
    """k2 of KL(pi || ref), k3 of KL(ref || pi): over every word, each as often as pi says it."""
    logits, ref = _three_words()
    share = logits.detach().softmax(0)
    logps = logits.log_softmax(0)[:, None]
    mask = torch.ones(3, 1, dtype=torch.bool)
    rows = [
        token_kl_loss(
            logps[i : i + 1], ref[i : i + 1, None], mask[:1], estimator=estimator, kl_coef=1.0, normalizer=1.0
        )
        for i in range(3)
    ]
    (found,) = torch.autograd.grad((torch.stack(rows) * share).sum(), logits)
    logits, _ = _three_words()
    ours = logits.log_softmax(0)
    forward, backward = (ref.exp() * (ref - ours)).sum(), (ours.exp() * (ours - ref)).sum()
    (expected,) = torch.autograd.grad(backward if estimator == "k2" else forward, logits)
    assert torch.allclose(found, expected, atol=1e-12)


def test_k3_is_unbiased_for_the_kl_and_neither_is_negative():
    logits, ref = _three_words()
    logps, share = logits.detach().log_softmax(0), logits.detach().softmax(0)
    values = {name: ESTIMATORS[name](logps - ref) for name in ("k2", "k3")}
    assert all(bool((value >= 0).all()) for value in values.values())
    assert float((share * values["k3"]).sum()) == pytest.approx(float((share * (logps - ref)).sum()), abs=1e-12)


def test_a_kl_loss_reads_nothing_off_the_mask_and_is_divided_by_its_normalizer():
    logps, ref = torch.tensor([[0.5, float("nan")]]), torch.tensor([[0.0, 7.0]])
    mask = torch.tensor([[True, False]])
    found = token_kl_loss(logps, ref, mask, estimator="k2", kl_coef=1.0, normalizer=4.0)
    assert float(found) == pytest.approx(0.125 / 4)
