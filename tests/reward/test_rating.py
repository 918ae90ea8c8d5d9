"""The rated reward: quantiles of absolute ratings."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from tests.judgments import judgments
from torch import Tensor

from mora.errors import InputError
from mora.functional.quantile import mean_gaps, pinball_loss
from mora.reward.rating import Rated
from mora.types import Row

KIND = Rated(source="data", atoms=5, initial_location=0.0, initial_gap=0.1, noise=0.5)


def fitted(kind: Rated, ratings: Tensor) -> Tensor:
    """Quantiles (2, B, K) after descent from the start; ratings are (2, B, R)."""
    pairs = ratings.shape[1]
    raw = torch.tensor(kind.initial_bias, dtype=torch.float64).repeat(2, pairs, 1, 1).requires_grad_()
    said = judgments(torch.zeros(pairs, 1), torch.zeros(pairs, 1, dtype=torch.bool), ratings=ratings[:, :, None])
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for step in range(700):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 700)
        optimizer.zero_grad()
        kind.loss(raw[0], raw[1], said).sum().backward()
        optimizer.step()
    return mean_gaps(raw.detach())[:, :, 0]


def test_the_learned_quantiles_are_those_of_the_ratings() -> None:
    """A wide normal, a skewed, a two-peaked and a narrow distribution of ratings, against numpy at the levels."""
    generator = np.random.default_rng(0)
    samples = np.stack(
        [
            3 + 2 * generator.normal(size=400),
            generator.exponential(1.0, size=400),
            generator.choice([-2.0, 2.0], size=400) + 0.3 * generator.normal(size=400),
            0.2 * generator.normal(size=400),
        ]
    )
    found = fitted(KIND, torch.tensor(samples).view(2, 2, 400)).view(4, 5).numpy()
    want = np.quantile(samples, KIND.levels, axis=1).T
    np.testing.assert_allclose(found, want, atol=0.08)
    assert np.ptp(want, axis=1).max() > 4 > 0.8 > np.ptp(want, axis=1).min()


def test_the_loss_is_the_mean_over_ratings_of_both_answers_and_levels() -> None:
    raw = torch.randn(2, 1, 1, 5, generator=torch.Generator().manual_seed(0))
    ratings = torch.tensor([[1.0, 2.0, 99.0], [-1.0, 99.0, 99.0]]).view(2, 1, 1, 3)
    rated = torch.tensor([[True, True, False], [True, False, False]]).view(2, 1, 1, 3)
    said = judgments(torch.zeros(1, 1), ratings=ratings, rated=rated)
    targets, answers = np.array([1.0, 2.0, -1.0]), mean_gaps(raw)[[0, 0, 1], 0, 0].numpy()
    want = np.mean([mean_pinball_loss(targets, answers[:, k], alpha=level) for k, level in enumerate(KIND.levels)])
    assert KIND.loss(raw[0], raw[1], said).item() == pytest.approx(want, rel=1e-6)


def test_pairs_without_a_rating_cost_nothing_and_labels_do_not_matter() -> None:
    raw = torch.randn(2, 3, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ratings, rated = torch.full((2, 3, 2, 2), 7.0), torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    rated[1, 0, 0, 1] = rated[0, 2, 1, 0] = True
    said = judgments(torch.ones(3, 2), ratings=ratings, rated=rated)
    covered = KIND.covered(said)
    assert covered.tolist() == [[True, False], [False, False], [False, True]]
    loss = KIND.loss(raw[0], raw[1], said)
    loss.sum().backward()
    assert ((loss > 0) == covered).all() and raw.grad is not None
    assert (raw.grad[:, ~covered] == 0).all()
    assert (raw.grad[0, 0, 0] == 0).all() and (raw.grad[1, 0, 0] != 0).any()  # the answer that was not rated rests
    other = judgments(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool), ratings=ratings, rated=rated)
    assert torch.equal(loss, KIND.loss(raw[0], raw[1], other))
    assert not KIND.covered(judgments(torch.ones(3, 2))).any()
    assert (KIND.loss(raw[0], raw[1], judgments(torch.ones(3, 2))) == 0).all()


def test_pinball_on_the_models_own_mean_collapses_and_ours_has_the_ratings_as_target() -> None:
    """Quantiles that chase their own mean lose all spread; regressed on ratings of deviation 1 they keep it."""
    normal = NormalDist()
    ratings = torch.tensor([normal.inv_cdf((i + 0.5) / 200) for i in range(200)], dtype=torch.float64)
    spread = fitted(KIND, ratings.expand(2, 1, 200))[0, 0].diff()
    want = torch.tensor([normal.inv_cdf(level) for level in KIND.levels], dtype=torch.float64).diff()
    torch.testing.assert_close(spread, want, atol=0.05, rtol=0)
    raw = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(500):
        quantiles = mean_gaps(raw)
        optimizer.zero_grad()
        pinball_loss(quantiles, quantiles.mean(), quantiles.new_tensor(KIND.levels)).backward()
        optimizer.step()
    assert mean_gaps(raw.detach()).diff().max() < 0.02


def test_pairs_are_decided_at_the_noise() -> None:
    raw = torch.randn(2, 4, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z_0, z_1 = mean_gaps(raw)
    want = torch.sigmoid((z_1[..., :, None] - z_0[..., None, :]) / 0.5).mean((-1, -2))
    torch.testing.assert_close(KIND.log_wins(raw[1], raw[0]).exp(), want)
    above, below = KIND.against_zero(raw[1])
    torch.testing.assert_close(above.exp(), torch.sigmoid(z_1 / 0.5).mean(-1))
    torch.testing.assert_close(above.exp() + below.exp(), torch.ones_like(above))


def test_rows_without_ratings_are_refused_unless_a_teacher_rates_them() -> None:
    bare = Row(prompt="p", responses=("a", "b"), labels={"r1": 1.0, "r2": 1.0})
    once = dataclasses.replace(bare, ratings={"r1": ((), (3.0,)), "r2": ((), ())})
    KIND.check_rows([bare, once], ["r1"])
    with pytest.raises(InputError, match="objective r2: .*columns r2_rating_0 and r2_rating_1"):
        KIND.check_rows([bare, once], ["r1", "r2"])
    dataclasses.replace(KIND, source="teacher").check_rows([bare], ["r1", "r2"])


@pytest.mark.parametrize(
    ("key", "value"), [("source", "gold"), ("atoms", 1), ("initial_gap", 0.0), ("noise", 0.0), ("noise", float("inf"))]
)
def test_values_without_meaning_are_refused(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"reward.{key}"):
        dataclasses.replace(KIND, **{key: value})  # type: ignore[arg-type]
