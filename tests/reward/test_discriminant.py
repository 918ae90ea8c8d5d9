"""The head that is solved from sums of features: what goes into the sums, and what comes out of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from torch import Tensor

from mora.errors import InputError
from mora.reward import HeadKind, TrainedKind
from mora.reward.discriminant import Discriminant, Statistics

H, N = 6, 400
NAMES = ("a", "b")


def pairs(seed: int = 0, prompts: float = 3.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features that share a prompt, and labels of two objectives: by two directions, some ties, some unlabelled."""
    generator = torch.Generator().manual_seed(seed)
    shared = prompts * torch.randn(N, H, generator=generator)
    first, second = (shared + torch.randn(N, H, generator=generator) for _ in range(2))
    directions = torch.randn(2, H, generator=generator)
    noise = torch.randn(N, 2, generator=generator)
    labels = ((second - first) @ directions.T + noise > 0).float()
    labels[:20] = 0.5
    labelled = torch.ones(N, 2, dtype=torch.bool)
    labelled[100:150, 1] = False
    return first, second, labels, labelled


def solved(*batches: tuple[Tensor, ...], form="difference") -> tuple[Tensor, Tensor, dict]:
    statistics = Statistics(NAMES, H, form)
    for one in batches:
        statistics.add(*one)
    return statistics.solve()


def by_class(number: int, rows: tuple[Tensor, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Better and worse features of the decided pairs of an objective, one by one."""
    better, worse = [], []
    for first, second, label, known in zip(*rows, strict=True):
        if known[number] and label[number] != 0.5:
            better.append((second if label[number] > 0.5 else first).double().numpy())
            worse.append((first if label[number] > 0.5 else second).double().numpy())
    return np.array(better), np.array(worse)


def test_the_difference_form_solves_for_the_differences_of_decided_pairs():
    rows = pairs()
    weights, biases, facts = solved(rows)
    features = torch.cat(rows[:2]).double().mean(0)
    for number, name in enumerate(NAMES):
        better, worse = by_class(number, rows)
        difference = better - worse
        model = LedoitWolf().fit(difference)
        expected = 2 * np.linalg.solve(model.covariance_, difference.mean(0))
        assert np.allclose(weights[number], expected, rtol=1e-9)
        assert float(biases[number]) == pytest.approx(float(-features.numpy() @ expected))
        assert facts[name]["rows"] == len(better) == (380 if name == "a" else 330)


def test_the_pooled_form_is_linear_discriminant_analysis():
    """The ratio of two Gaussian densities with the shrunk within-class covariance, written out; 0 between the means."""
    rows = pairs(prompts=0.5)
    weights, biases, facts = solved(rows, form="pooled")
    for number, name in enumerate(NAMES):
        classes = by_class(number, rows)
        centered = np.concatenate([one - one.mean(0) for one in classes])
        model = LedoitWolf(assume_centered=True).fit(centered)
        better, worse = (multivariate_normal(one.mean(0), model.covariance_) for one in classes)
        for features in (rows[0][:5].double(), rows[1][:5].double()):
            ratio = better.logpdf(features) - worse.logpdf(features)
            assert np.allclose(features @ weights[number] + biases[number], ratio, rtol=1e-6, atol=1e-8)
        assert facts[name]["shrinkage"] == pytest.approx(model.shrinkage_)
        middle = torch.from_numpy(classes[0].mean(0) + classes[1].mean(0)) / 2
        assert float(weights[number] @ middle + biases[number]) == pytest.approx(0.0, abs=1e-9)


def test_what_a_prompt_adds_to_both_answers_does_not_matter():
    first, second, labels, labelled = pairs()
    shift = 50 * torch.randn(N, H, generator=torch.Generator().manual_seed(9))
    moved, _, _ = solved((first + shift, second + shift, labels, labelled))
    weights, _, _ = solved((first, second, labels, labelled))
    torch.testing.assert_close(moved, weights, rtol=1e-3, atol=1e-4)  # features are in fp32


@pytest.mark.parametrize("form", ["difference", "pooled"])
def test_the_order_of_the_two_answers_does_not_matter(form):
    first, second, labels, labelled = pairs()
    weights, biases, _ = solved((first, second, labels, labelled), form=form)
    turned, turned_biases, _ = solved((second, first, 1 - labels, labelled), form=form)
    torch.testing.assert_close(turned, weights)
    torch.testing.assert_close(turned_biases, biases)


@pytest.mark.parametrize("form", ["difference", "pooled"])
def test_parts_add_up_to_the_whole_and_survive_a_checkpoint(form):
    rows = pairs()
    whole = solved(rows, form=form)
    parts = [tuple(column[i : i + 130] for column in rows) for i in range(0, N, 130)]
    torch.testing.assert_close(solved(*parts, form=form)[0], whole[0])
    total = Statistics(NAMES, H, form)
    for part in parts:
        one = Statistics(NAMES, H, form)
        one.add(*part)
        total.include(one.tensors())
        kept = {"tensors": [tensor.clone() for tensor in total.state_dict()["tensors"]]}
        total = Statistics(NAMES, H, form)
        total.load_state_dict(kept)
    weights, biases, facts = total.solve()
    torch.testing.assert_close(weights, whole[0])
    torch.testing.assert_close(biases, whole[1])
    assert facts["a"]["rows"] == whole[2]["a"]["rows"]


def test_too_few_rows_are_refused_with_the_objective():
    rows = tuple(column[:21] for column in pairs())  # one decided pair
    with pytest.raises(InputError, match="objective a: "):
        solved(rows)


def test_few_rows_are_warned_about():
    rows = tuple(column[:30] for column in pairs())  # 10 decided pairs for 6 dimensions
    assert solved(rows)[2]["a"]["warning"]
    assert solved(pairs())[2]["a"]["warning"] is None


def test_the_kind_is_a_logit_without_a_loss():
    kind = Discriminant(form="difference", calibration_share=0.1)
    raw = torch.tensor([[[2.0]], [[-1.0]]])
    torch.testing.assert_close(kind.log_wins(raw[:1], raw[1:]).exp(), torch.sigmoid(torch.tensor([[3.0]])))
    assert kind.belief(raw).atoms.shape == (2, 1, 1)
    assert isinstance(kind, HeadKind) and not isinstance(kind, TrainedKind)
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match="reward.calibration_share"):
            Discriminant(form="difference", calibration_share=share)
