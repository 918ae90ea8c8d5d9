"""Faults in what is said of floors with confidence."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="quantile_of_a_two_sided_interval",
        file="functional/confidence.py",
        old="float(student.ppf(1 - delta, count - 1)) / sqrt(count), 0.0",
        new="float(student.ppf(1 - delta / 2, count - 1)) / sqrt(count), 0.0",
        why="The bound and its p-value disagree, and the test is twice as strict as it says.",
        caught_by=("tests/functional/test_confidence.py::test_student_t_is_the_one_sided_test_of_scipy",),
    ),
    Fault(
        name="deviation_adds_to_the_mean",
        file="functional/confidence.py",
        old="return rewards - constant - per_deviation * torch.where",
        new="return rewards - constant + per_deviation * torch.where",
        why="The more safety varies the safer a policy seems, and training makes it vary.",
        caught_by=(
            "tests/functional/test_confidence.py::test_pessimistic_rewards_have_the_mean_and_the_gradient_of_the_bound",
        ),
    ),
    Fault(
        name="bound_in_the_gradient_and_not_in_the_multiplier",
        file="functional/lagrangian.py",
        old="            rewards = self._pessimistic(rewards, preference)\n        missed",
        new="        missed",
        why="The multiplier rests where the mean is at the floor: a policy that fails its test half the time.",
        caught_by=(
            "tests/functional/test_lagrangian.py::test_dual_steps_under_a_bound_find_the_policy_that_is_best_under_it",
        ),
    ),
    Fault(
        name="margin_in_units_of_its_own",
        file="functional/lagrangian.py",
        old="units(asked + taken[1]).double() - units(asked).double()",
        new="taken[1]",
        why="What Hoeffding takes off is in the reward's units and the reward in standard deviations.",
        caught_by=(
            "tests/functional/test_lagrangian.py::test_bounds_of_many_preferences_have_moments_of_their_own_and_a_constant_has_the_unit_of_the_reward",
        ),
    ),
    Fault(
        name="every_question_has_the_whole_delta",
        file="functional/safety_test.py",
        old="each = delta / len(questions)",
        new="each = delta",
        why="Of eleven preferences one is said to be safe by chance.",
        caught_by=("tests/functional/test_safety_test.py::test_holm_steps_down_and_the_union_bound_does_not",),
    ),
    Fault(
        name="mass_at_the_low_end_is_forgotten",
        file="functional/confidence.py",
        old="return float(min(moved, share) * low + mass @ np.sort(values)) / share",
        new="return float(mass @ np.sort(values)) / share",
        why="The tail bound is no bound where scores are below 0.",
        caught_by=("tests/functional/test_confidence.py::test_a_tail_bound_is_the_worst_distribution_within_the_band",),
    ),
)
