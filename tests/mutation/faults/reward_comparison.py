"""Faults in comparisons of reward models: the sums behind intervals, pairing, signs, curves, whose pairs are judged."""

from __future__ import annotations

from tests.mutation.fault import Fault

COMPARISON = "tests/evaluation/test_reward_comparison.py"
CURVES = "tests/evaluation/test_distributions.py"
COMMAND = "tests/test_comparing_rewards.py"

FAULTS = (
    Fault(
        name="accuracy_over_ties_too",
        file="evaluation/reward_comparison.py",
        old='"accuracy": (CREDIT, DECIDED)',
        new='"accuracy": (CREDIT, LABELLED)',
        why="Pairs that no model can order count as errors in the interval and in every verdict.",
        caught_by=(f"{COMPARISON}::test_a_tie_is_no_error",),
    ),
    Fault(
        name="pairs_of_a_prompt_stand_alone",
        file="evaluation/reward_comparison.py",
        old='np.add.at(found[row], [places[line["prompt_id"]] for line in own], values)',
        new='found[row][[places[line["prompt_id"]] for line in own]] = values',
        why="Of each prompt only the last pair counts, and the verdicts are about those few.",
        caught_by=(f"{COMPARISON}::test_cells_are_sums_over_the_pairs_of_a_prompt",),
    ),
    Fault(
        name="less_log_loss_is_worse",
        file="evaluation/reward_comparison.py",
        old='signs = {name: -1.0 if name == "log_loss" else 1.0 for name in COMPARED}',
        new="signs = dict.fromkeys(COMPARED, 1.0)",
        why="The verdict on log-loss names the worse of two models.",
        caught_by=(f"{COMPARISON}::test_a_verdict_names_the_better_model",),
    ),
    Fault(
        name="log_loss_difference_with_the_wrong_sign",
        file="evaluation/reward_comparison.py",
        old="{key: _turned(value, signs[key[-1]]) for key, value in verdicts(differences).items()}",
        new="dict(verdicts(differences))",
        why="The table says that the better model loses more.",
        caught_by=(f"{COMPARISON}::test_differences_are_paired_and_corrected_together",),
    ),
    Fault(
        name="agreement_of_scores_not_of_margins",
        file="evaluation/reward_comparison.py",
        old='return column(own, "score_1") - column(own, "score_0")',
        new='return column(own, "score_1")',
        why="Two models agree because answers differ, not because they order pairs alike.",
        caught_by=(f"{COMPARISON}::test_agreement_by_hand",),
    ),
    Fault(
        name="better_answers_by_their_place",
        file="evaluation/reward_curves.py",
        old='first = np.array([line["label"] > 0.5 for line in lines])',
        new="first = np.ones(len(lines), dtype=bool)",
        why="The two densities lie on each other, whatever the model knows.",
        caught_by=(f"{COMPARISON}::test_scores_are_drawn_in_a_models_own_unit",),
    ),
    Fault(
        name="bandwidth_of_the_biased_deviation",
        file="evaluation/distributions.py",
        old="sample.std(ddof=1)",
        new="sample.std()",
        why="The bandwidth is not that of Scott's rule.",
        caught_by=(f"{CURVES}::test_density_equals_scipy",),
    ),
    Fault(
        name="roc_takes_ties_one_by_one",
        file="evaluation/distributions.py",
        old='thresholds[::-1], side="left")',
        new='thresholds[::-1], side="right")',
        why="An answer at the threshold does not pass it, and the curve never reaches its end.",
        caught_by=(f"{CURVES}::test_roc_by_hand",),
    ),
    Fault(
        name="each_run_judges_its_own_pairs",
        file="run/compare_rewards.py",
        old='rows = corpus.pairs["test"]',
        new='rows = load_corpus(run.config).pairs["test"]',
        why="Seeds are compared on different pairs.",
        caught_by=(f"{COMMAND}::test_the_pairs_of_the_comparison_are_judged",),
    ),
    Fault(
        name="other_pairs_are_taken_for_another_seed",
        file="run/compare_rewards.py",
        old='group[0].folder.identity["dataset"] != first.folder.identity["dataset"]',
        new="False",
        why="Runs on other data are judged by pairs that they may have been trained on, and nobody is told.",
        caught_by=(f"{COMMAND}::test_whose_pairs_may_differ",),
    ),
)
