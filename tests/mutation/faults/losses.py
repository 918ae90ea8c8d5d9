"""Faults in the mathematics of policy gradients: token rewards, advantages, surrogate, value loss, KL."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="kl_sign_in_token_rewards",
        file="functional/advantages.py",
        old="torch.where(mask, -kl_coef * (old_logps - ref_logps), 0.0)",
        new="torch.where(mask, kl_coef * (old_logps - ref_logps), 0.0)",
        why="Leaving the reference is rewarded, so the policy degenerates faster the larger the coefficient.",
        caught_by=(
            "tests/functional/test_advantages.py::test_the_score_stands_on_the_last_response_token_and_the_kl_term_on_each",
        ),
    ),
    Fault(
        name="kl_penalty_on_masked_tokens",
        file="functional/advantages.py",
        old="torch.where(mask, -kl_coef * (old_logps - ref_logps), 0.0)",
        new="-kl_coef * (old_logps - ref_logps)",
        why="Padding is charged for its log-ratio, so short answers pay for tokens that nobody wrote.",
        caught_by=(
            "tests/functional/test_advantages.py::test_the_score_stands_on_the_last_response_token_and_the_kl_term_on_each",
        ),
    ),
    Fault(
        name="score_one_token_early",
        file="functional/advantages.py",
        old="last = (lengths - 1)[:, None, None]",
        new="last = (lengths - 2).clamp_min(0)[:, None, None]",
        why="The end token is never credited, so the policy does not learn when to stop.",
        caught_by=(
            "tests/functional/test_advantages.py::test_the_score_stands_on_the_last_response_token_and_the_kl_term_on_each",
        ),
    ),
    Fault(
        name="gae_takes_its_own_value_as_the_next",
        file="functional/advantages.py",
        old="following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)",
        new="following = values",
        why="The temporal difference compares a value with itself, so advantages carry no news.",
        caught_by=("tests/functional/test_advantages.py::test_gae_is_the_double_sum",),
    ),
    Fault(
        name="gae_bootstraps_after_the_end",
        file="functional/advantages.py",
        old="following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)",
        new="following = torch.cat([values[:, 1:], values[:, -1:]], dim=1)",
        why="The longest answers are credited with a value after their end.",
        caught_by=("tests/functional/test_advantages.py::test_gae_is_the_double_sum",),
    ),
    Fault(
        name="gae_without_lambda",
        file="functional/advantages.py",
        old="deltas[:, t] + gamma * lam * running",
        new="deltas[:, t] + gamma * running",
        why="The setting is read and ignored: advantages have the variance of whole returns.",
        caught_by=("tests/functional/test_advantages.py::test_gae_is_the_double_sum",),
    ),
    Fault(
        name="returns_without_values",
        file="functional/advantages.py",
        old="return advantages, advantages + values",
        new="return advantages, advantages",
        why="The critic learns advantages instead of returns and pulls itself to zero.",
        caught_by=("tests/functional/test_advantages.py::test_gae_is_the_double_sum",),
    ),
    Fault(
        name="leave_one_out_keeps_its_own",
        file="functional/advantages.py",
        old=".sum(-1) * (number / (number - 1)).squeeze(-1)",
        new=".sum(-1)",
        why="The baseline holds the sample itself, so the gradient is too small by (n - 1) / n.",
        caught_by=(
            "tests/functional/test_advantages.py::test_leave_one_out_subtracts_the_mean_of_the_others_in_every_stream",
        ),
    ),
    Fault(
        name="surrogate_counts_padding",
        file="functional/policy.py",
        old="advantages = torch.where(mask, advantages, 0.0)",
        new="advantages = advantages",
        why="Whatever stands on padding enters the loss of the policy.",
        caught_by=("tests/functional/test_policy.py::test_the_clipped_surrogate_against_its_cases_written_out",),
    ),
    Fault(
        name="surrogate_takes_the_maximum",
        file="functional/policy.py",
        old="surrogate = torch.minimum(plain, clipped)",
        new="surrogate = torch.maximum(plain, clipped)",
        why="Clipping becomes optimistic: it rewards leaving the trust region instead of stopping there.",
        caught_by=("tests/functional/test_policy.py::test_the_clipped_surrogate_against_its_cases_written_out",),
    ),
    Fault(
        name="ratio_upside_down",
        file="functional/policy.py",
        old="ratio = torch.exp(torch.where(mask, logps - old_logps, 0.0))",
        new="ratio = torch.exp(torch.where(mask, old_logps - logps, 0.0))",
        why="At the first update the gradient points away from what was rewarded.",
        caught_by=("tests/functional/test_policy.py::test_the_clipped_surrogate_against_its_cases_written_out",),
    ),
    Fault(
        name="clip_on_one_side",
        file="functional/policy.py",
        old="clipped = ratio.clamp(1 - clip, 1 + clip) * advantages",
        new="clipped = ratio.clamp_max(1 + clip) * advantages",
        why="Bad tokens are pushed down without limit in one rollout.",
        caught_by=("tests/functional/test_policy.py::test_the_clipped_surrogate_against_its_cases_written_out",),
    ),
    Fault(
        name="mean_over_each_rows_tokens",
        file="functional/policy.py",
        old="return -surrogate.sum() / normalizer",
        new="return -(surrogate.sum(-1) / mask.sum(-1).clamp_min(1)).mean()",
        why="A token of a long answer weighs less, so another objective than the expected gain is optimized.",
        caught_by=("tests/functional/test_policy.py::test_the_clipped_surrogate_against_its_cases_written_out",),
    ),
    Fault(
        name="value_loss_takes_the_minimum",
        file="functional/policy.py",
        old="squared = torch.maximum((values - returns) ** 2, (near - returns) ** 2)",
        new="squared = torch.minimum((values - returns) ** 2, (near - returns) ** 2)",
        why="A critic that jumped too far gets no gradient back.",
        caught_by=("tests/functional/test_policy.py::test_the_value_loss_by_hand",),
    ),
    Fault(
        name="value_clip_around_the_return",
        file="functional/policy.py",
        old="near = old_values + (values - old_values).clamp(-clip, clip)",
        new="near = returns + (values - returns).clamp(-clip, clip)",
        why="The clip no longer limits how far the critic moves from what it said at the rollout.",
        caught_by=("tests/functional/test_policy.py::test_the_value_loss_by_hand",),
    ),
    Fault(
        name="kl_estimate_with_its_sign_reversed",
        file="functional/kl.py",
        old="return torch.where(mask, logps - ref_logps, 0.0).sum(-1)",
        new="return torch.where(mask, ref_logps - logps, 0.0).sum(-1)",
        why="Reports show a negative KL that grows with the distance from the reference.",
        caught_by=("tests/functional/test_kl.py::test_the_expectation_is_the_kl_of_the_sequences",),
    ),
)
