"""Hats of a lattice of the simplex, and the projection onto it, against their definitions and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mora.functional.bernstein import exponents
from mora.functional.lattice import hats, projected


@pytest.mark.parametrize(("objectives", "steps"), [(2, 1), (2, 7), (3, 4), (4, 3), (1, 2)])
def test_hats_interpolate(objectives, steps):
    """At most M are above 0, they sum to 1, linear functions are kept, and at a point of the lattice its own is 1."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(200, objectives, generator=generator).log().neg()
    preference = drawn / drawn.sum(1, keepdim=True)
    points = torch.tensor(exponents(objectives, steps)).double() / steps
    found = hats(preference, steps)
    assert found.shape == (200, len(points)) and float(found.min()) >= 0
    assert int((found > 0).sum(1).max()) <= objectives
    assert torch.allclose(found.sum(1), torch.ones(200).double())
    assert torch.allclose(found @ points, preference.double(), atol=1e-6)
    assert torch.equal(hats(points.float(), steps), torch.eye(len(points)).double())


def test_hats_are_continuous_across_the_triangles():
    """Along a line through a lattice of three objectives, no value jumps."""
    share = torch.linspace(0, 1, 5001).double()[:, None]
    line = (1 - share) * torch.tensor([0.7, 0.25, 0.05]) + share * torch.tensor([0.1, 0.3, 0.6])
    values = hats(line, 5) @ torch.randn(21, generator=torch.Generator().manual_seed(2)).double()
    assert float(values.diff().abs().max()) < 0.01


def test_projection_is_the_nearest_point_of_the_simplex():
    values = np.random.default_rng(0).normal(size=(4, 6))
    found = projected(torch.tensor(values)).numpy()
    for column, point in zip(values.T, found.T, strict=True):
        exact = minimize(
            lambda p, column=column: ((p - column) ** 2).sum(),
            np.full(4, 0.25),
            bounds=[(0, None)] * 4,
            constraints=[{"type": "eq", "fun": lambda p: p.sum() - 1}],
        )
        assert point == pytest.approx(exact.x, abs=2e-4)
    inside = torch.tensor([[0.2, 1.0], [0.8, 0.0]]).double()
    assert torch.allclose(projected(inside), inside)
