"""Faults in indicators of a front, its errors, and the optimum it is compared with."""

from __future__ import annotations

from tests.mutation.fault import Fault

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
        name="dominance_of_the_smaller",
        file="functional/pareto.py",
        old="scores[:, None] >= scores[None, :]",
        new="scores[:, None] <= scores[None, :]",
        why="The front is made of the worst points.",
        caught_by=("tests/functional/test_pareto.py::test_dominance_is_strict_in_at_least_one_objective",),
    ),
    Fault(
        name="steerability_against_the_other_weight",
        file="functional/steering.py",
        old='kendalltau(levels, scores, variant="b")',
        new='kendalltau(1 - levels, scores, variant="b")',
        why="A policy that follows the preference is reported to work against it.",
        caught_by=("tests/functional/test_steering.py::test_kendall_tau_per_objective",),
    ),
    Fault(
        name="sparsity_in_the_order_given",
        file="functional/pareto.py",
        old="ordered = front[np.lexsort(front.T[::-1])]",
        new="ordered = front",
        why="The distance between neighbors becomes one between points that are none.",
        caught_by=("tests/functional/test_pareto.py::test_sparsity_by_hand",),
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
        name="lattice_leaves_out_vertices",
        file="functional/pareto.py",
        old="return (np.diff(edges, axis=1) - 1) / divisions",
        new="return np.diff(edges, axis=1) / (divisions + objectives)",
        why="The ends of the front are never evaluated and steerability is understated.",
        caught_by=("tests/functional/test_pareto.py::test_lattice_by_hand",),
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
        name="stderr_over_clusters_as_if_equal",
        file="functional/stats.py",
        old="return np.asarray(np.sqrt(count / (count - 1) * (sums**2).sum(0)) / len(rows))",
        new="return np.asarray(np.sqrt(count / (count - 1) * (sums**2).sum(0)) / count)",
        why="The error is overstated by the number of answers per prompt.",
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
        name="kl_of_the_front_from_the_reference",
        file="evaluation/front.py",
        old="kl = sequence_kl(logps, reference, response)",
        new="kl = sequence_kl(reference, logps, response)",
        why="The reported KL has the wrong sign.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_the_kl_of_an_answer_is_that_of_the_policy_which_gave_it",
        ),
    ),
    Fault(
        name="kl_of_the_front_at_no_preference",
        file="evaluation/front.py",
        old="logps = policy.logps(ids, mask, weights,",
        new="logps = policy.logps(ids, mask, torch.full_like(weights, 1 / weights.shape[1]),",
        why="The KL is that of a policy at another preference than the one that answered.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_the_kl_of_an_answer_is_that_of_the_policy_which_gave_it",
        ),
    ),
    Fault(
        name="clusters_of_the_front_by_answer",
        file="evaluation/front.py",
        old='found["clusters"] = [i // self.samples for i in range(len(found["texts"]))]',
        new='found["clusters"] = list(range(len(found["texts"])))',
        why="Standard errors take the answers to one prompt for independent.",
        caught_by=("tests/evaluation/test_known_faults.py::test_the_error_of_a_point_is_that_of_its_prompts_means",),
    ),
    Fault(
        name="clusters_of_the_front_interleaved",
        file="evaluation/front.py",
        old='found["clusters"] = [i // self.samples for i in range(len(found["texts"]))]',
        new='found["clusters"] = [i % len(rows) for i in range(len(found["texts"]))]',
        why="Answers of different prompts are taken for one cluster.",
        caught_by=("tests/evaluation/test_known_faults.py::test_the_error_of_a_point_is_that_of_its_prompts_means",),
    ),
    Fault(
        name="front_from_training_prompts",
        file="evaluation/front.py",
        old="evenly(corpus.prompts[corpus.asked], self.prompts)",
        new='evenly(corpus.prompts["train"], self.prompts)',
        why="A front that is called held-out is measured on what was trained on.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_a_point_is_the_mean_standardized_score_of_its_own_answers",
        ),
    ),
    Fault(
        name="new_noise_at_every_preference",
        file="evaluation/front.py",
        old="weights = _rows_of(preference, len(prompts.texts), device)",
        new="weights = _rows_of(preference, len(prompts.texts), device)\n"
        "            prompts.row_ids = prompts.row_ids + (0 if preference is None else int(1e6 * preference[0]))",
        why="Differences along the front are mostly sampling noise.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_a_policy_without_steering_says_the_same_at_every_preference",
        ),
    ),
    Fault(
        name="front_in_raw_scores",
        file="evaluation/front.py",
        old="scored = panel.score if panel.standardized else panel.raw",
        new="scored = panel.raw",
        why="The learned front is in logits while its reference point is in standard deviations.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_a_point_is_the_mean_standardized_score_of_its_own_answers",
        ),
    ),
    Fault(
        name="indicators_include_the_reference_policy",
        file="evaluation/front.py",
        old="indicators([p[name] for p in points[1:]], grid,",
        new="indicators([p[name] for p in points[:-1]], grid,",
        why="Each point is paired with the preference of its neighbor.",
        caught_by=("tests/evaluation/test_known_faults.py::test_indicators_see_each_point_at_its_own_preference",),
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
        name="optimum_without_the_kl_price",
        file="evaluation/optimum.py",
        old='"utility": best.utility,',
        new='"utility": float(best.rewards @ preference),',
        why="The optimum is overstated by its KL price, and every policy looks poor beside it.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_no_distribution_over_the_samples_is_worth_more_than_the_tilted_one",
        ),
    ),
    Fault(
        name="reached_without_the_kl_price",
        file="evaluation/optimum.py",
        old=' - kl_coef * point["kl"]',
        new="",
        why="A policy that has left its reference far behind seems to reach more than can be reached.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_where_a_nat_is_dear_the_optimum_is_the_reference_and_steering_costs",
        ),
    ),
    Fault(
        name="front_of_neighboring_prompts",
        file="functional/thinning.py",
        old="members[i * len(members) // count]",
        new="members[i]",
        why="Prompts that stand together in a file are alike, and the front is one of the file's beginning.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_prompts_are_spread_over_the_file_and_samples_numbered",
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
        name="best_scores_of_other_preferences",
        file="evaluation/front.py",
        old="world.best(grid)",
        new="world.best(grid[::-1])",
        why="Each point is compared with what is possible at another preference.",
        caught_by=(
            "tests/evaluation/test_known_faults.py::test_what_a_world_knows_stands_beside_the_point_that_it_belongs_to",
        ),
    ),
)
