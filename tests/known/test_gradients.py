"""The first net trains nothing: gradients of every algorithm against enumeration, in double precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mora.functional.policy import clipped_surrogate_loss
from tests.known.gradients import CASES, KL_COEF, PROMPTS, Case, Setting, relative_error

LINEAR = CASES[0]
SEEDS = [0, pytest.param(1, marks=pytest.mark.truth)]  # of parameters, rewards and preferences


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gradient_is_that_of_the_expected_utility(case, seed):
    """Whatever the baseline: the critic's weights are random, too."""
    assert relative_error(case, seed) < 1e-10


@pytest.mark.parametrize("algo", ["panacea", "exact"])
@pytest.mark.parametrize("seed", SEEDS)
def test_where_prompts_are_unequal_the_two_tchebycheff_utilities_of_expectations_pull_apart(algo, seed, tmp_path):
    """Each case is held to its own utility above; here: they are not the same question, so neither passes for both."""
    gradients = []
    for case in [case for case in CASES if case.unequal and case.algo == algo]:
        setting = Setting(case, seed, tmp_path / case.name)
        gradients.append(setting.surrogate_gradient())
    expected, prompt = gradients[:2]
    assert float((expected - prompt).norm() / expected.norm()) > 0.01  # the price of the KL is the same in both


def test_every_algorithm_that_steers_a_policy_stands_in_the_table():
    algorithms = {path.stem for path in (Path(__file__).parents[2] / "conf" / "algo").glob("*.yaml")}
    assert algorithms - {"sft", "reward_model"} == {case.algo for case in CASES}


@pytest.mark.parametrize("how", ["scale", "whiten"])
def test_normalized_advantages_rescale_the_gradient_or_shift_the_baseline(tmp_path, how):
    """Divided by their deviation: the same direction.  With the mean subtracted: a baseline, the same direction too."""
    case = Case("normalized", "panacea", (f"algo.normalize_advantages={how}",))
    setting = Setting(case, 0, tmp_path)
    exact, surrogate = setting.exact_gradient(), setting.surrogate_gradient()
    assert float(torch.cosine_similarity(exact, surrogate, dim=0)) == pytest.approx(1, abs=1e-10)
    assert float(surrogate.norm() / exact.norm()) != pytest.approx(1, abs=0.01)


def test_a_mean_over_each_rows_own_tokens_would_not_pass(tmp_path, monkeypatch):
    """The defect that the sum over tokens avoids; and the proof that this net is fine enough to see it."""

    def per_row_means(logps, old_logps, advantages, mask, *, clip, normalizer):
        lengths = mask.sum(-1, keepdim=True)
        return clipped_surrogate_loss(logps, old_logps, advantages / lengths, mask, clip=clip, normalizer=normalizer)

    monkeypatch.setattr("mora.algo.ppo.clipped_surrogate_loss", per_row_means)
    setting = Setting(LINEAR, 0, tmp_path)
    exact, surrogate = setting.exact_gradient(), setting.surrogate_gradient()
    assert float(torch.cosine_similarity(exact, surrogate, dim=0)) < 0.999


def test_off_ratio_one_the_loss_is_the_clipped_reference(tmp_path):
    """Written out row by row, with advantages from their definition and log-probabilities from dense weights."""
    setting = Setting(LINEAR, 3, tmp_path)
    algo = setting.algo
    old = [setting.token_logps(preference) for preference in setting.preferences]
    reference = setting.token_logps(None)
    rows = setting.experience()
    old = [[[one.detach() for one in per] for per in prompt] for prompt in old]
    setting.move(setting.policy, 0.05)
    setting.policy.eval()
    new = [setting.token_logps(preference) for preference in setting.preferences]
    values = setting.policy(rows).values
    total, value_total, clipped, number = torch.zeros((), dtype=torch.float64), 0.0, 0, 0
    for x in range(len(PROMPTS)):
        for k, preference in enumerate(setting.preferences):
            for y, response in enumerate(setting.responses):
                length = len(response)
                for t in range(length):
                    later = sum(
                        -KL_COEF * (old[k][x][y][u] - reference[x][y][u]) for u in range(t, length)
                    )  # the penalty of this token and those after it
                    togo = setting.rewards[x, y] + later.detach()  # (M,)
                    advantage = (preference * (togo - rows.values[number, t])).sum()
                    ratio = (new[k][x][y][t] - old[k][x][y][t]).exp()
                    bounded = min(max(float(ratio.detach()), 1 - algo.clip), 1 + algo.clip)
                    plain = ratio * advantage
                    if float(plain.detach()) <= bounded * float(advantage):
                        total = total + plain
                    else:
                        total = total + bounded * advantage.detach()
                        clipped += 1
                    move = (values[number, t] - rows.values[number, t]).clamp(-algo.value_clip, algo.value_clip)
                    near = rows.values[number, t] + move
                    worse = torch.maximum((values[number, t] - togo) ** 2, (near - togo) ** 2)
                    value_total += 0.5 * float(worse.sum().detach())
                number += 1
    expected = (-total + algo.value_coef * value_total) / rows.normalizer
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(-total / rows.normalizer, setting.trained())])
    loss, found = setting.loss(rows)
    assert clipped > 100
    assert loss == pytest.approx(float(expected.detach()), rel=1e-10)
    assert float((found - gradient).norm() / gradient.norm()) < 1e-10


def test_the_rollout_is_a_distribution_over_everything(tmp_path):
    """156 responses to each of 2 prompts at each of 2 preferences, whose probabilities sum to 1."""
    setting = Setting(LINEAR, 0, tmp_path)
    rows = setting.experience()
    share = rows.old_logps.mul(rows.response).sum(-1).exp()
    assert len(setting.responses) == 156
    assert torch.allclose(share.view(4, 156).sum(1), torch.ones(4, dtype=torch.float64), atol=1e-12)
    assert float((rows.old_logps - rows.ref_logps).abs().max()) > 0.1
