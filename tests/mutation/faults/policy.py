"""Faults in sampling and in the passes of policy, reference and critic."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="noise_keyed_by_place_in_the_batch",
        file="model/generate.py",
        old="prompts.row_ids[alive], t)",
        new="alive, t)",
        why="What a row says depends on the batch it stands in, and all processes draw the same numbers.",
        caught_by=("tests/model/test_generate.py::test_a_row_says_the_same_alone_in_any_batch_and_at_any_place",),
    ),
    Fault(
        name="noise_does_not_follow_the_rows_that_stay",
        file="model/generate.py",
        old="prompts.row_ids[alive], t)",
        new="prompts.row_ids[: len(alive)], t)",
        why="Once a row has ended, the others take over its random numbers.",
        caught_by=("tests/model/test_generate.py::test_logits_with_the_cache_are_those_of_the_full_forward",),
    ),
    Fault(
        name="preferences_do_not_follow_the_rows_that_stay",
        file="model/svd_lora.py",
        old="self.state.rows = self.state.rows[kept]",
        new="self.state.rows = self.state.rows[: len(kept)]",
        why="When short answers leave the batch, the rest go on at the preferences of others.",
        caught_by=("tests/model/test_generate.py::test_logits_with_the_cache_are_those_of_the_full_forward",),
    ),
    Fault(
        name="top_p_keeps_one_too_few",
        file="model/generate.py",
        old="outside = probs.cumsum(-1) - probs >= sampling.top_p",
        new="outside = probs.cumsum(-1) >= sampling.top_p",
        why="The token that crosses the border is lost; where one token holds most of the mass, all are.",
        caught_by=("tests/model/test_generate.py::test_filters_against_brute_force",),
    ),
    Fault(
        name="temperature_multiplies",
        file="model/generate.py",
        old="logits / sampling.temperature",
        new="logits * sampling.temperature",
        why="A low temperature makes samples wilder.",
        caught_by=("tests/model/test_generate.py::test_draws_have_the_frequencies_of_the_softmax",),
    ),
    Fault(
        name="masses_before_a_block_ignored",
        file="model/generate.py",
        old="target - before",
        new="target",
        why="Beyond the first block of the vocabulary nearly always the last token of a block is drawn.",
        caught_by=(
            "tests/model/test_generate.py::test_draws_from_a_large_vocabulary_invert_its_cumulative_distribution",
        ),
    ),
    Fault(
        name="logits_after_the_token",
        file="model/policy.py",
        old="logits = kept[:, :-1]",
        new="logits = kept[:, 1:]",
        why="Every token is judged by the distribution that already saw it.",
        caught_by=("tests/model/test_policy.py::test_log_probabilities_against_a_softmax_over_the_whole_sequence",),
    ),
    Fault(
        name="value_after_the_token",
        file="model/policy.py",
        old="output.hidden_states[-1][:, -length - 1 : -1]",
        new="output.hidden_states[-1][:, -length:]",
        why="The baseline knows the action it is the baseline of, which biases the gradient.",
        caught_by=("tests/model/test_policy.py::test_a_value_is_that_before_its_token",),
    ),
    Fault(
        name="entropy_with_its_sign_reversed",
        file="model/policy.py",
        old="return -(logs.exp() * logs).sum(-1)",
        new="return (logs.exp() * logs).sum(-1)",
        why="The reported entropy rises as the policy collapses.",
        caught_by=("tests/model/test_policy.py::test_entropy_by_hand",),
    ),
)
