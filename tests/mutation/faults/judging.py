"""Faults in what is said of a reward model: hard cases, conflicts, lengths, benchmarks, and which run it is said of."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="equal_scores_called_a_conflict",
        file="functional/conflicts.py",
        old="said = np.sign(first) * np.sign(second) < 0",
        new="said = np.sign(first) * np.sign(second) <= 0",
        why="A constant reward model detects every conflict.",
        caught_by=("tests/functional/test_conflicts.py::test_every_cell_equals_brute_force",),
    ),
    Fault(
        name="precision_of_conflicts_is_recall",
        file="functional/conflicts.py",
        old='"precision": mean(apart[said]),',
        new='"precision": mean(said[apart]),',
        why="A model that calls everything a conflict looks precise.",
        caught_by=("tests/functional/test_conflicts.py::test_by_hand",),
    ),
    Fault(
        name="ties_of_labels_conflict",
        file="functional/conflicts.py",
        old="kept = known[:, a] & known[:, b]",
        new="kept = np.isfinite(labels[:, a]) & np.isfinite(labels[:, b])",
        why="A pair that one objective calls equal counts as a conflict.",
        caught_by=("tests/functional/test_conflicts.py::test_by_hand",),
    ),
    Fault(
        name="margins_with_their_sign",
        file="evaluation/labelled.py",
        old="return np.abs(self.log_wins_1 - self.log_wins_0)",
        new="return self.log_wins_1 - self.log_wins_0",
        why="The surest pairs in favor of the first answer are reported as the most doubtful ones.",
        caught_by=("tests/evaluation/test_reward_model.py::test_a_margin_is_as_large_for_either_answer",),
    ),
    Fault(
        name="label_of_the_other_answer_with_length",
        file="evaluation/pairwise.py",
        old='"label": (1 - label, label)}',
        new='"label": (label, label)}',
        why="Labels that prefer long answers look indifferent, and a model that learned them takes a shortcut.",
        caught_by=("tests/evaluation/test_reward_model.py::test_a_length_shortcut_is_told_from_a_length_preference",),
    ),
    Fault(
        name="hard_cases_drawn_backwards",
        file="report/hard_cases.py",
        old='return rows[::-1] if order == "margin_bins" else rows',
        new="return rows",
        why="The pairs with the smallest margin are drawn as the surest.",
        caught_by=(
            "tests/report/test_reward_figures.py::test_hard_cases_go_from_sure_to_doubtful_by_margin_and_by_spread",
        ),
    ),
    Fault(
        name="sections_without_weights",
        file="functional/sections.py",
        old="found[names == name] = weights.get(name, counts[name]) / total / counts[name]",
        new="found[names == name] = 1 / len(present) / counts[name]",
        why="A subset of 28 rows counts as much as one of 984.",
        caught_by=("tests/functional/test_sections.py::test_a_section_is_the_mean_of_its_subsets_by_weight",),
    ),
    Fault(
        name="every_tie_is_half",
        file="functional/sections.py",
        old="return float(wrong == 0), right / (right + wrong)",
        new="return float(wrong == 0), 0.5 if right and wrong else float(wrong == 0)",
        why="A model that gives all of N answers the same score earns half instead of 1/N.",
        caught_by=("tests/functional/test_sections.py::test_credit_by_hand",),
    ),
    Fault(
        name="final_score_by_rows",
        file="evaluation/sections.py",
        old='"final": entry(np.mean(list(of_section.values()), axis=0)),',
        new='"final": entry(coefficients(subsets, list(dict.fromkeys(subsets)), self.weights or {})),',
        why="The largest section decides the final score.",
        caught_by=("tests/evaluation/test_sections.py::test_a_toy_with_known_weights",),
    ),
    Fault(
        name="utility_of_raw_scores",
        file="evaluation/sections.py",
        old="risk.mean(panel.score(prompts, texts)).cpu() @ weights[0]",
        new="risk.mean(panel.raw(prompts, texts)).cpu() @ weights[0]",
        why="The objective with the widest logits decides, whatever the weights.",
        caught_by=("tests/evaluation/test_sections.py::test_a_preference_weighs_standardized_scores",),
    ),
    Fault(
        name="errors_of_sections_by_row",
        file="functional/sections.py",
        old="_, index = np.unique(np.asarray(clusters)[kept], return_inverse=True)",
        new="_, index = np.unique(np.arange(len(credit))[kept], return_inverse=True)",
        why="Rows of one prompt count as independent, and the score looks surer than it is.",
        caught_by=("tests/functional/test_sections.py::test_the_error_of_one_subset_is_that_of_a_mean_by_prompt",),
    ),
    Fault(
        name="quality_log_keeps_what_was_undone",
        file="runtime/quality_log.py",
        old="runtime.on_main(lambda: truncate_metrics(self.path, done))",
        new="runtime.on_main(lambda: None)",
        why="A resumed run shows measurements of steps that it takes anew.",
        caught_by=("tests/runtime/test_quality_log.py::test_a_resumed_run_drops_what_lies_beyond_its_state",),
    ),
    Fault(
        name="latest_is_the_oldest",
        file="latest.py",
        old="return max(timed)[-1]",
        new="return min(timed)[-1]",
        why="The first run that was ever made is measured.",
        caught_by=("tests/test_latest.py::test_the_newest_finished_run_by_the_time_it_noted",),
    ),
)
