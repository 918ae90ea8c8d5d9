"""Faults in the reported quality of a reward model, and in figures."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
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
        name="calibration_error_with_the_noise_of_labels",
        file="functional/calibration.py",
        old="of_bins = np.where(pairs > 0, total**2 - squares, 0.0)",
        new="of_bins = np.where(pairs > 0, total**2, 0.0)",
        why="A calibrated model has an error, the larger the fewer pairs there are.",
        caught_by=("tests/functional/test_calibration.py::test_what_a_calibrated_model_scores",),
    ),
    Fault(
        name="reward_quality_of_swapped_answers",
        file="evaluation/labelled.py",
        old="pairs.credits(self.score_1 - self.score_0, self.label)",
        new="pairs.credits(self.score_0 - self.score_1, self.label)",
        why="A good reward model is reported as worse than guessing.",
        caught_by=("tests/evaluation/test_reward_model.py::test_accuracy_with_ties_labels_and_clusters_by_hand",),
    ),
    Fault(
        name="quality_errors_by_pair",
        file="evaluation/reward_model.py",
        old="credit, prompts = pairs.credit[decided], pairs.prompts[decided]",
        new="credit, prompts = pairs.credit[decided], np.arange(int(decided.sum()))",
        why="Pairs of one prompt count as independent, and the accuracy looks surer than it is.",
        caught_by=("tests/evaluation/test_reward_model.py::test_accuracy_with_ties_labels_and_clusters_by_hand",),
    ),
    Fault(
        name="spread_of_the_difference_subtracted",
        file="evaluation/labelled.py",
        old="spread=np.hypot(spreads[kept, 0, column], spreads[kept, 1, column]),",
        new="spread=np.abs(spreads[kept, 0, column] - spreads[kept, 1, column]),",
        why="Two answers that are both uncertain look certain.",
        caught_by=("tests/evaluation/test_reward_model.py::test_a_world_adds_bayes_gold_and_the_annotators_spread",),
    ),
    Fault(
        name="log_loss_of_the_other_answer",
        file="functional/pairs.py",
        old="-(label * log_probability_1 + (1 - label) * log_probability_0)",
        new="-(label * log_probability_0 + (1 - label) * log_probability_1)",
        why="The better a reward model, the worse its reported loss.",
        caught_by=("tests/functional/test_pairs.py::test_log_loss_and_brier_equal_scikit_learn",),
    ),
    Fault(
        name="auc_of_the_worse_answers",
        file="evaluation/pairwise.py",
        old="np.concatenate([better, worse])",
        new="np.concatenate([worse, better])",
        why="A good reward model is reported as worse than guessing.",
        caught_by=("tests/evaluation/test_reward_model.py::test_auc_equals_scikit_learn_and_effect_sizes_by_hand",),
    ),
    Fault(
        name="gold_of_another_objective",
        file="evaluation/labelled.py",
        old="gold=None if place is None or gold is None else gold[kept, :, place]",
        new="gold=None if place is None or gold is None else gold[kept, :, column]",
        why="A reward is correlated with the truth about another objective.",
        caught_by=("tests/evaluation/test_reward_model.py::test_a_world_adds_bayes_gold_and_the_annotators_spread",),
    ),
    Fault(
        name="steering_drawn_against_the_other_weight",
        file="report/steering.py",
        old="weights, scores = front.preferences[:, index]",
        new="weights, scores = front.preferences[:, -1 - index]",
        why="A policy that follows the preference looks as if it worked against it.",
        caught_by=(
            "tests/report/test_known_faults.py::test_steering_is_drawn_as_score_against_the_weight_of_the_same_objective",
        ),
    ),
    Fault(
        name="price_drawn_without_preferences",
        file="report/steering.py",
        old="front.reference[front.judge]) * front.preferences).sum(1)",
        new="front.reference[front.judge])).sum(1)",
        why="The gain for KL counts what nobody asked for.",
        caught_by=(
            "tests/report/test_known_faults.py::test_the_price_of_steering_is_the_gain_in_utility_at_each_preference",
        ),
    ),
    Fault(
        name="front_drawn_with_its_axes_swapped",
        file="report/fronts.py",
        old="x, y = front.scores[scorer][rows]",
        new="y, x = front.scores[scorer][rows]",
        why="A reader takes one objective for the other.",
        caught_by=(
            "tests/report/test_known_faults.py::test_a_front_of_two_objectives_has_the_first_across_and_the_second_up",
        ),
    ),
    Fault(
        name="intervals_of_one_standard_error",
        file="report/fronts.py",
        old="across, along = Z95 *",
        new="across, along = 1.0 *",
        why="Bars that are called 95 % intervals hold the truth in two cases of three.",
        caught_by=(
            "tests/report/test_known_faults.py::test_a_front_of_two_objectives_has_the_first_across_and_the_second_up",
        ),
    ),
)
