"""Policy gradients without a critic: where the KL stands, and what is credited."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.algo.pieces import collector_of, policy_of, scorer_of

from mora.evaluation.grid import steering_grid
from mora.model.stored import load_policy
from mora.runtime.rollout_metrics import observe_kl, rollout_metrics

SMALL = (
    "algo.steps=1",
    "algo.minibatches=1",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=4",
    "algo.reference_prompts=8",
    "algo.reference_samples=2",
    "algo.kl_coef=0.5",
    "preference=group",
)


def moved(make, name, *overrides):
    """An algorithm, a policy that left its reference, and a credited rollout of it."""
    algo = make(name, *SMALL, *overrides)
    model, tokenizer = algo.context.starting_policy()
    encoder = algo.context.encoder(tokenizer)
    scorer, policy = scorer_of(algo, model, encoder), policy_of(algo, model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in policy.adapter.groups():
            for parameter in group["params"]:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    collector = collector_of(algo, scorer, encoder)
    rollout = collector.collect(policy, collector.rows(1), 1)  # the first is checked to be the reference
    algo.credit(rollout)
    return algo, policy, rollout


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_kl_in_the_loss_is_that_of_the_sampled_tokens_times_its_weight(make, estimator):
    algo, policy, rollout = moved(make, "grpo", f"algo.kl_loss={estimator}")
    with torch.no_grad():
        together, _ = algo.loss(policy, rollout)
        algo.kl_loss = None
        without, _ = algo.loss(policy, rollout)
        ratio = (policy.logps(rollout) - rollout.ref_logps)[rollout.trained]
    terms = ratio**2 / 2 if estimator == "k2" else torch.exp(-ratio) - 1 + ratio
    assert float(terms.sum()) > 0.01
    assert float(together - without) == pytest.approx(0.5 * float(terms.sum()) / rollout.normalizer, rel=1e-4)


@pytest.mark.parametrize(("kl_loss", "counts"), [("null", True), ("k3", False)])
def test_a_kl_in_the_loss_is_no_part_of_the_return(make, kl_loss, counts):
    """It stands in one of the two places: advantages depend on the reference where it is a part of the return."""
    algo, _, rollout = moved(make, "rloo", f"algo.kl_loss={kl_loss}", "algo.normalize_advantages=none")
    before = rollout.advantages.clone()
    rollout.ref_logps = rollout.ref_logps - torch.rand(rollout.ref_logps.shape, generator=torch.manual_seed(1))
    algo.credit(rollout)
    assert bool(((rollout.advantages - before).abs() > 1e-3).any()) is counts


@pytest.mark.parametrize("name", ["panacea", "rloo", "grpo"])
def test_the_price_of_the_kl_follows_its_target_and_reaches_what_is_credited(make, name):
    """Far above the target the price rises by the rate, and later advantages, or the loss, know the new price."""
    algo, policy, rollout = moved(make, name, "algo.kl_target=1e-6", "algo.kl_rate=0.7")
    assert torch.equal(rollout.kl_coef, torch.full((16,), 0.5, dtype=torch.float64))
    before, loss = rollout.advantages.clone(), algo.loss(policy, rollout)[0].detach()
    observe_kl(algo.context.runtime, algo.kl_control, rollout)
    algo.credit(rollout)
    assert torch.allclose(rollout.kl_coef, torch.full((16,), 0.5, dtype=torch.float64) * np.exp(0.7))
    if name == "grpo":
        assert torch.equal(before, rollout.advantages)
        assert abs(algo.loss(policy, rollout)[0].detach() - loss) > 1e-4
    else:
        assert (before - rollout.advantages).abs().max() > 1e-2


def test_every_token_of_an_answer_has_its_advantage(make):
    for name in ("reinforce", "rloo", "grpo", "gdpo"):
        _, _, rollout = moved(make, name)
        for row, trained in zip(rollout.advantages, rollout.trained, strict=True):
            assert len(row[trained].unique()) == 1


@pytest.mark.parametrize("samples", [4, 1])
def test_credit_says_how_an_objective_and_the_advantage_go_together(make, samples):
    """Against numpy; without other answers to a prompt nothing but the mean of all rows is taken off."""
    given = ("algo.rollout.samples=1", "algo.rollout.prompts=16") if samples == 1 else ()
    algo, _, rollout = moved(make, "reinforce", *given)
    found = rollout_metrics(algo.context, rollout, algo.context.corpus.objectives)
    advantages = rollout.advantages[:, 0].double().numpy()
    groups = rollout.group.numpy() if samples > 1 else np.zeros(len(advantages))

    def centered(values):
        return values - np.array([values[groups == group].mean() for group in groups])

    for place, name in enumerate(algo.context.corpus.objectives):
        pair = centered(rollout.rewards[:, place].double().numpy()), centered(advantages)
        assert found[f"credit/{name}"] == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-5)


def test_an_objective_without_weight_that_opposes_another_is_credited_down(make):
    algo, _, rollout = moved(make, "rloo", "algo.kl_coef=0")
    rollout.rewards[:, 1] = -rollout.rewards[:, 0]
    rollout.streams, rollout.weights = rollout.rewards, torch.tensor([[1.0, 0.0]]).expand(len(rollout.ids), 2)
    algo.credit(rollout)
    found = rollout_metrics(algo.context, rollout, algo.context.corpus.objectives)
    assert found["credit/kind0"] == pytest.approx(1, abs=1e-4) and found["credit/kind1"] == pytest.approx(-1, abs=1e-4)


def test_a_policy_under_floors_is_drawn_kept_and_read_with_what_steers_it(make, tmp_path):
    """Preferences of training have no weight on the floored objective, and the stored policy heeds none."""
    floor = ("scalarize.floors={kind1: 0.5}", "algo.critic_width=8")
    _, _, rollout = moved(make, "panacea_lag", *floor)
    assert torch.equal(rollout.preference, torch.tensor([[1.0, 0.0]]).expand(16, -1))
    algo = make("panacea_lag", *SMALL, *floor)
    for part in algo.context.starting_model(frozen=True):
        part.save_pretrained(tmp_path / "base")
    algo.context.policy = str(tmp_path / "base")
    algo.fit()
    policy, _ = load_policy(algo.context.folder.path / "policy", torch.device("cpu"))
    assert policy.floored == (1,)
    assert {row[1] for row in steering_grid(policy.floored, 3)} == {0.0} and steering_grid((0, 2), 3) == [[0, 1, 0]]
