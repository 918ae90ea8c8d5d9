from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor
from torch.distributions import MultivariateNormal

from mora.errors import InputError
from mora.functional.covariance import Moments, condition_number, pooled
from mora.functional.discriminant import difference_weights, pooled_weights

FP64 = torch.float64


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FP64)


def moments(rows: Tensor) -> Moments:
    result = Moments.empty(rows.shape[1], rows[0])
    result.add(rows)
    return result


def classes(*, rows: int = 400, mean: float = 5.0) -> tuple[Tensor, Tensor]:
    """Features of better and of worse answers: one covariance, and a common mean far from 0."""
    mixing, gap = normal(6, 6, seed=0), normal(6, seed=1)
    better = normal(rows, 6, seed=2) @ mixing + mean + gap
    return better, normal(rows, 6, seed=3) @ mixing + mean - gap


def test_pooled_score_is_the_log_density_ratio_of_two_gaussians() -> None:
    better, worse = classes()
    weights, bias = pooled_weights(moments(better), moments(worse))
    covariance = pooled(moments(better), moments(worse))[0]
    features = normal(50, 6, seed=4) * 4 + 5
    above, below = (MultivariateNormal(rows.mean(0), covariance_matrix=covariance) for rows in (better, worse))
    torch.testing.assert_close(features @ weights + bias, above.log_prob(features) - below.log_prob(features))


def test_pointwise_score_is_zero_midway_when_the_feature_mean_is_not_zero() -> None:
    """A pair's margin hides the sign of the intercept; the score of one answer does not."""
    better, worse = classes(mean=40.0)
    weights, bias = pooled_weights(moments(better), moments(worse))
    scores = torch.cat([better, worse]) @ weights + bias
    assert abs(scores.mean()) < 1e-8
    right = torch.cat([scores[:400] > 0, scores[400:] < 0]).double().mean()
    assert right > 0.85
    wrong = torch.cat([better, worse]) @ weights - bias  # the other sign: every answer on one side
    assert torch.cat([wrong[:400] > 0, wrong[400:] < 0]).double().mean() == 0.5


def test_pooled_weights_equal_scikit_learns_linear_discriminant() -> None:
    better, worse = classes()
    centered = torch.cat([better - better.mean(0), worse - worse.mean(0)]).numpy()

    class Within(LedoitWolf):
        """The covariance of both classes together, whichever class is asked for."""

        def fit(self, X, y=None):
            return super().fit(centered)

    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Within())
    lda.fit(torch.cat([better, worse]).numpy(), np.repeat([1, 0], 400))
    weights, bias = pooled_weights(moments(better), moments(worse))
    np.testing.assert_allclose(weights.numpy(), lda.coef_[0], rtol=1e-9)
    assert math.isclose(bias.item(), lda.intercept_[0], rel_tol=1e-9)


def test_difference_margin_is_the_log_density_ratio_of_the_two_orders() -> None:
    better, worse = classes()
    weights, facts = difference_weights(moments(better - worse))
    mean, covariance = (better - worse).mean(0), moments(better - worse).ledoit_wolf()[0]
    difference = normal(50, 6, seed=5) * 3
    ahead, behind = (MultivariateNormal(sign * mean, covariance_matrix=covariance) for sign in (1, -1))
    torch.testing.assert_close(difference @ weights, ahead.log_prob(difference) - behind.log_prob(difference))
    assert weights.dtype == FP64
    assert facts == {
        "rows": 400.0,
        "rows_per_feature": pytest.approx(400 / 6),
        "shrinkage": pytest.approx(LedoitWolf().fit((better - worse).numpy()).shrinkage_),
        "condition_number": pytest.approx(condition_number(covariance)),
        "jitter": 0.0,
    }


