"""Faults in medians, pessimism across objectives, and the unit of a reward."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="median_takes_the_lower_of_two",
        file="functional/risk.py",
        old="return (_inverse(belief, 0.5 - LEVEL_TOLERANCE) + _inverse(belief, 0.5 + LEVEL_TOLERANCE)) / 2",
        new="return _inverse(belief, 0.5 - LEVEL_TOLERANCE)",
        why="For an even number of atoms the median is pessimistic, and that of -r is not minus that of r.",
        caught_by=("tests/functional/test_risk.py::test_the_median_of_atoms_of_one_weight_is_that_of_numpy",),
    ),
    Fault(
        name="quantile_at_an_atom_without_weight",
        file="functional/risk.py",
        old="accumulated[..., -1:].clamp_max(mass)) & (weights > 0)",
        new="accumulated[..., -1:].clamp_max(mass))",
        why="A category that an answer cannot have decides what it is worth.",
        caught_by=("tests/functional/test_risk.py::test_a_level_below_the_tolerance_is_no_atom_without_weight",),
    ),
    Fault(
        name="minimum_counts_objectives_without_weight",
        file="functional/scalarize.py",
        old='counted = rewards.masked_fill(preference <= 0, float("inf"))',
        new="counted = rewards",
        why="At a corner of the simplex an objective that was given no weight decides.",
        caught_by=("tests/functional/test_scalarize.py::test_the_minimum_is_over_objectives_with_any_weight",),
    ),
    Fault(
        name="merged_variance_within_batches_only",
        file="functional/moments.py",
        old="within + distance.square() * share * (1.0 - share))",
        new="within)",
        why="The unit of a reward that drifts is too small.",
        caught_by=("tests/functional/test_moments.py::test_merged_batches_have_the_moments_of_all_rows",),
    ),
    Fault(
        name="batch_variance_with_one_row_less",
        file="functional/moments.py",
        old="(rows - mean).square().mean(0))",
        new="rows.var(0))",
        why="A batch of one row makes every later reward NaN.",
        caught_by=("tests/functional/test_moments.py::test_a_batch_of_one_has_variance_0_and_is_not_nan",),
    ),
    Fault(
        name="moving_average_biased_toward_its_start",
        file="functional/moments.py",
        old="one._replace(weight=decay * one.weight)",
        new="one._replace(weight=decay)",
        why="The first rewards are divided by a fraction of their deviation and hardly shifted.",
        caught_by=(
            "tests/functional/test_moments.py::test_a_moving_average_weighs_batches_by_their_age_from_the_first_on",
        ),
    ),
    Fault(
        name="tracked_on_each_process",
        file="runtime/rewards.py",
        old="self.tracking.update(known)",
        new="self.tracking.update(rewards)",
        why="Processes train on different units, and a checkpoint holds those of one.",
        caught_by=("tests/runtime/test_rewards.py::test_any_number_of_processes_gives_the_rewards_of_one",),
    ),
    Fault(
        name="centered_by_the_mean_of_all_members",
        file="functional/centering.py",
        old="group_means(belief.atoms, groups)",
        new="group_means(belief.atoms.mean(-1, keepdim=True), groups)",
        why="The constant of each member stays and is read as disagreement.",
        caught_by=(
            "tests/functional/test_centering.py::"
            "test_reducers_over_members_are_invariant_to_shifts_per_member_and_prompt_after_centering",
        ),
    ),
    Fault(
        name="a_zero_that_means_something_is_shifted",
        file="reward/standardization.py",
        old="return torch.where(torch.tensor(self.shifts), self.mean, torch.zeros_like(self.mean))",
        new="return self.mean",
        why="Answers that break a limit count as keeping it when the reference policy breaks it more.",
        caught_by=(
            "tests/reward/test_standardization.py::"
            "test_an_objective_whose_zero_means_something_is_divided_and_not_shifted",
        ),
    ),
    Fault(
        name="tracked_units_are_not_in_the_checkpoint",
        file="algo/panacea.py",
        old="loop = parts.loop(engine, self.steps, roller.stateful)",
        new="loop = parts.loop(engine, self.steps)",
        why="A run that is continued begins with another unit of reward.",
        caught_by=("tests/algo/test_panacea.py::test_a_run_that_was_cut_continues_with_what_it_tracked",),
    ),
)
