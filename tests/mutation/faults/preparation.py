"""Faults in the tasks that turn files of rows into other files."""

from __future__ import annotations

from tests.mutation.fault import Fault

PAIRS = "tests/task/test_pairs_from_ratings.py"
MERGE = "tests/task/test_merge_annotators.py"
CHAT = "tests/task/test_chat.py"
RRM = "tests/task/test_rrm.py"
COMMAND = "tests/task/test_prepare_command.py"

FAULTS = (
    Fault(
        name="pairs_of_neighboring_rows_alone",
        file="task/comparing.py",
        old="group = groups.setdefault(answer.prompt, {})",
        new="group = groups[answer.prompt] = groups[answer.prompt] if answer.prompt in [*groups][-1:] else {}",
        why="Answers to a prompt that do not stand beside each other give no pairs.",
        caught_by=(f"{PAIRS}::test_a_shuffled_file_gives_the_same_pairs",),
    ),
    Fault(
        name="pairs_in_the_order_of_their_texts",
        file="task/comparing.py",
        old="made.append(placed(pair))",
        new="made.append(pair)",
        why="Place follows from the texts, and with scores in them it tells the label.",
        caught_by=(f"{PAIRS}::test_position_says_nothing_about_the_label",),
    ),
    Fault(
        name="swapped_pair_keeps_its_label",
        file="task/forms.py",
        old="name: None if value is None else 1.0 - value for",
        new="name: value for",
        why="Every second pair that a task writes is labelled the wrong way round.",
        caught_by=(f"{PAIRS}::test_every_pair_of_a_prompt_is_made_as_by_hand",),
    ),
    Fault(
        name="ties_among_annotators_count_as_lost",
        file="task/comparing.py",
        old="wins = sum((b > a) + 0.5 * (b == a) for a in first for b in second)",
        new="wins = sum((b > a) for a in first for b in second)",
        why="Where annotators say the same, the first answer seems to be the better one.",
        caught_by=(f"{PAIRS}::test_disagreement_gives_the_share_of_comparisons_won",),
    ),
    Fault(
        name="votes_on_the_swapped_pair_counted_as_they_stand",
        file="task/merge_annotators.py",
        old="same = [pair if pair.responses == first.responses else pair.swapped() for pair in pairs]",
        new="same = list(pairs)",
        why="Votes of annotators who saw the answers in the other order count for the wrong answer.",
        caught_by=(f"{MERGE}::test_labels_of_annotators_become_shares_whichever_way_round_the_pair_stands",),
    ),
    Fault(
        name="prefixes_are_not_compared",
        file="task/conversations.py",
        old="        if one != other:\n",
        new='        if one["role"] != other["role"]:\n',
        why="The rejected answer of another conversation is taken for one to this prompt.",
        caught_by=(f"{CHAT}::test_conversations_differ_in_their_last_message_alone",),
    ),
    Fault(
        name="scores_of_the_swapped_candidate_read_as_they_stand",
        file="task/rrm.py",
        old="sign = 1.0 if second == one.responses[1] else -1.0",
        new="sign = 1.0",
        why="Candidates are kept by the margin of the wrong answer.",
        caught_by=(f"{RRM}::test_scores_find_their_pair_in_any_order_and_keep_what_is_got_wrong",),
    ),
    Fault(
        name="foreign_answers_of_the_same_question",
        file="task/augmentation.py",
        old="    names = [normalized(pair.prompt) for pair in ring]\n",
        new="    names = [str(place) for place in range(len(ring))]\n",
        why="A good answer to the same question is labelled as off topic.",
        caught_by=(f"{RRM}::test_another_wording_of_the_prompt_is_no_other_prompt",),
    ),
    Fault(
        name="output_may_be_an_excluded_file",
        file="prepare.py",
        old='[("input", path) for path in self.inputs] + [*task.read()]',
        new='[("input", path) for path in self.inputs]',
        why="A test set is replaced by the prompts from which it was to be kept.",
        caught_by=(f"{COMMAND}::test_what_cannot_be_done_is_refused_and_nothing_is_written",),
    ),
    Fault(
        name="kappa_by_even_chances",
        file="task/measures.py",
        old="by_chance = float(sum((first == kind).mean() * (second == kind).mean() for kind in kinds))",
        new="by_chance = 1.0 / len(kinds)",
        why="Two objectives that prefer the same place by habit seem to agree.",
        caught_by=("tests/task/test_statistics.py::test_counts_and_agreement_of_pairs_are_those_by_hand",),
    ),
    Fault(
        name="parts_along_the_hash_in_the_order_of_the_settings",
        file="dataset/split.py",
        old='ordered = sorted(shares, key=lambda name: name != "test")',
        new="ordered = list(shares)",
        why="The test part of a prepared file is not what training holds out of the same rows.",
        caught_by=("tests/task/test_split_prompts_check.py::test_parts_stay_what_they_are_when_rows_are_added",),
    ),
)
