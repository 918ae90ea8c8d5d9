"""Faults in reward kinds: strengths, categories, ratings and anchors."""

from __future__ import annotations

from tests.mutation.fault import Fault

LIKELIHOODS = "tests/known/test_likelihoods.py::test_the_loss_of_a_reward_kind_is_its_negative_log_likelihood"

FAULTS = (
    Fault(
        name="strength_scales_the_margin_and_not_the_loss",
        file="functional/margins.py",
        old="return strength * bradley_terry_loss(score_1, score_0, label, margin=margin)",
        new="return bradley_terry_loss(score_1, score_0, label, margin=margin * strength)",
        why="Scaled Bradley-Terry is asked for, and without a margin the strengths do nothing.",
        caught_by=("tests/functional/test_margins.py::test_strengths_are_ignored_asked_for_or_weigh",),
    ),
    Fault(
        name="toss_ups_are_lost",
        file="functional/categorical.py",
        old="credit = (0.5 * (1 + lead)).to(log_p_1).log()",
        new="credit = (0.5 * (lead + lead.abs())).to(log_p_1).log()",
        why="Both outcomes of a pair do not sum to 1, and answers that are alike look like losers.",
        caught_by=("tests/functional/test_categorical.py::test_who_wins_equals_counting_over_all_pairs_of_atoms",),
    ),
    Fault(
        name="the_lower_atom_wins",
        file="functional/categorical.py",
        old="lead = (places[:, None] - places).sign()",
        new="lead = (places - places[:, None]).sign()",
        why="The reward model prefers the worse answer of every pair.",
        caught_by=("tests/reward/test_kinds.py::test_descending_the_loss_raises_the_favored_answer",),
    ),
    Fault(
        name="entropy_is_charged",
        file="reward/categorical.py",
        old="- self.entropy * shared_entropy(log_p_1, log_p_0)",
        new="+ self.entropy * shared_entropy(log_p_1, log_p_0)",
        why="Distributions are pushed to collapse instead of kept from it.",
        caught_by=(LIKELIHOODS,),
    ),
    Fault(
        name="entropy_of_each_answer_alone",
        file="functional/categorical.py",
        old="log_mean = torch.logaddexp(log_p_1, log_p_0) - math.log(2.0)",
        new="log_mean = log_p_1",
        why="Every answer is to be spread over all atoms, so that no answer can be surely better than another.",
        caught_by=(
            "tests/functional/test_categorical.py::test_entropy_of_the_pair_equals_scipy_and_a_pair_at_opposite_ends_has_a_bit_of_it",
        ),
    ),
    Fault(
        name="padding_counts_as_ratings",
        file="functional/masking.py",
        old="values.masked_fill(~mask, 0.0).sum(-1).sum(0)",
        new="values.sum(-1).sum(0)",
        why="Answers with fewer ratings than others in the batch are regressed on ratings of 0.",
        caught_by=("tests/reward/test_rating.py::test_the_loss_is_the_mean_over_ratings_of_both_answers_and_levels",),
    ),
    Fault(
        name="quantiles_regressed_on_their_own_mean",
        file="reward/rating.py",
        old="pinball_loss(each, ratings, levels)",
        new="pinball_loss(each, each.mean(-1), levels)",
        why="Quantiles collapse to a point and never see a rating.",
        caught_by=("tests/reward/test_rating.py::test_the_learned_quantiles_are_those_of_the_ratings",),
    ),
    Fault(
        name="levels_turned_round",
        file="functional/quantile.py",
        old="return (error * (levels - (error < 0).to(error.dtype))).sum(-1)",
        new="return (error * (levels - (error > 0).to(error.dtype))).sum(-1)",
        why="Low quantiles are drawn away from the ratings and high ones too.",
        caught_by=("tests/functional/test_quantile.py::test_pinball_equals_scikit_learn",),
    ),
    Fault(
        name="anchors_mistake_low_for_high",
        file="functional/thurstone.py",
        old="(side * location - 1.0) / scale) for side in (-1.0, 1.0)",
        new="(side * location - 1.0) / scale) for side in (1.0, -1.0)",
        why="Answers that are rated well are pulled down.",
        caught_by=("tests/functional/test_thurstone.py::test_anchor_classes_have_the_mass_of_the_normal",),
    ),
    Fault(
        name="anchors_read_labelled_pairs_alone",
        file="reward/gaussian.py",
        old="return judgments.labelled | judgments.rated.any(-1).any(0) if self.anchors > 0 else judgments.labelled",
        new="return judgments.labelled",
        why="Pairs with ratings and no label are descended on and not counted, so their objective's step is too large.",
        caught_by=("tests/reward/test_anchors.py::test_ratings_teach_without_a_label_and_count",),
    ),
)
