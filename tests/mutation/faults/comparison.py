"""Faults in comparisons: the unit, the reference point, pairing, the family of verdicts, matched KL, the judge."""

from __future__ import annotations

from tests.mutation.fault import Fault

COMPARE = "tests/evaluation/test_compare.py"
FUNCTIONAL = "tests/functional/test_comparison.py"

FAULTS = (
    Fault(
        name="unit_of_the_trained_answers",
        file="evaluation/judged.py",
        old="one.scores[0].reshape(-1, one.scores.shape[-1])",
        new="one.scores[1:].reshape(-1, one.scores.shape[-1])",
        why="The unit is measured on what was trained: a method that spreads its answers shrinks the gains of all.",
        caught_by=(f"{COMPARE}::test_the_unit_does_not_depend_on_what_was_trained",),
    ),
    Fault(
        name="a_unit_for_each_method",
        file="evaluation/compare.py",
        old="cells(one, unit, grid) for one in method.seeds",
        new="cells(one, Unit.of(method.seeds), grid) for one in method.seeds",
        why="Methods are compared in different units, and the noise of their reference answers ranks them.",
        caught_by=(f"{COMPARE}::test_scores_are_in_units_of_the_reference_policies",),
    ),
    Fault(
        name="reference_point_of_the_first_method",
        file="evaluation/compare.py",
        old="pooled_reference_point([*fronts, *references], margin=self.margin)",
        new="pooled_reference_point([fronts[0], references[0]], margin=self.margin)",
        why="Points of the other methods that lie below it count for nothing.",
        caught_by=(f"{COMPARE}::test_nothing_that_is_fixed_depends_on_the_order_of_methods",),
    ),
    Fault(
        name="reference_point_without_reference_policies",
        file="evaluation/compare.py",
        old="pooled_reference_point([*fronts, *references], margin=self.margin)",
        new="pooled_reference_point(fronts, margin=self.margin)",
        why="A small KL budget draws points below the reference point, where they lose all volume at once.",
        caught_by=(f"{COMPARE}::test_the_reference_point_lies_below_reference_policies_that_every_point_beats",),
    ),
    Fault(
        name="prompts_drawn_for_each_method",
        file="evaluation/study.py",
        old="FIXED: dict(enumerate(bootstrap(methods, samples=resamples, seed=seed, new_seeds=False))),",
        new="FIXED: {\n"
        "                i: bootstrap([run], samples=resamples, seed=seed + i, new_seeds=False)[0]\n"
        "                for i, run in enumerate(methods)\n"
        "            },",
        why="Prompts differ more than methods do, and every difference drowns in them.",
        caught_by=(f"{COMPARE}::test_prompts_are_paired_between_methods",),
    ),
    Fault(
        name="holm_for_each_indicator",
        file="evaluation/compare.py",
        old="found = verdicts(differences)",
        new='names_of = ("hypervolume", "inner_product")\n'
        "        groups = [{key: gap for key, gap in differences.items() if key[3] == name} for name in names_of]\n"
        "        found = verdicts(groups[0]) | verdicts(groups[1])",
        why="More false calls than the level allows: whoever reads both indicators has two chances of one.",
        caught_by=(f"{COMPARE}::test_one_correction_over_all_pairs_indicators_and_budgets",),
    ),
    Fault(
        name="difference_of_these_seeds_called_one_of_new",
        file="evaluation/study.py",
        old="if not self._has_new((a, b)):",
        new="if True:",
        why="The luck of the seeds is called a difference of the methods, in words that promise new seeds.",
        caught_by=(f"{COMPARE}::test_a_difference_over_seeds_is_that_of_newly_trained_ones",),
    ),
    Fault(
        name="matched_kl_at_the_most_spent",
        file="evaluation/statistics.py",
        old="return np.min(low, axis=0)",
        new="return np.max(low, axis=0)",
        why="Nothing is held to a budget: at matched KL stand the numbers at each method's own.",
        caught_by=(f"{COMPARE}::test_matched_kl_grants_every_preference_the_least_that_is_spent",),
    ),
    Fault(
        name="matched_kl_at_what_was_measured",
        file="evaluation/statistics.py",
        old="low = [kl - errors_below * error for kl",
        new="low = [kl for kl",
        why="The budget is one method's own KL, and intervals at matched KL cover 80 to 89 % instead of 95.",
        caught_by=(f"{COMPARE}::test_matched_kl_stays_below_what_is_measured",),
    ),
    Fault(
        name="matched_kl_with_what_was_never_trained",
        file="evaluation/statistics.py",
        old="zip(spent, errors, strict=True) if (kl > 0).any()]",
        new="zip(spent, errors, strict=True)]",
        why="One method that stays at its reference policy takes all gains from the others.",
        caught_by=(f"{COMPARE}::test_a_policy_that_is_not_steered_spends_no_kl_and_does_not_lower_the_budget",),
    ),
    Fault(
        name="matched_kl_beyond_the_policy",
        file="functional/mixing.py",
        old="share = np.where(high > root, (root - low) / np.where(high > low, high - low, 1.0), 1.0)",
        new="share = (root - low) / np.where(high > low, high - low, 1.0)",
        why="A policy that spends less than the budget is credited with gains that it never had.",
        caught_by=("tests/functional/test_mixing.py::test_budgets_move_points_along_the_square_root_of_the_kl",),
    ),
    Fault(
        name="matched_kl_by_own_answers_alone",
        file="functional/mixing.py",
        old="below = np.log(count) - np.logaddexp(np.log(own.shape[-1]) + ratios, np.log(base.shape[-1]))",
        new="below = np.log(count) - np.logaddexp(np.log(own.shape[-1]), np.log(base.shape[-1])) + 0 * ratios",
        why="Answers are weighed as if all were the reference policy's, and two optima of one problem are not even.",
        caught_by=("tests/functional/test_mixing.py::test_a_path_of_many_answers_is_that_of_enumeration",),
    ),
    Fault(
        name="seeds_drawn_for_each_method",
        file="evaluation/study.py",
        old="elif self.pairing(a, b).paired:",
        new="elif False:",
        why="Luck that both methods share is counted twice instead of not at all, and hides what sets them apart.",
        caught_by=(f"{COMPARE}::test_seeds_that_stand_on_the_same_runs_are_paired",),
    ),
    Fault(
        name="ties_as_losses",
        file="functional/comparison.py",
        old="((gaps > 0) + 0.5 * (gaps == 0))",
        new="(gaps > 0)",
        why="A policy that says what its reference policy says loses to it, the more so the more scores tie.",
        caught_by=(f"{FUNCTIONAL}::test_win_rate_by_hand",),
    ),
    Fault(
        name="win_rate_against_another_prompt",
        file="evaluation/judged.py",
        old='base = np.einsum("xnm,pm->pxn", reference, grid)',
        new='base = np.einsum("xnm,pm->pxn", np.roll(reference, 1, axis=0), grid)',
        why="What is easy to say well wins against what is not, whichever policy said it.",
        caught_by=(f"{COMPARE}::test_win_rates_and_worst_objectives_by_counting",),
    ),
    Fault(
        name="worst_of_the_means",
        file="evaluation/judged.py",
        old="own.min(-1).mean(2)[..., None]",
        new="own.mean(2).min(-1)[..., None]",
        why="Answers that each fail in another objective look safe in all.",
        caught_by=(f"{COMPARE}::test_win_rates_and_worst_objectives_by_counting",),
    ),
    Fault(
        name="sweep_of_one_reference_point",
        file="functional/comparison.py",
        old="pair = self.hypervolumes[:, [a, b]]",
        new="pair = self.hypervolumes[:1, [a, b]]",
        why="A ranking that another reference point turns around is called certain.",
        caught_by=(f"{FUNCTIONAL}::test_the_two_sets_that_a_reference_point_can_flip",),
    ),
    Fault(
        name="igd_from_what_was_found",
        file="evaluation/statistics.py",
        old="known = fixed.pooled if fixed.front is None else fixed.front",
        new="known = fixed.pooled",
        why="Methods that all miss the same part of the front are said to miss nothing.",
        caught_by=(f"{COMPARE}::test_the_exact_front_of_a_world_takes_the_unit_and_is_what_igd_measures",),
    ),
    Fault(
        name="judge_of_some_seeds_not_told",
        file="run/compare.py",
        old="if any(run.trainer == judge for run in group)",
        new="if all(run.trainer == judge for run in group)",
        why="A method is judged by what trained some of its seeds, and nobody is told.",
        caught_by=("tests/test_comparing.py::test_a_judge_that_trained_one_seed_is_told",),
    ),
    Fault(
        name="protocol_without_the_seed",
        file="evaluation/front.py",
        old='            "measured": ["kl", "log_ratios"],\n            "seed": seed,\n',
        new='            "measured": ["kl", "log_ratios"],\n',
        why="Answers to other random numbers are taken from the tables of a run as if they were those asked for.",
        caught_by=(f"{COMPARE}::test_a_protocol_names_all_that_answers_depend_on",),
    ),
    Fault(
        name="answers_of_another_preference",
        file="evaluation/judged.py",
        old="1 + p for p, preference in enumerate(grid.tolist())",
        new="1 + p for p, preference in enumerate(sorted(grid.tolist(), reverse=True))",
        why="A run whose tables are read again appears to steer against its preferences.",
        caught_by=(f"{COMPARE}::test_answers_come_back_from_the_tables_of_a_run",),
    ),
)
