"""Faults in the optimizer step, its schedule, and resuming."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="clipped_before_the_gradient_is_complete",
        file="runtime/plain.py",
        old="        loss.backward()\n",
        new="        loss.backward()\n        nn.utils.clip_grad_norm_(self._parameters, self._max_norm or 1e9)\n",
        why="Each micro-batch is clipped apart, so the update depends on the micro-batch size.",
        caught_by=("tests/runtime/test_engine.py::test_micro_batches_do_not_change_the_update",),
    ),
    Fault(
        name="moments_not_restored",
        file="runtime/plain.py",
        old="            moments = state.get(name, {})\n",
        new="            moments = {}\n",
        why="A continued run takes a different course from the uninterrupted one.",
        caught_by=("tests/runtime/test_engine.py::test_resume_is_exact",),
    ),
    Fault(
        name="schedule_starts_anew_after_a_resume",
        file="runtime/engine.py",
        old='        self.updates = int(state["updates"])\n',
        new="",
        why="A continued run warms up again and ends at the full rate.",
        caught_by=("tests/runtime/test_engine.py::test_resume_is_exact",),
    ),
    Fault(
        name="state_of_other_parts_not_restored",
        file="runtime/loop.py",
        old="            item.load_state_dict(state[name])\n",
        new="            pass\n",
        why="Running statistics start anew after a resume.",
        caught_by=("tests/runtime/test_loop.py::test_a_run_that_ended_anywhere_continues_exactly",),
    ),
    Fault(
        name="a_step_is_left_out_after_a_resume",
        file="runtime/loop.py",
        old="self.done = newest[0]",
        new="self.done = newest[0] + 1",
        why="A continued run takes a different course from the uninterrupted one.",
        caught_by=("tests/runtime/test_loop.py::test_a_run_that_ended_anywhere_continues_exactly",),
    ),
    Fault(
        name="rows_of_lost_steps_stay_in_the_metrics",
        file="runtime/loop.py",
        old="_row_step(line) <= step]",
        new="True]",
        why="After a resume some steps stand twice in the curves.",
        caught_by=("tests/runtime/test_loop.py::test_a_run_that_ended_anywhere_continues_exactly",),
    ),
    Fault(
        name="tracked_units_are_not_in_the_checkpoint",
        file="algo/ppo.py",
        old="stateful=collector.stateful",
        new="stateful=None",
        why="A run that is continued begins with another unit of reward.",
        caught_by=("tests/algo/test_panacea.py::test_a_run_that_was_cut_continues_with_what_it_tracked",),
    ),
)
