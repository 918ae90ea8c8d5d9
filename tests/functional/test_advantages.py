from __future__ import annotations

import pytest
import torch

from mora.functional.advantages import gae, gd2po, gdpo, grpo, normalized, reinforce, rloo, token_rewards
from mora.model.generate import response_mask


def _random(rows: int = 5, length: int = 7, streams: int = 2):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(rows, length, streams, generator=generator, dtype=torch.float64)
    values = torch.randn(rows, length, streams, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 1, 3, 6, 4])
    return rewards, values, torch.arange(length)[None, :] < lengths[:, None]


def _by_double_sum(rewards, values, mask, gamma, lam):
    """``A_t = sum_l (gamma lam)^l delta_{t+l}``, each delta written out, over the response only."""
    advantages = torch.zeros_like(rewards)
    for b in range(len(mask)):
        end = int(mask[b].sum())
        for c in range(rewards.shape[-1]):
            for t in range(end):
                total = 0.0
                for u in range(t, end):
                    after = float(values[b, u + 1, c]) if u + 1 < end else 0.0
                    delta = float(rewards[b, u, c]) + gamma * after - float(values[b, u, c])
                    total += (gamma * lam) ** (u - t) * delta
                advantages[b, t, c] = total
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.7), (1.0, 0.95), (0.8, 0.0)])
def test_gae_is_the_double_sum(gamma, lam):
    rewards, values, mask = _random()
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    expected = _by_double_sum(rewards, values, mask, gamma, lam)
    assert torch.allclose(advantages, expected, atol=1e-12)
    assert torch.allclose(returns, torch.where(mask[..., None], expected + values, 0.0), atol=1e-12)


def test_without_discount_gae_is_return_to_go_minus_value():
    rewards, values, mask = _random()
    rewards = rewards * mask[..., None]
    to_go = rewards.flip(1).cumsum(1).flip(1)
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    assert torch.allclose(advantages[mask], (to_go - values)[mask])
    assert torch.allclose(returns[mask], to_go[mask])


def test_at_lambda_zero_gae_looks_one_step_ahead():
    # Rewards 1, 2; values 10, 20: deltas 1 + .5 20 - 10 = 1 and 2 - 20 = -18.
    rewards, values = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[10.0], [20.0]]])
    advantages, _ = gae(rewards, values, torch.ones(1, 2, dtype=torch.bool), gamma=0.5, lam=0.0)
    assert advantages.flatten().tolist() == [1.0, -18.0]


def test_nothing_beyond_the_end_of_a_response_counts():
    rewards, values, mask = _random()
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    assert not advantages[~mask].any() and not returns[~mask].any()
    noisy_rewards = torch.where(mask[..., None], rewards, 1e6)
    noisy_values = torch.where(mask[..., None], values, -1e6)
    again, _ = gae(noisy_rewards, noisy_values, mask, gamma=1.0, lam=0.95)
    assert torch.equal(again, advantages)


def test_a_linear_gain_has_the_weighted_sum_of_the_streams_advantages():
    rewards, values, mask = _random()
    w = torch.tensor([0.3, 0.7], dtype=torch.float64)
    streams, _ = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    gain, _ = gae(rewards @ w[:, None], values @ w[:, None], mask, gamma=1.0, lam=0.95)
    assert torch.allclose(streams @ w[:, None], gain)


def test_the_score_stands_on_the_last_response_token_and_the_kl_term_on_each():
    # log-ratios .5, 1, (masked); coefficient 2: penalties -1, -2, then the score 10 or -3 on the second token.
    old, ref = torch.tensor([[-1.0, -1.0, -7.0]]), torch.tensor([[-1.5, -2.0, -1.0]])
    mask = torch.tensor([[True, True, False]])
    rewards = token_rewards(torch.tensor([[10.0, -3.0]]), old, ref, mask, kl_coef=2.0)
    assert rewards[0, :, 0].tolist() == [-1.0, 8.0, 0.0]
    assert rewards[0, :, 1].tolist() == [-1.0, -5.0, 0.0]


