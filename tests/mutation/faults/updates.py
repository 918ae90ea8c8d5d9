"""Faults in the losses of the algorithms and in what their updates are made of."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="fine_tuning_shifted_by_one",
        file="algo/sft.py",
        old="torch.where(rows.response[:, 1:], logps, 0.0)",
        new="torch.where(rows.response[:, :-1], logps, 0.0)",
        why="The first token of an answer is never trained and padding after the end is.",
        caught_by=("tests/algo/test_sft.py::test_the_loss_is_the_mean_over_answer_tokens_end_token_included",),
    ),
    Fault(
        name="reward_loss_compares_the_wrong_way_round",
        file="algo/reward_model.py",
        old="reward.loss(raw[:half], raw[half:], pairs.judgments)",
        new="reward.loss(raw[half:], raw[:half], pairs.judgments)",
        why="The reward model prefers the worse answer of every pair.",
        caught_by=(
            "tests/algo/test_reward_model.py::test_the_loss_is_the_sum_over_objectives_of_the_mean_over_labelled_pairs",
        ),
    ),
    Fault(
        name="supervised_term_with_its_sign_reversed",
        file="runtime/ptx.py",
        old="return -self.coef * torch.where",
        new="return self.coef * torch.where",
        why="The term that should keep good answers likely makes them unlikely.",
        caught_by=(
            "tests/algo/test_panacea.py::test_ptx_is_the_mean_likelihood_of_answer_tokens_at_drawn_preferences",
        ),
    ),
    Fault(
        name="old_log_probabilities_taken_anew",
        file="algo/ppo.py",
        old="output.logps, rows.old_logps, rows.advantages,",
        new="output.logps, output.logps.detach(), rows.advantages,",
        why="The ratio is 1 in every update: nothing is ever clipped and later epochs run away.",
        caught_by=(
            "tests/algo/test_panacea.py::test_the_first_update_of_a_rollout_has_ratio_one_and_later_ones_do_not",
        ),
    ),
    Fault(
        name="ratio_to_the_reference",
        file="algo/ppo.py",
        old="output.logps, rows.old_logps, rows.advantages,",
        new="output.logps, rows.ref_logps, rows.advantages,",
        why="The trust region is fixed around the reference, so training stops where it ends.",
        caught_by=(
            "tests/algo/test_panacea.py::test_the_first_update_of_a_rollout_has_ratio_one_and_later_ones_do_not",
        ),
    ),
    Fault(
        name="singular_values_decay",
        file="model/svd_lora.py",
        old='"lr": self.settings.singular_lr, "weight_decay": 0.0}',
        new='"lr": self.settings.singular_lr}',
        why="The influence of the preference fades during training.",
        caught_by=("tests/algo/test_panacea.py::test_singular_values_are_not_decayed",),
    ),
    Fault(
        name="supervised_rows_repeat_in_every_epoch",
        file="algo/ppo.py",
        old="step * per_step + number",
        new="step * per_step + number % self.minibatches",
        why="The supervised term sees each row several times in a row.",
        caught_by=(
            "tests/algo/test_known_faults.py::test_every_update_has_its_own_supervised_rows_and_its_place_in_the_schedule",
        ),
    ),
)
