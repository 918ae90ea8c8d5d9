"""Faults in what a rollout samples, stores and reports."""

from __future__ import annotations

from tests.mutation.fault import Fault

ROLLED = "tests/algo/test_truncated.py"

FAULTS = (
    Fault(
        name="samples_of_a_prompt_share_their_noise",
        file="runtime/sampling.py",
        old="number + samples * turn)",
        new="turn)",
        why="All samples of a prompt are one sample, and the baseline equals each of them.",
        caught_by=(
            "tests/runtime/test_known_faults.py::test_every_sample_has_an_identity_of_its_own_on_whatever_process",
        ),
    ),
    Fault(
        name="a_prompt_that_stands_twice_says_the_same",
        file="runtime/sampling.py",
        old="number + samples * turn)",
        new="number)",
        why="Repeated prompts fill a rollout with copies.",
        caught_by=(
            "tests/runtime/test_known_faults.py::test_every_sample_has_an_identity_of_its_own_on_whatever_process",
        ),
    ),
    Fault(
        name="processes_share_their_noise",
        file="runtime/sampling.py",
        old="number = torch.tensor([i % samples for i in places]",
        new="number = torch.tensor([i % samples for i in range(len(repeated))]",
        why="Where a process begins in the middle of a prompt's samples, it repeats those of the one before.",
        caught_by=(
            "tests/runtime/test_known_faults.py::test_every_sample_has_an_identity_of_its_own_on_whatever_process",
        ),
    ),
    Fault(
        name="updates_at_another_preference_than_the_rollout",
        file="runtime/collector.py",
        old="            preference=preference,\n            rewards=rewards,",
        new="            preference=preference.flip(0),\n            rewards=rewards,",
        why="The ratio compares two policies that never met: the one that answered and the one at a new preference.",
        caught_by=("tests/algo/test_panacea.py::test_the_preference_of_the_rollout_is_that_of_every_later_pass",),
    ),
    Fault(
        name="reference_with_the_adapter_on",
        file="runtime/collector.py",
        old="policy.reference(some)",
        new="policy(some, with_values=False).logps",
        why="The KL penalty is always 0, and the policy may go anywhere.",
        caught_by=("tests/algo/test_panacea.py::test_the_rollout_stands_on_the_forward_that_training_uses",),
    ),
    Fault(
        name="the_same_noise_at_every_step",
        file="runtime/collector.py",
        old="                step=step,\n                max_new_tokens",
        new="                step=0,\n                max_new_tokens",
        why="A prompt that comes again is answered with the same luck.",
        caught_by=("tests/algo/test_panacea.py::test_with_one_objective_it_is_plain_ppo_on_the_same_adapter",),
    ),
    Fault(
        name="risk_is_read_and_ignored",
        file="runtime/rewards.py",
        old="rewards = self.context.risk(belief)",
        new="rewards = belief.atoms.mean(-1)",
        why="A setting that asks for caution changes nothing.",
        caught_by=(
            "tests/algo/test_known_faults.py::test_the_rewards_of_a_rollout_are_what_the_chosen_risk_makes_of_the_belief",
        ),
    ),
    Fault(
        name="scalarized_before_the_critic",
        file="functional/scalarize.py",
        old="return rewards, preference",
        new="return self(rewards, preference)[:, None].expand_as(rewards), preference",
        why="Every output of the critic learns the same mixture, and the objectives' own values are lost.",
        caught_by=("tests/algo/test_panacea.py::test_advantages_are_the_weighted_sum_of_those_of_the_objectives",),
    ),
    Fault(
        name="advantages_at_equal_weights",
        file="functional/scalarize.py",
        old="return rewards, preference",
        new="return rewards, torch.full_like(preference, 1 / preference.shape[1])",
        why="All preferences are trained towards the same compromise.",
        caught_by=("tests/algo/test_panacea.py::test_advantages_are_the_weighted_sum_of_those_of_the_objectives",),
    ),
    Fault(
        name="normalized_by_all_minibatches",
        file="runtime/collector.py",
        old="normalizer=global_rows / self.minibatches * encoder.max_response",
        new="normalizer=float(global_rows * encoder.max_response)",
        why="More minibatches mean smaller steps.",
        caught_by=("tests/algo/test_panacea.py::test_losses_are_divided_by_rows_times_the_longest_answer_allowed",),
    ),
    Fault(
        name="group_means_of_one_process",
        file="runtime/collector.py",
        old="return everything[0][mine], everything[1][mine]",
        new="return scalarize.streams(rewards, preference, ids)",
        why="Which objective is worst off is decided by each process for itself.",
        caught_by=(
            "tests/algo/test_known_faults.py::test_rows_that_share_a_preference_are_judged_together_on_whatever_process_they_stand",
        ),
    ),
    Fault(
        name="one_split_into_minibatches_for_all_epochs",
        file="runtime/rollout.py",
        old="(step << 16) + epoch]",
        new="step << 16]",
        why="Rows meet the same neighbors in every epoch.",
        caught_by=(
            "tests/algo/test_panacea.py::test_minibatches_are_the_same_sets_of_rows_on_one_and_on_two_processes",
        ),
    ),
    Fault(
        name="masked_rows_train",
        file="runtime/collector.py",
        old="trained = response & ended[:, None] if",
        new="trained = response if",
        why="A setting that leaves cut answers out leaves none out.",
        caught_by=(f"{ROLLED}::test_masked_rows_train_neither_policy_nor_critic",),
    ),
)