def test_the_kl_term_enters_a_linear_gain_once():
    generator = torch.Generator().manual_seed(0)
    old, ref = torch.randn(2, 4, 6, generator=generator)
    mask = torch.arange(6)[None, :] < torch.tensor([6, 2, 4, 1])[:, None]
    weights = torch.tensor([[0.2, 0.3, 0.5]] * 4)
    scores = torch.randn(4, 3, generator=generator)
    gain = (token_rewards(scores, old, ref, mask, kl_coef=0.3) * weights[:, None, :]).sum(-1)
    expected = (scores * weights).sum(-1) - 0.3 * ((old - ref) * mask).sum(-1)
    assert torch.allclose(gain.sum(-1), expected, atol=1e-6)


def test_the_score_stands_on_the_end_token_also_when_it_is_the_padding_token():
    end = 2
    tokens = torch.tensor([[5, 6, end, end, end], [end, end, end, end, end], [5, 6, 7, 8, 9]])
    mask = response_mask(tokens, end)
    rewards = token_rewards(torch.ones(3, 1), torch.zeros(3, 5), torch.zeros(3, 5), mask, kl_coef=0.1)[..., 0]
    assert rewards.tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_a_row_without_response_is_refused():
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="no response token"):
        token_rewards(torch.ones(2, 1), torch.zeros(2, 2), torch.zeros(2, 2), mask, kl_coef=0.1)


def test_a_wild_log_ratio_off_the_mask_is_not_seen():
    mask = torch.tensor([[True, False]])
    rewards = token_rewards(torch.ones(1, 1), torch.tensor([[0.0, 1e9]]), torch.zeros(1, 2), mask, kl_coef=1.0)
    assert rewards.flatten().tolist() == [1.0, 0.0]


def test_leave_one_out_subtracts_the_mean_of_the_others_in_every_stream():
    generator = torch.Generator().manual_seed(0)
    returns, weights = torch.randn(2, 7, 2, dtype=torch.float64, generator=generator)
    group = torch.tensor([9, 4, 9, 4, 4, 9, 4])  # of 3 and of 4, mixed
    found = rloo(returns, weights, group)
    for i in range(7):
        others = [returns[j] for j in range(7) if j != i and group[j] == group[i]]
        expected = (weights[i] * (returns[i] - sum(others) / len(others))).sum()
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-12)
    by_hand = rloo(torch.tensor([[1.0], [2.0], [6.0]]), torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))
    assert by_hand.tolist() == [-3.0, -1.5, 4.5]  # 1 - (2+6)/2, 2 - (1+6)/2, 6 - (1+2)/2


def test_leave_one_out_needs_another_one():
    with pytest.raises(ValueError, match="groups have one row"):
        rloo(torch.ones(3, 1), torch.ones(3, 1), torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("how", "expected"),
    [("none", [1.0, 3.0, 8.0]), ("scale", [0.34, 1.019, 2.717]), ("whiten", [-1.019, -0.34, 1.359])],
)
def test_advantages_are_normalized_over_the_tokens_of_the_mask_of_all_processes(how, expected):
    """Mean 4 and deviation 8.667^.5 of 1, 3 and 8; what stands off the mask is 0, and never read."""
    rows = torch.tensor([[1.0, 3.0, float("nan")], [8.0, float("nan"), float("nan")]])
    mask = ~rows.isnan()
    whole = normalized(rows, mask, how, lambda tensor: tensor)
    assert whole[mask].tolist() == pytest.approx(expected, abs=1e-3) and not whole[~mask].any()
    moments = []
    normalized(rows, mask, how, lambda tensor: moments.append(tensor) or tensor)
    for row in range(2):
        part = normalized(rows[row : row + 1], mask[row : row + 1], how, lambda _: moments[0])
        assert torch.equal(part, whole[row : row + 1])


def _group_of_four():
    """Two prompts of four answers, two rewards, each answer at weights of its own; and the same as numpy arrays."""
    generator = torch.Generator().manual_seed(3)
    returns = torch.randn(8, 2, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 10.0])
    weights = torch.rand(8, 2, generator=generator, dtype=torch.float64)
    return returns, weights / weights.sum(1, keepdim=True), torch.tensor([5, 5, 2, 5, 2, 2, 5, 2])


def test_without_a_baseline_an_answer_has_its_own_gain():
    returns, weights, group = _group_of_four()
    assert torch.allclose(reinforce(returns, weights, group), (returns * weights).sum(1))
    assert torch.equal(reinforce(returns, weights, torch.arange(8)), reinforce(returns, weights, group))


