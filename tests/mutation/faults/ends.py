"""Faults in what ends an answer, what a model can read, and what a template is told for today."""

from __future__ import annotations

from tests.mutation.fault import Fault

ENDS = "tests/dataset/test_ends.py"

FAULTS = (
    Fault(
        name="only_the_end_token_of_the_tokenizer_ends_an_answer",
        file="dataset/ends.py",
        old="dict.fromkeys([_of_template(safe, name), own, *named_ends(tokenizer)])",
        new="dict.fromkeys([own])",
        why="A rolled-out instruct model runs on to the limit, and is trained on what it says after its end.",
        caught_by=(f"{ENDS}::test_an_answer_ends_as_the_template_ends_a_turn",),
    ),
    Fault(
        name="ends_of_generation_config_are_not_read",
        file="model/load.py",
        old="name_ends(tokenizer, stated_ends(folder))",
        new="stated_ends(folder)",
        why="A model that ends its turns as generation_config.json says seems never to end.",
        caught_by=(f"{ENDS}::test_what_the_configuration_names_ends_answers_too",),
    ),
    Fault(
        name="an_end_is_no_control_token",
        file="dataset/control.py",
        old="number in named_ends(tokenizer)}",
        new="False}",
        why="A text that names it would end an answer in its middle.",
        caught_by=(f"{ENDS}::test_what_the_configuration_names_ends_answers_too",),
    ),
    Fault(
        name="reward_model_reads_the_end_that_was_sampled",
        file="dataset/encode.py",
        old="kept = [*ids[:-1], self.eos] if ended else list(ids)",
        new="kept = list(ids)",
        why="Its head reads a token that no answer ended with in training.",
        caught_by=(f"{ENDS}::test_a_reward_model_reads_one_end_whichever_it_was",),
    ),
    Fault(
        name="an_end_that_is_no_special_token_stays_in_texts",
        file="runtime/rollout.py",
        old="said = [ids[:-1] if end else ids for ids, end in zip(kept, ended, strict=True)]",
        new="said = kept",
        why="Judges and readers of reports see the end token as a word of the answer.",
        caught_by=(f"{ENDS}::test_a_rollout_ends_with_any_end_and_none_is_read_as_text",),
    ),
    Fault(
        name="stored_models_name_one_end",
        file="model/generate.py",
        old="ends[0] if len(ends) == 1 else list(ends)",
        new="ends[0]",
        why="Other programs run on where the exported model has ended.",
        caught_by=("tests/model/test_export.py::test_exports_state_what_ends_an_answer",),
    ),
    Fault(
        name="texts_beyond_the_positions_are_read",
        file="model/capacity.py",
        old="if limit is not None and max_prompt + max_response > limit:",
        new="if limit is not None and max_prompt > limit:",
        why="Learned positions end in an IndexError in mid-run, and others are read beyond what was trained.",
        caught_by=("tests/model/test_capacity.py::test_positions_are_those_of_the_architecture",),
    ),
    Fault(
        name="a_template_is_told_another_day",
        file="model/tokenizer.py",
        old="at = date.fromisoformat(day)",
        new="at = date.today()",
        why="The tokens of a run, and of all that was stored of it, would depend on the day.",
        caught_by=("tests/model/test_template_date.py::test_the_day_stands_in_the_template_and_is_stored_with_it",),
    ),
)
