"""Faults in what objectives and members share, in ensembles, in rewards with a sign and in conversions."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="adapters_of_members_are_taken_for_those_of_objectives",
        file="model/towers.py",
        old="place[sharing] = place[sharing] * size + index",
        new="place[sharing] = index",
        why="Members of several objectives read one another's adapters, and half of them are never trained.",
        caught_by=("tests/model/test_towers.py::test_every_head_reads_the_tower_that_its_sharing_says",),
    ),
    Fault(
        name="outputs_in_the_order_of_towers",
        file="model/heads.py",
        old="raw = raw[..., self._order]",
        new="raw = raw[..., :]",
        why="An objective gets another's outputs where members and objectives stand on different trunks.",
        caught_by=("tests/model/test_towers.py::test_a_head_reads_its_rows_from_its_tower",),
    ),
    Fault(
        name="every_adapter_is_the_first",
        file="model/lora.py",
        old="affine(affine(x.to(self.A.dtype), self.A[index]), self.B[index])",
        new="affine(affine(x.to(self.A.dtype), self.A[0]), self.B[0])",
        why="Objectives that should have an adapter each share one.",
        caught_by=("tests/model/test_towers.py::test_an_adapted_tower_is_the_trunk_plus_its_dense_update",),
    ),
    Fault(
        name="recomputation_under_the_adapter_of_the_moment",
        file="model/lora.py",
        old="return nullcontext(), Again(self, self.index)",
        new="return nullcontext(), nullcontext()",
        why="With gradient checkpointing gradients are those of a trunk without adapters.",
        caught_by=("tests/model/test_towers.py::test_checkpointed_activations_are_recomputed_under_their_own_adapter",),
    ),
    Fault(
        name="stored_adapters_are_not_read",
        file="model/lora.py",
        old='layer.B.copy_(stored[f"{name}.B"])',
        new="layer.B.zero_()",
        why="A reward model scores by its trunk alone once it was stored.",
        caught_by=("tests/model/test_towers.py::test_a_stored_model_scores_as_before",),
    ),
    Fault(
        name="members_are_summed",
        file="reward/ensemble.py",
        old="return torch.stack(losses).mean(0)",
        new="return torch.stack(losses).sum(0)",
        why="More members are a larger step, and an ensemble's loss is no longer that of a member.",
        caught_by=("tests/reward/test_ensemble.py::test_members_are_side_by_side_and_weigh_alike",),
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
        name="safe_answers_are_pushed_below_zero",
        file="reward/cost.py",
        old="loss = loss - self.sign_weight * torch.where(marked[side], signs, torch.zeros_like(signs))",
        new="loss = loss + self.sign_weight * torch.where(marked[side], signs, torch.zeros_like(signs))",
        why="The sign of a reward means the opposite of what it says.",
        caught_by=("tests/reward/test_ensemble.py::test_a_mark_pulls_its_answer_to_its_side_of_zero",),
    ),
    Fault(
        name="marks_of_objectives_without_a_sign",
        file="reward/cost.py",
        old="return judgments.rated.any(-1) & signed",
        new="return judgments.rated.any(-1)",
        why="Ratings of helpfulness are read as marks of safety.",
        caught_by=("tests/reward/test_ensemble.py::test_only_objectives_with_a_sign_read_marks_and_keep_their_zero",),
    ),
    Fault(
        name="the_longer_answer_against_padding",
        file="functional/masking.py",
        old="return differs & both",
        new="return differs & (mask_0 | mask_1)",
        why="Token-wise pairs compare what a longer answer says with padding: a shortcut by length.",
        caught_by=(
            "tests/algo/test_sharing.py::test_token_wise_pairs_are_compared_up_to_the_end_of_the_shorter_answer",
        ),
    ),
    Fault(
        name="tokens_of_long_answers_count_more",
        file="algo/reward_model.py",
        old="return sums / span.sum(1, keepdim=True), last",
        new="return sums, last",
        why="A pair weighs as much as its answers have tokens.",
        caught_by=(
            "tests/algo/test_sharing.py::test_token_wise_pairs_are_compared_up_to_the_end_of_the_shorter_answer",
        ),
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
        name="a_teacher_rates_by_its_first_member",
        file="runtime/teaching.py",
        old="name: (tuple(values[2 * i][m]), tuple(values[2 * i + 1][m]))",
        new="name: (tuple(values[2 * i][m][:1]), tuple(values[2 * i + 1][m][:1]))",
        why="The disagreement of the members is lost on the way to the one model.",
        caught_by=("tests/algo/test_sharing.py::test_a_teacher_rates_with_every_member",),
    ),
    Fault(
        name="conversion_compares_a_head_with_itself",
        file="runtime/conversion.py",
        old="for panel in (old, converted)\n            )",
        new="for panel in (converted, converted)\n            )",
        why="A conversion that lost accuracy says that it lost none.",
        caught_by=("tests/algo/test_sharing.py::test_a_trained_trunk_is_given_another_head_and_both_are_compared",),
    ),
    Fault(
        name="members_keep_their_own_scales",
        file="reward/standardization.py",
        old="belief = _alike(belief, self.members)",
        new="pass",
        why="The member with the largest scale is always the most pessimistic one.",
        caught_by=(
            "tests/reward/test_standardization.py::test_members_are_brought_to_one_scale_before_they_are_read_together",
        ),
    ),
    Fault(
        name="a_learned_zero_is_shifted",
        file="reward/panel.py",
        old="self.zero, self.passes, self.members = kind.has_zero(self.objectives), len(model.towers), kind.members",
        new="self.passes, self.members = len(model.towers), kind.members",
        why="What was trained to be the border of safety is moved to the reference policy's mean.",
        caught_by=("tests/algo/test_sharing.py::test_a_reward_with_a_sign_learns_its_zero",),
    ),
)
