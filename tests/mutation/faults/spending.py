"""Faults in what a run says it spent."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="padding_counted_as_trained_tokens",
        file="runtime/spending.py",
        old="self.trained_tokens + passes * mask.sum()",
        new="self.trained_tokens + passes * mask.numel()",
        why="What a run spent depends on how rows were batched.",
        caught_by=("tests/algo/test_spending.py::test_fine_tuning",),
    ),
    Fault(
        name="spending_of_one_process_alone",
        file="runtime/spending.py",
        old="runtime.sum(here).tolist()",
        new="here.tolist()",
        why="With two processes a run seems to have cost half.",
        caught_by=("tests/runtime/test_distributed.py::test_torchrun_gives_the_update_of_one_process",),
    ),
    Fault(
        name="reward_model_of_a_selection_not_counted",
        file="runtime/spending.py",
        old="        while isinstance(panel, Selection):\n            panel = panel.panel\n",
        new="",
        why="A run on some of a reward model's objectives seems to score for nothing.",
        caught_by=("tests/algo/test_spending.py::test_panacea_with_a_reward_model_of_which_it_uses_one_objective",),
    ),
    Fault(
        name="passes_of_the_reference_not_counted",
        file="runtime/experience.py",
        old="spent.read(2 * len(ids[rows]))",
        new="spent.read(len(ids[rows]))",
        why="The reference policy seems to cost nothing.",
        caught_by=("tests/algo/test_spending.py::test_panacea_with_rules_and_the_ptx_term",),
    ),
    Fault(
        name="reference_answers_counted_by_every_process",
        file="runtime/actor.py",
        old="    if parts.runtime.main:  # every process draws",
        new="    if True:  # every process draws",
        why="The same run costs more with more processes.",
        caught_by=("tests/algo/test_spending.py::test_what_every_process_repeats_counts_once",),
    ),
    Fault(
        name="reference_answers_counted_again_after_a_resume",
        file="runtime/parts.py",
        old="            self.spent.clear()\n",
        new="            pass\n",
        why="A continued run has other rows than an uninterrupted one.",
        caught_by=("tests/algo/test_spending.py::test_a_continued_run_has_the_rows_of_an_uninterrupted_one",),
    ),
    Fault(
        name="memory_of_the_stage_before",
        file="runtime/memory.py",
        old='CLEAR.write_text("5", encoding="ascii")',
        new='CLEAR.write_text("1", encoding="ascii")',
        why="Every later stage shows the peak of the largest one before it.",
        caught_by=("tests/runtime/test_memory.py::test_the_high_water_mark_is_in_kilobytes",),
    ),
    Fault(
        name="a_missing_column_counts_as_nothing",
        file="evaluation/budget.py",
        old="return values if rows and len(values) == len(rows) else None",
        new="return values or None",
        why="A run that does not say what it spent wins every comparison at equal budget.",
        caught_by=("tests/evaluation/test_budget.py::test_what_was_not_logged_in_every_row_is_not_known",),
    ),
)
