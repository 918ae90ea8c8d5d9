"""Faults in what is measured: indicators, errors, the front, comparison and the quality of rewards."""

from __future__ import annotations

from tests.mutation.fault import Fault

COMPARE = "tests/evaluation/test_compare.py"
FUNCTIONAL = "tests/functional/test_comparison.py"

FAULTS = (
    Fault(
        name="weak_dominance",
        file="functional/pareto.py",
        old="return np.flatnonzero(~(dominates | earlier_twin).any(0))",
        new="return np.flatnonzero(~(at_least & ~np.eye(len(array), dtype=bool)).any(0))",
        why="Equal points remove each other, so a front with a repeated point loses it altogether.",
        caught_by=("tests/functional/test_pareto.py::test_of_equal_points_the_first_is_kept",),
    ),
    Fault(
        name="hypervolume_is_the_sum_of_boxes",
        file="functional/pareto.py",
        old="return float(HV(ref_point=-reference)(-front))",
        new="return float(np.prod(front - reference, axis=1).sum())",
        why="Boxes overlap, so more points of the same front look like a better front.",
        caught_by=("tests/functional/test_pareto.py::test_the_reference_point_can_flip_a_ranking",),
    ),
    Fault(
        name="hypervolume_ignores_the_reference_point",
        file="functional/pareto.py",
        old="return float(HV(ref_point=-reference)(-front))",
        new="return float(HV(ref_point=-front.min(0))(-front))",
        why="Each front is measured from its own worst point, so values cannot be compared.",
        caught_by=("tests/functional/test_pareto.py::test_the_reference_point_can_flip_a_ranking",),
    ),
    Fault(
        name="inner_product_over_the_front_only",
        file="functional/steering.py",
        old="return float((array * weights).sum(1).mean())",
        new="from mora.functional.pareto import non_dominated\n\n"
        "    return float((array * weights)[non_dominated(array)].sum(1).mean())",
        why="Preferences that reach a dominated point are left out of the mean, which flatters the policy.",
        caught_by=(
            "tests/functional/test_known_faults.py::test_a_preference_that_reaches_a_dominated_point_counts_in_the_inner_product",
        ),
    ),
    Fault(
        name="spacing_to_itself",
        file="functional/pareto.py",
        old="    np.fill_diagonal(distances, np.inf)\n",
        new="",
        why="Every point is its own neighbor, and every front looks perfectly even.",
        caught_by=("tests/functional/test_pareto.py::test_spacing_by_hand",),
    ),
    Fault(
        name="stderr_ignores_clusters",
        file="functional/stats.py",
        old="_, index = np.unique(labels, return_inverse=True)",
        new="index = np.arange(len(labels))",
        why="Answers to one prompt count as independent, and intervals are too narrow.",
        caught_by=("tests/functional/test_stats.py::test_copies_within_a_cluster_add_no_information",),
    ),
    Fault(
        name="bootstrap_without_replacement",
        file="functional/bootstrap.py",
        old="drawn = generator.integers(0, count, (samples, count))",
        new="drawn = generator.permuted(np.tile(np.arange(count), (samples, 1)), axis=1)",
        why="Every resample is the sample itself: intervals of width 0 that look like certainty.",
        caught_by=("tests/functional/test_bootstrap.py::test_draws_of_a_mean_have_its_unbiased_variance",),
    ),
    Fault(
        name="kl_of_the_front_at_no_preference",
        file="evaluation/front.py",
        old="sequence_kl(policy.logps(asked), reference",
        new="sequence_kl(policy.logps(replace(asked, preference=torch.full_like(weights, 1 / 2))), reference",
        why="The KL is that of a policy at another preference than the one that answered.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_the_kl_of_an_answer_is_that_of_the_policy_which_gave_it",
        ),
    ),
    Fault(
        name="optimum_tilts_the_wrong_way",
        file="evaluation/optimum.py",
        old="linear_optimum(uniform, rewards, preference,",
        new="linear_optimum(uniform, -rewards, preference,",
        why="The best policy is reported as the worst one.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_no_distribution_over_the_samples_is_worth_more_than_the_tilted_one",
        ),
    ),
    Fault(
        name="samples_not_numbered",
        file="evaluation/front.py",
        old="numbers[prompt] = numbers.get(prompt, -1) + 1",
        new="numbers[prompt] = 0",
        why="Answers of a prompt cannot be told apart, nor compared across preferences.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_prompts_are_spread_over_the_file_and_samples_numbered",
        ),
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
        name="matched_kl_beyond_the_policy",
        file="functional/mixing.py",
        old="share = np.where(high > root, (root - low) / np.where(high > low, high - low, 1.0), 1.0)",
        new="share = (root - low) / np.where(high > low, high - low, 1.0)",
        why="A policy that spends less than the budget is credited with gains that it never had.",
        caught_by=("tests/functional/test_mixing.py::test_budgets_move_points_along_the_square_root_of_the_kl",),
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
        name="ties_of_scores_count_as_right",
        file="functional/pairs.py",
        old="agreement = np.sign(difference) * np.sign(label - 0.5)",
        new="agreement = np.where(difference >= 0, 1.0, -1.0) * np.sign(label - 0.5)",
        why="A constant reward model has the accuracy of the labels' balance.",
        caught_by=("tests/functional/test_pairs.py::test_credit_by_hand",),
    ),
    Fault(
        name="calibration_without_the_confidence",
        file="functional/calibration.py",
        old="return np.maximum(probability, 1 - probability), right",
        new="return probability, right",
        why="The calibration error depends on which answer of a pair stands first.",
        caught_by=("tests/functional/test_calibration.py::test_calibration_by_hand",),
    ),
    Fault(
        name="log_loss_of_the_other_answer",
        file="functional/pairs.py",
        old="-(label * log_probability_1 + (1 - label) * log_probability_0)",
        new="-(label * log_probability_0 + (1 - label) * log_probability_1)",
        why="The better a reward model, the worse its reported loss.",
        caught_by=("tests/functional/test_pairs.py::test_log_loss_and_brier_equal_scikit_learn",),
    ),
)
