"""Faults in how classifiers of others are read."""

from __future__ import annotations

from tests.mutation.fault import Fault

HERE = "tests/reward/test_hub.py"
CLASSIFIER, PANEL, TEXTS = "model/sequence_classifier.py", "reward/hub_panel.py", "reward/texts.py"

FAULTS = (
    Fault(
        name="classifier_read_at_its_padding_token",
        file=CLASSIFIER,
        old='self._read(ids, mask) if read == "classifier" else mask',
        new="mask",
        why="A classifier whose end token pads is read at a token that it was not trained to score.",
        caught_by=(f"{HERE}::test_scores_are_those_of_the_classifier_on_one_text_alone",),
    ),
    Fault(
        name="classifier_positions_count_padding",
        file=CLASSIFIER,
        old='{"position_ids": position_ids(mask)}',
        new='{"position_ids": position_ids(mask.logical_or(~mask))}',
        why="The same text scores otherwise when it is padded on the left.",
        caught_by=(f"{HERE}::test_padding_on_either_side_and_with_any_token_moves_no_score",),
    ),
    Fault(
        name="padding_tokens_within_a_text_are_skipped_everywhere",
        file=CLASSIFIER,
        old="kept = mask & (ids != pad)",
        new="kept = ids != pad",
        why="Padding with another token than the configured one is read as text.",
        caught_by=(f"{HERE}::test_padding_on_either_side_and_with_any_token_moves_no_score",),
    ),
    Fault(
        name="cost_counted_as_reward",
        file=PANEL,
        old="return source.sign * score",
        new="return score",
        why="A policy is trained to be harmful.",
        caught_by=(f"{HERE}::test_label_sign_and_form_say_what_of_the_logits_is_the_score",),
    ),
    Fault(
        name="scores_in_the_order_of_their_length",
        file=PANEL,
        old="found[rows] = one.classifier.logits(*batch, read=one.read)",
        new="found[start : start + len(rows)] = one.classifier.logits(*batch, read=one.read)",
        why="Every answer gets the score of another.",
        caught_by=(f"{HERE}::test_scores_are_those_of_the_classifier_on_one_text_alone",),
    ),
    Fault(
        name="log_odds_against_all_labels",
        file="functional/classification.py",
        old="if column != label]",
        new="]",
        why="The score is a log-probability, which is flat at the top.",
        caught_by=(f"{HERE}::test_label_sign_and_form_say_what_of_the_logits_is_the_score",),
    ),
    Fault(
        name="begin_token_twice",
        file=TEXTS,
        old="ids = ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids",
        new="ids = list(ids)",
        why="A template that writes the first token shifts every position by one.",
        caught_by=(f"{HERE}::test_a_token_that_the_text_and_the_tokenizer_both_add_stands_once",),
    ),
    Fault(
        name="long_texts_lose_their_end",
        file=TEXTS,
        old="return self._encoded([*before, last], rest)",
        new='return self._encoded([*before, {**last, "content": prompt}], rest._replace(text=answer.text[:-count]))',
        why="The answer is cut where it is read.",
        caught_by=(f"{HERE}::test_a_long_text_loses_the_beginning_of_its_prompt_then_of_its_answer",),
    ),
    Fault(
        name="judges_read_the_last_turn_only",
        file=TEXTS,
        old="turns = turns_of(prompt)",
        new="turns = turns_of(prompt)[-1:]",
        why="An answer is judged without the conversation that it stands in.",
        caught_by=(f"{HERE}::test_a_conversation_is_read_whole_in_every_form",),
    ),
)
