"""The gradients of single objectives, against the gradient that training takes where it is theirs or their sum."""

from __future__ import annotations

import math

import pytest

from mora.files import read_lines
from mora.runtime.collector import RolloutCollector

ROLLOUT = (
    "adapter=lora",
    "preference=fixed",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=4",
    "algo.reference_prompts=4",
    "algo.reference_samples=4",
    "algo.epochs=1",
    "algo.minibatches=1",
    "algo.steps=1",
    "algo.kl_coef=0",
    "algo.normalize_advantages=none",
    "algo.optimizer.max_grad_norm=0",
)


@pytest.fixture
def measured(make, monkeypatch):
    """The metrics of the first step, and the norm of its gradient for each answer without the factor S / (S - 1)."""

    def of(*overrides: str) -> tuple[dict[str, float], float]:
        seen, collect = [], RolloutCollector.collect
        with monkeypatch.context() as patch:
            patch.setattr(RolloutCollector, "collect", lambda *given: seen.append(collect(*given)) or seen[-1])
            algo = make("rloo", *ROLLOUT, "algo.gradient_every=1", *overrides)
            algo.fit()
        (row,), (rollout,) = read_lines(algo.context.folder.metrics), seen
        return row, row["grad_norm"] * rollout.normalizer / len(rollout.ids) * 3 / 4

    return of


def test_one_objective_alone_has_the_gradient_of_training_and_two_add_up_to_it(measured):
    (first, whole_a), (second, whole_b), (mixed, whole) = (
        measured(f"preference.weights={weights}") for weights in ("[1.0,0.0]", "[0.0,1.0]", "[0.5,0.5]")
    )
    a, b = (name for name in first if name.startswith("gradient/"))
    assert first[a] == pytest.approx(whole_a, rel=1e-4) and second[b] == pytest.approx(whole_b, rel=1e-4)
    assert first[b] == second[a] == 0 and whole_a > 1e-3
    assert not any(name.startswith("gradient_cosine/") for name in (*first, *second))  # nothing to compare
    assert mixed[a] == pytest.approx(first[a] / 2, rel=1e-4) and mixed[b] == pytest.approx(second[b] / 2, rel=1e-4)
    (cosine,) = (value for name, value in mixed.items() if name.startswith("gradient_cosine/"))
    total = mixed[a] ** 2 + mixed[b] ** 2 + 2 * cosine * mixed[a] * mixed[b]
    assert math.sqrt(total) == pytest.approx(whole, rel=1e-4)


def test_micro_batches_change_nothing_and_it_is_measured_as_often_as_asked(measured, make):
    (whole, _), (parts, _) = measured("runtime.micro_batch=null"), measured("runtime.micro_batch=3")
    for name in (name for name in whole if name.startswith("gradient")):
        assert parts[name] == pytest.approx(whole[name], rel=1e-3, abs=1e-5)
    algo = make("ppo", *ROLLOUT[:-3], "algo.gradient_every=2", "algo.steps=3", "algo.critic_width=8")
    algo.fit()
    rows = read_lines(algo.context.folder.metrics)
    assert [any(name.startswith("gradient/") for name in row) for row in rows] == [True, False, True]


def test_measuring_moves_no_weight(make):
    losses = []
    for every in (0, 1):
        algo = make("rloo", *ROLLOUT[:-1], f"algo.gradient_every={every}", "algo.steps=2")
        algo.fit()
        losses.append([row["loss"] for row in read_lines(algo.context.folder.metrics)])
    assert losses[0] == losses[1]