def test_difference_weights_are_invariant_to_what_both_answers_share() -> None:
    better, worse = classes()
    weights, _ = difference_weights(moments(better - worse))
    pooled_before, _ = pooled_weights(moments(better), moments(worse))
    shared = (normal(400, 2, seed=6) @ normal(2, 6, seed=7)).sin() * 100 + 30  # any g(x)
    better, worse = better + shared, worse + shared
    again, _ = difference_weights(moments(better - worse))
    torch.testing.assert_close(again, weights, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(pooled_weights(moments(better), moments(worse))[0], pooled_before, rtol=0.1)


def test_weights_turn_with_the_features() -> None:
    better, worse = classes()
    rotation = torch.linalg.qr(normal(6, 6, seed=8))[0]
    weights, facts = difference_weights(moments(better - worse))
    turned, turned_facts = difference_weights(moments((better - worse) @ rotation.T))
    torch.testing.assert_close(turned, rotation @ weights)
    assert turned_facts == pytest.approx(facts)
    plain, bias = pooled_weights(moments(better), moments(worse))
    turned, turned_bias = pooled_weights(moments(better @ rotation.T), moments(worse @ rotation.T))
    torch.testing.assert_close(turned, rotation @ plain)
    torch.testing.assert_close(turned_bias, bias)


def test_exchanging_the_classes_negates_the_score() -> None:
    better, worse = classes()
    weights, bias = pooled_weights(moments(better), moments(worse))
    other, other_bias = pooled_weights(moments(worse), moments(better))
    torch.testing.assert_close(other, -weights)
    torch.testing.assert_close(other_bias, -bias)
    torch.testing.assert_close(
        difference_weights(moments(worse - better))[0], -difference_weights(moments(better - worse))[0]
    )


@dataclass
class World:
    """Pairs whose answers share a prompt: f = prompt part (rank 40) + response part + or - gap / 2.

    Deviations of the response part go from 0.18 to 5.6 over 128 directions; the prompt part is twice their root mean
    square in each of its 40 directions, and the gap lies among these, as it does when prompts differ in what makes an
    answer good.
    """

    better: Tensor
    worse: Tensor
    gap: Tensor
    noise: Tensor  # covariance of a difference: of both response parts, of no prompt

    def accuracy(self, weights: Tensor) -> float:
        """Probability that ``weights`` order a new pair rightly: Phi(w'gap / sqrt(w' noise w)), exactly."""
        return float(torch.special.ndtr(weights @ self.gap / (weights @ self.noise @ weights).sqrt()))


def world(pairs: int, dim: int = 128, rank: int = 40) -> World:
    deviations = torch.logspace(-0.75, 0.75, dim, dtype=FP64)
    response = torch.linalg.qr(normal(dim, dim, seed=10))[0] * deviations
    subspace = torch.linalg.qr(normal(dim, rank, seed=11))[0]
    prompt = 2.0 * deviations.square().mean().sqrt() * normal(pairs, rank, seed=12) @ subspace.T
    gap = 0.3 * subspace @ normal(rank, seed=13)
    better = prompt + normal(pairs, dim, seed=14) @ response.T + gap / 2
    worse = prompt + normal(pairs, dim, seed=15) @ response.T - gap / 2
    return World(better, worse, gap, 2 * response @ response.T)


def test_prompt_noise_ruins_the_pooled_form_and_not_the_difference_form() -> None:
    given = world(6000)
    best = given.accuracy(torch.linalg.solve(given.noise, given.gap))
    difference = moments(given.better - given.worse)
    reached = given.accuracy(difference_weights(difference)[0])
    from_pooled = given.accuracy(pooled_weights(moments(given.better), moments(given.worse))[0])
    from_mean = given.accuracy(difference.mean)
    assert best - 0.01 < reached <= best
    assert from_pooled < reached - 0.15 and from_mean < reached - 0.15, (reached, from_pooled, from_mean)


def test_a_tenth_of_the_pairs_costs_the_difference_form_little() -> None:
    given = world(600)
    reached = given.accuracy(difference_weights(moments(given.better - given.worse))[0])
    from_pooled = given.accuracy(pooled_weights(moments(given.better), moments(given.worse))[0])
    assert 0.9 < reached and from_pooled < reached - 0.15, (reached, from_pooled)


def test_jitter_is_added_only_when_the_factorization_fails_and_is_told() -> None:
    # Two rows leave beta at 0: mean (1, 0, 0), covariance diag(1, 0, 0), no shrinkage, jitter 1e-6 / 3.
    rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=FP64)
    weights, facts = difference_weights(moments(rows))
    assert facts["shrinkage"] == 0.0 and facts["jitter"] == pytest.approx(1e-6 / 3)
    assert facts["condition_number"] == pytest.approx((1 + 1e-6 / 3) / (1e-6 / 3))
    assert weights.tolist() == pytest.approx([2 / (1 + 1e-6 / 3), 0.0, 0.0])


def test_differences_that_do_not_vary_are_refused() -> None:
    with pytest.raises(InputError, match="do not vary"):
        difference_weights(moments(torch.ones(5, 3)))
    with pytest.raises(ValueError, match="0 rows"):
        difference_weights(Moments.empty(3, torch.zeros(3)))
