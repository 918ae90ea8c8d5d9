"""Faults in what becomes of answers that were cut off before their end."""

from __future__ import annotations

from tests.mutation.fault import Fault

READ = "tests/reward/test_truncated.py"
ROLLED = "tests/algo/test_truncated.py"

FAULTS = (
    Fault(
        name="end_token_appended_to_a_cut_answer",
        file="dataset/encode.py",
        old="return self.fitted(ids if ended else ids[:-1], ended=ended)",
        new="return self.fitted(ids, ended=ended)",
        why="A reward model reads an end that nobody wrote, so running on costs nothing.",
        caught_by=(f"{READ}::test_an_answer_ends_where_it_ended",),
    ),
    Fault(
        name="tokens_of_another_vocabulary_are_read",
        file="types.py",
        old="return self.tokens if self.vocabulary == vocabulary else None",
        new="return self.tokens",
        why="Ids of one tokenizer mean other words to another, and the scores are those of nonsense.",
        caught_by=(f"{READ}::test_tokens_are_read_as_sampled_by_whoever_has_their_vocabulary",),
    ),
    Fault(
        name="sampled_tokens_stand_at_other_rows",
        file="reward/panel.py",
        old="known = None if sampled is None else sampled.take(rows)",
        new="known = None if sampled is None else sampled.take(range(len(rows)))",
        why="Answers are sorted by length to be scored, and the tokens that are read are those of others.",
        caught_by=(f"{READ}::test_a_panel_scores_what_was_sampled_in_its_place",),
    ),
    Fault(
        name="the_rules_are_not_told_what_ended",
        file="reward/panel.py",
        old="ended = None if sampled is None else sampled.ended",
        new="ended = None",
        why="A sentence that was cut off where it happens to be whole is worth as much as one that ended.",
        caught_by=(f"{READ}::test_a_world_is_told_what_ended",),
    ),
    Fault(
        name="penalty_of_answers_that_ended",
        file="runtime/rewards.py",
        old="torch.where(ended[:, None], rewards, rewards - self.missing_eos_penalty)",
        new="torch.where(ended[:, None], rewards - self.missing_eos_penalty, rewards)",
        why="The policy learns never to end.",
        caught_by=(f"{ROLLED}::test_by_default_rewards_are_those_of_the_scores",),
    ),
    Fault(
        name="masked_rows_train",
        file="runtime/experience.py",
        old="trained = response & ended[:, None] if",
        new="trained = response if",
        why="A setting that leaves cut answers out leaves none out.",
        caught_by=(f"{ROLLED}::test_masked_rows_train_neither_policy_nor_critic",),
    ),
    Fault(
        name="masked_rows_are_in_the_statistics",
        file="runtime/rewards.py",
        old="> 0] if self.masked else everything",
        new="> 0] if not self.masked else everything",
        why="Rewards are in a unit of rows that train nothing.",
        caught_by=(f"{ROLLED}::test_masked_rows_are_in_no_statistics",),
    ),
    Fault(
        name="a_template_closes_a_cut_answer",
        file="reward/texts.py",
        old="until = None if answer.ended else HERE",
        new="until = None",
        why="A classifier reads the end of a turn that nobody wrote.",
        caught_by=(f"{READ}::test_nothing_stands_behind_an_answer_that_was_cut_off",),
    ),
    Fault(
        name="a_nan_atom_is_passed_over",
        file="functional/risk.py",
        old='return found.masked_fill(broken, float("nan"))',
        new="return found",
        why="An answer that the reward model could not score is worth its next atom.",
        caught_by=("tests/functional/test_masked.py::test_no_risk_passes_over_an_answer_that_could_not_be_scored",),
    ),
)
