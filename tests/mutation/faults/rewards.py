"""Faults in reward models and their scale."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="unlabelled_pairs_in_the_scalar_loss",
        file="reward/scalar.py",
        old="return torch.where(judgments.labelled, loss, torch.zeros_like(loss))",
        new="return loss",
        why="Objectives without a label are trained on a label of 0.",
        caught_by=("tests/reward/test_kinds.py::test_unlabelled_pairs_cost_nothing_and_move_nothing",),
    ),
    Fault(
        name="standardized_by_the_variance",
        file="reward/standardization.py",
        old="deviation = (share * (scores - center) ** 2).sum(0).sqrt()",
        new="deviation = (share * (scores - center) ** 2).sum(0)",
        why="Objectives share no unit, so a preference of one half is not one half.",
        caught_by=("tests/reward/test_scorer.py::test_standardized_means_have_mean_0_and_deviation_1",),
    ),
    Fault(
        name="scores_come_back_in_order_of_length",
        file="reward/scorer.py",
        old="raw[rows] = self.model(batch.ids, batch.mask)",
        new="raw[start : start + len(rows)] = self.model(batch.ids, batch.mask)",
        why="Answers get the scores of other answers.",
        caught_by=("tests/reward/test_scorer.py::test_scores_come_in_input_order_and_do_not_depend_on_the_batch",),
    ),
    Fault(
        name="score_read_at_the_last_place",
        file="model/score_model.py",
        old="partial(POOLS[self.pooling], mask=mask)",
        new="lambda hidden: hidden[:, -1]",
        why="Short answers are scored on their padding.",
        caught_by=("tests/model/test_score_model.py::test_score_is_the_same_alone_batched_and_under_any_padding",),
    ),
    Fault(
        name="discriminant_bias_with_a_plus",
        file="functional/discriminant.py",
        old="return weights, -0.5 * (mean_better + mean_worse) @ weights",
        new="return weights, 0.5 * (mean_better + mean_worse) @ weights",
        why="Pairs are ranked as before, and single scores are off by a constant that the feature mean decides.",
        caught_by=("tests/reward/test_discriminant.py::test_the_pooled_form_is_linear_discriminant_analysis",),
    ),
    Fault(
        name="solved_head_without_its_temperature",
        file="runtime/closed_form.py",
        old="self.model.head.fill(weights / temperatures[:, None], biases / temperatures)",
        new="self.model.head.fill(weights, biases)",
        why="A discriminant of few rows is far too sure of itself.",
        caught_by=(
            "tests/algo/test_reward_model.py::"
            "test_a_solved_head_is_that_of_the_features_of_the_pairs_it_was_solved_from",
        ),
    ),
    Fault(
        name="members_are_resampled_alike",
        file="reward/ensemble.py",
        old="losses = [weights[:, e, None].to(loss) * loss for e, loss in enumerate(losses)]",
        new="losses = [weights[:, 0, None].to(loss) * loss for e, loss in enumerate(losses)]",
        why="All members see one sample of the pairs, so they hardly differ.",
        caught_by=(
            "tests/reward/test_ensemble.py::test_each_member_has_a_sample_of_its_own_drawn_by_the_content_of_the_pair",
        ),
    ),
    Fault(
        name="probabilities_of_members_are_averaged_as_logarithms",
        file="reward/ensemble.py",
        old="return torch.stack(list(logs)).logsumexp(0) - math.log(self.members)",
        new="return torch.stack(list(logs)).mean(0)",
        why="The probabilities of the two outcomes no longer sum to 1.",
        caught_by=("tests/reward/test_ensemble.py::test_members_are_side_by_side_and_weigh_alike",),
    ),
    Fault(
        name="cosine_of_the_first_part",
        file="functional/conflict.py",
        old="for part in losses:",
        new="for part in losses[:1]:",
        why="What is said of a step is said of one of its micro-batches.",
        caught_by=(
            "tests/functional/test_conflict.py::test_parts_and_processes_are_summed_before_the_cosine_is_taken",
        ),
    ),
    Fault(
        name="merged_variance_within_batches_only",
        file="functional/moments.py",
        old="within + distance.square() * share * (1.0 - share))",
        new="within)",
        why="The unit of a reward that drifts is too small.",
        caught_by=("tests/functional/test_moments.py::test_merged_batches_have_the_moments_of_all_rows",),
    ),
)
