"""Faults in how published sources become rows."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="a_negative_strength_prefers_the_second",
        file="dataset/helpsteer.py",
        old="float(strength > 0)",
        new="float(strength < 0)",
        why="Every pair of HelpSteer2-Preference teaches the worse answer.",
        caught_by=("tests/dataset/test_published.py::test_helpsteer_a_negative_strength_prefers_the_first",),
    ),
    Fault(
        name="a_tie_is_a_win",
        file="dataset/helpsteer.py",
        old="label = 0.5 if strength == 0 else float(strength > 0)",
        new="label = float(strength > 0)",
        why="Every tie prefers the first answer.",
        caught_by=("tests/dataset/test_published.py::test_helpsteer_a_negative_strength_prefers_the_first",),
    ),
    Fault(
        name="marks_of_turns_stay_text",
        file="dataset/helpsteer.py",
        old="_SPEAKER.split(text)",
        new="[text]",
        why="Answers of earlier turns are read as what the user wrote.",
        caught_by=("tests/dataset/test_published.py::test_helpsteer_marks_become_turns",),
    ),
    Fault(
        name="transcripts_with_other_prompts_are_pairs",
        file="dataset/hh_rlhf.py",
        old="if prompt != other:",
        new="if len(prompt) > 2 * len(other):",
        why="Two answers to different questions are compared.",
        caught_by=(
            "tests/dataset/test_corruption.py::test_a_bad_record_is_set_aside_with_its_kind_and_nothing_else_is_lost[hh_rlhf-contradiction-1]",
        ),
    ),
    Fault(
        name="a_folder_labels_every_objective",
        file="dataset/hh_rlhf.py",
        old='[o for o, name in names.items() if values["subset"].startswith(f"{name}-")]',
        new="list(names)",
        why="Helpful answers are taught as harmless, and harmless as helpful.",
        caught_by=("tests/dataset/test_published.py::test_hh_the_folder_decides_the_objective",),
    ),
    Fault(
        name="incorrect_answers_are_chosen",
        file="dataset/truthfulqa.py",
        old="for chosen, rejected in found:",
        new="for rejected, chosen in found:",
        why="The model is taught to lie.",
        caught_by=("tests/dataset/test_published.py::test_truthfulqa_pairs_correct_with_incorrect_answers",),
    ),
    Fault(
        name="the_first_pairs_of_a_question_are_kept",
        file="dataset/truthfulqa.py",
        old='key=lambda pair: content_id("truthfulqa", question, *pair)',
        new="key=found.index",
        why="Pairs of a question all have its best answer.",
        caught_by=(
            "tests/dataset/test_published.py::test_truthfulqa_keeps_at_most_so_many_pairs_of_a_question_and_splits_by_question",
        ),
    ),
    Fault(
        name="not_rated_is_the_lowest_rating",
        file="dataset/ultrafeedback.py",
        old="    if value in NOT_RATED:\n        return None\n",
        new="    if value in NOT_RATED:\n        return 1.0\n",
        why="Answers that nobody rated lose every pair.",
        caught_by=(
            "tests/dataset/test_published.py::test_ultrafeedback_casts_ratings_and_leaves_out_what_is_not_rated",
        ),
    ),
    Fault(
        name="unsafe_is_rated_safe",
        file="dataset/beavertails.py",
        old='float(values["is_safe"])',
        new='float(not values["is_safe"])',
        why="The model is taught to harm.",
        caught_by=("tests/dataset/test_published.py::test_beavertails_annotators_of_one_answer_are_taken_together",),
    ),
    Fault(
        name="output_2_is_preferred",
        file="dataset/alpaca.py",
        old='"preference") == 2',
        new='"preference") == 1',
        why="Every pair teaches the worse answer.",
        caught_by=("tests/dataset/test_published.py::test_alpaca_farm_reads_pairs_answers_and_prompts_of_one_folder",),
    ),
    Fault(
        name="more_severe_is_milder",
        file="dataset/pku_saferlhf.py",
        old="tuple((-level[0],) for level in levels)",
        new="tuple((level[0],) for level in levels)",
        why="The more harmful answer is preferred.",
        caught_by=("tests/dataset/test_published.py::test_pku_mild_is_the_lower_severity",),
    ),
    Fault(
        name="chosen_is_better_on_every_objective",
        file="dataset/answers.py",
        old="    if not names or (len(names) == 1 and not schema.given(fields, OBJECTIVE)):\n",
        new="    if names:\n",
        why="One judgment is taught as several.",
        caught_by=("tests/dataset/test_published.py::test_messages_label_the_objective_that_a_record_names",),
    ),
)
