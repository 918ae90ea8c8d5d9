"""Faults in scalarizers, in how preferences are drawn, and in random numbers."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="linear_gain_without_weights",
        file="functional/scalarize.py",
        old="return (rewards * preference).sum(-1)",
        new="return rewards.sum(-1)",
        why="All preferences train the same policy: nothing can be steered.",
        caught_by=("tests/functional/test_scalarize.py::test_linear_is_the_weighted_sum",),
    ),
    Fault(
        name="tchebycheff_takes_the_best_gap",
        file="functional/scalarize.py",
        old="return values.amin(-1)",
        new="return values.amax(-1)",
        why="The objective that is best off is improved further instead of the worst one.",
        caught_by=("tests/functional/test_scalarize.py::test_tchebycheff_is_the_worst_weighted_gap",),
    ),
    Fault(
        name="tchebycheff_forgets_the_weights",
        file="functional/scalarize.py",
        old="return preference * (rewards - z)",
        new="return rewards - z",
        why="Every preference asks for the same balanced answer.",
        caught_by=("tests/functional/test_scalarize.py::test_tchebycheff_is_the_worst_weighted_gap",),
    ),
    Fault(
        name="smooth_minimum_is_a_maximum",
        file="functional/scalarize.py",
        old="return -temperature * torch.logsumexp(-values / temperature, dim=-1)",
        new="return temperature * torch.logsumexp(values / temperature, dim=-1)",
        why="A temperature above 0 turns the worst gap into the best one.",
        caught_by=("tests/functional/test_scalarize.py::test_the_smooth_minimum",),
    ),
    Fault(
        name="expected_tchebycheff_per_response",
        file="functional/scalarize.py",
        old="least = weighted_gaps(means, preference, self.ideal)",
        new="least = weighted_gaps(rewards, preference, self.ideal)",
        why="The expectation of minima is another utility than the minimum of expectations that was asked for.",
        caught_by=("tests/functional/test_scalarize.py::test_the_expected_form_takes_the_minimum_of_means",),
    ),
    Fault(
        name="prompt_tchebycheff_over_all_prompts",
        file="functional/scalarize.py",
        old="return least_expected(expected, preference, self.ideal, self.augment).mean()",
        new="return least_expected(expected.mean(0, keepdim=True), preference, self.ideal, self.augment).mean()",
        why="The class limit of the utility per prompt is that of another utility.",
        caught_by=(
            "tests/functional/test_scalarize.py::test_two_prompts_that_lack_different_objectives_part_the_two_forms",
        ),
    ),
    Fault(
        name="expected_tchebycheff_forgets_the_weight",
        file="functional/scalarize.py",
        old="weighted = preference * rewards",
        new="weighted = rewards",
        why="Rows of extreme preferences pull with the full reward and drown the others.",
        caught_by=("tests/functional/test_scalarize.py::test_the_expected_form_takes_the_minimum_of_means",),
    ),
    Fault(
        name="dirichlet_not_divided_by_its_sum",
        file="functional/preference.py",
        old="return (gamma / gamma.sum(-1, keepdim=True)).float()",
        new="return gamma.float()",
        why="Weights do not sum to 1, so the KL penalty of a linear gain has another coefficient in each row.",
        caught_by=("tests/functional/test_preference.py::test_dirichlet_has_the_mean_and_variance_of_the_closed_form",),
    ),
    Fault(
        name="preferences_keyed_by_place_in_the_batch",
        file="functional/preference.py",
        old='keys = {"row": rows, "group": groups,',
        new='keys = {"row": torch.arange(len(rows)), "group": groups,',
        why="A row's preference depends on the process and the batch it stands in; every process draws the same ones.",
        caught_by=(
            "tests/functional/test_preference.py::test_a_row_has_its_preference_in_any_batch_and_a_new_one_at_each_step",
        ),
    ),
    Fault(
        name="preferences_do_not_depend_on_the_step",
        file="functional/preference.py",
        old="uniform(seed, Stream.DIRICHLET, step, keys.cpu()[:, None], axes[None, :])",
        new="uniform(seed, Stream.DIRICHLET, 0, keys.cpu()[:, None], axes[None, :])",
        why="A prompt is trained at one preference for ever.",
        caught_by=("tests/functional/test_known_faults.py::test_every_row_gets_another_preference_at_every_step",),
    ),
    Fault(
        name="noise_ignores_later_counters",
        file="functional/noise.py",
        old="for counter in counters:",
        new="for counter in counters[:2]:",
        why="All tokens of a row are drawn by the same number.",
        caught_by=("tests/functional/test_noise.py::test_equals_the_same_mixing_in_python_integers",),
    ),
    Fault(
        name="minimum_counts_objectives_without_weight",
        file="functional/scalarize.py",
        old='counted = rewards.masked_fill(preference <= 0, float("inf"))',
        new="counted = rewards",
        why="At a corner of the simplex an objective that was given no weight decides.",
        caught_by=("tests/functional/test_scalarize.py::test_the_minimum_is_over_objectives_with_any_weight",),
    ),
    Fault(
        name="learned_weights_rise_for_what_is_best_off",
        file="functional/tchebycheff.py",
        old="projected(self.learned.shares - self.lr",
        new="projected(self.learned.shares + self.lr",
        why="The minimum becomes a maximum: what is best off counts alone.",
        caught_by=(
            "tests/functional/test_tchebycheff.py::test_a_step_raises_the_weight_of_what_lies_further_below_its_ideal",
        ),
    ),
    Fault(
        name="price_of_the_kl_forgets_the_divisor",
        file="functional/tchebycheff.py",
        old="return 1 / self._weights(preference).sum(-1)",
        new="return 1 + 0 * self._weights(preference).sum(-1)",
        why="The gain is divided and the price of a nat is not: another optimum than was asked for.",
        caught_by=("tests/functional/test_tchebycheff.py::test_with_best_answers_it_finds_the_exact_optimum",),
    ),
)
