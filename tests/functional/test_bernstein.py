from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import multinomial

from mora.functional.bernstein import bernstein, corners, exponents


@pytest.mark.parametrize(("objectives", "degree"), [(1, 3), (2, 1), (2, 4), (3, 2), (4, 3)])
def test_the_polynomials_are_the_probabilities_of_a_multinomial(objectives, degree):
    """Of each count of ``degree`` draws; so none is negative and they sum to 1."""
    weights = torch.rand(5, objectives, generator=torch.manual_seed(0)).double() + 0.1
    weights = weights / weights.sum(1, keepdim=True)
    found, powers = bernstein(weights, degree), exponents(objectives, degree)
    assert found.shape == (5, math.comb(objectives + degree - 1, degree)) and len(set(powers)) == len(powers)
    for row, w in zip(found.tolist(), weights.numpy(), strict=True):
        assert row == pytest.approx([multinomial.pmf(some, degree, w) for some in powers])
    assert torch.allclose(found.sum(1), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(("objectives", "degree"), [(2, 1), (2, 3), (4, 2)])
def test_at_one_objective_its_corner_alone_counts(objectives, degree):
    found = bernstein(torch.eye(objectives), degree)
    assert found[range(objectives), corners(objectives, degree)].tolist() == [1.0] * objectives
    assert float(found.sum()) == objectives


def test_degree_one_is_the_preference_itself():
    weights = torch.tensor([[0.2, 0.5, 0.3]])
    assert torch.equal(bernstein(weights, 1), weights.double()) and corners(3, 1) == [0, 1, 2]