def test_grpo_standardizes_the_gain_at_a_rows_own_weights_over_its_group():
    returns, weights, group = _group_of_four()
    for row, found in enumerate(grpo(returns, weights, group)):
        gains = (returns[group == group[row]] * weights[row]).sum(1).numpy()
        own = float((returns[row] * weights[row]).sum())
        assert float(found) == pytest.approx((own - gains.mean()) / (gains.std(ddof=1) + 1e-4), rel=1e-10)


def test_gdpo_standardizes_each_reward_over_its_group_and_then_weighs():
    returns, weights, group = _group_of_four()
    for row, found in enumerate(gdpo(returns, weights, group)):
        mates = returns[group == group[row]].numpy()
        scores = (returns[row].numpy() - mates.mean(0)) / (mates.std(0, ddof=1) + 1e-4)
        assert float(found) == pytest.approx(float(scores @ weights[row].numpy()), rel=1e-10)


def test_gd2po_leaves_out_what_rewards_disagree_about():
    """Eight answers, two rewards at .5 each: against the rule written out, with an answer that is average in both."""
    first = torch.tensor([2.0, -1.0, 0.5, -1.5, 1.0, 0.0, -0.9, -0.1])
    second = torch.tensor([-1.8, -1.2, 1.5, 0.4, -0.2, 0.0, 1.0, 0.3])
    returns, weights = torch.stack([first, second], 1).double(), torch.full((8, 2), 0.5).double()
    group = torch.zeros(8, dtype=torch.int64)
    scores = (returns - returns.mean(0)) / (returns.std(0) + 1e-4) * 0.5
    conflict = (scores.prod(1) < 0) & (scores.sum(1).abs() / scores.abs().sum(1) < 0.2)
    assert 0 < int(conflict.sum()) < 4
    found = gd2po(returns, weights, group, agreement=0.2)
    share = 1 - conflict.double().mean()
    assert torch.allclose(found, torch.where(conflict, 0.0, gdpo(returns, weights, group) * share))
    assert torch.equal(gd2po(returns, weights, group, agreement=0.0), gdpo(returns, weights, group))
    flat = torch.cat([returns, torch.zeros(8, 1).double()], 1)
    flat[5] = flat.mean(0)
    assert float(gd2po(flat, torch.full((8, 3), 1 / 3).double(), group, agreement=0.2).abs().min()) < 1e-9


def test_a_reward_without_weight_is_no_conflict():
    returns = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.5, -0.5]])
    weights, group = torch.tensor([[1.0, 0.0]]).expand(3, -1), torch.zeros(3, dtype=torch.int64)
    assert torch.allclose(gd2po(returns, weights, group, agreement=0.2), gdpo(returns, weights, group))


def test_with_one_reward_gdpo_is_grpo_and_both_are_leave_one_out_in_another_unit():
    returns, _, group = _group_of_four()
    one, weights = returns[:, :1], torch.ones(8, 1, dtype=torch.float64)
    assert torch.allclose(gdpo(one, weights, group), grpo(one, weights, group))
    spread = torch.stack([one[group == of].std() for of in group])
    assert torch.allclose(grpo(one, weights, group) * (spread + 1e-4) * 4 / 3, rloo(one, weights, group))


@pytest.mark.parametrize("estimator", [grpo, gdpo])
def test_answers_that_score_alike_have_no_advantage_and_one_alone_is_refused(estimator):
    alike = torch.full((3, 2), 7.0)
    assert not estimator(alike, torch.full((3, 2), 0.5), torch.zeros(3, dtype=torch.int64)).any()
    with pytest.raises(ValueError, match="groups have one row"):
        estimator(torch.ones(3, 1), torch.ones(3, 1), torch.tensor([0, 0, 1]))


def test_a_reward_that_varies_ten_times_as_much_outweighs_the_other_in_grpo_and_not_in_gdpo():
    """At equal weights: the correlation of each reward with the advantage."""
    generator = torch.Generator().manual_seed(0)
    returns = torch.randn(400, 2, generator=generator) * torch.tensor([1.0, 10.0])
    weights, group = torch.full((400, 2), 0.5), torch.arange(400) // 8
    found = {}
    for name, estimator in {"grpo": grpo, "gdpo": gdpo}.items():
        together = torch.cat([returns, estimator(returns, weights, group)[:, None]], 1)
        found[name] = torch.corrcoef(together.T)[2, :2].tolist()
    assert found["grpo"][0] < 0.2 < 0.85 < found["grpo"][1]
    assert min(found["gdpo"]) > 0.55
