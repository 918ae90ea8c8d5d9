"""Faults in the instrument itself: enumeration, exact optima, regret and the exact trainer."""

from __future__ import annotations

from tests.mutation.fault import Fault

GRADIENTS = "tests/known/test_gradients.py::test_the_gradient_is_that_of_the_expected_utility"

FAULTS = (
    Fault(
        name="an_end_without_the_way_to_it",
        file="runtime/enumeration.py",
        old="found.append(reached + following[..., self.eos])",
        new="found.append(following[..., self.eos])",
        why="Probabilities of responses do not sum to 1, and every exact expectation is wrong.",
        caught_by=("tests/runtime/test_enumeration.py::test_logps_are_the_products_of_conditional_probabilities",),
    ),
    Fault(
        name="prefixes_read_at_the_wrong_distance",
        file="runtime/enumeration.py",
        old="apart = width ** (length - 1 - place)",
        new="apart = width ** place",
        why="A response is given the probability of another one.",
        caught_by=("tests/runtime/test_enumeration.py::test_logps_are_the_products_of_conditional_probabilities",),
    ),
    Fault(
        name="exact_utility_pays_for_kl",
        file="functional/expectation.py",
        old=".mean() - kl_coef * exact_kl(logps, ref_logps)",
        new=".mean() + kl_coef * exact_kl(logps, ref_logps)",
        why="The class limit is that of a policy that runs away from its reference.",
        caught_by=(GRADIENTS,),
    ),
    Fault(
        name="exact_kl_in_the_other_direction",
        file="functional/expectation.py",
        old="return (logps.exp() * (logps - ref_logps)).sum(-1).mean()",
        new="return (ref_logps.exp() * (ref_logps - logps)).sum(-1).mean()",
        why="The forward KL has another optimum than the one that regret is measured against.",
        caught_by=("tests/functional/test_expectation.py",),
    ),
    Fault(
        name="exact_trainer_without_kl_for_expectations",
        file="algo/exact.py",
        old="utility = scalarize.utility(expected_rewards(logps, rewards), preference) - self.kl_coef * kl",
        new="utility = scalarize.utility(expected_rewards(logps, rewards), preference)",
        why="The class limit of expected Tchebycheff is that of another utility.",
        caught_by=(GRADIENTS,),
    ),
    Fault(
        name="optimum_tilted_by_the_kl_weight",
        file="functional/dual.py",
        old="logits = ref_logps + gains / kl_coef",
        new="logits = ref_logps + gains * kl_coef",
        why="The optimum is hardly better than the reference, and every policy looks good beside it.",
        caught_by=("tests/functional/test_tilting.py",),
    ),
    Fault(
        name="regret_as_a_share_of_the_utility",
        file="evaluation/regret.py",
        old='/ (utility["optimum"] - utility["reference"])',
        new='/ abs(utility["optimum"])',
        why="Regret depends on where the zero of a reward happens to lie.",
        caught_by=("tests/evaluation/test_regret.py::test_the_reference_has_all_the_regret_and_the_optimum_none",),
    ),
    Fault(
        name="regret_of_the_reference_for_a_steered_policy",
        file="evaluation/regret.py",
        old="policies = [logps(preference) if steered else reference for preference in grid]",
        new="policies = [reference for _ in grid]",
        why="No policy is measured at all.",
        caught_by=("tests/evaluation/test_regret.py::test_exact_expectations_are_those_of_sampling",),
    ),
    Fault(
        name="exact_units_without_probabilities",
        file="reward/standardization.py",
        old="1 / rows, dtype=torch.float64) if weights is None else weights",
        new="1 / rows, dtype=torch.float64)",
        why="Units are those of a uniform policy and not of the reference.",
        caught_by=("tests/reward/test_standardization.py", "tests/evaluation/test_regret.py"),
    ),
    Fault(
        name="roles_turned_against_the_prompt",
        file="dataset/worlds/oracle.py",
        old="(codes[:, 1:] + codes[:, :1]) % self.words, OUTSIDE)",
        new="codes[:, 1:] % self.words, OUTSIDE)",
        why="The prompt no longer matters, and a policy that ignores it has no regret.",
        caught_by=("tests/dataset/worlds/test_oracle.py",),
    ),
    Fault(
        name="distributed_processes_leave_with_success",
        file="settings/launch.py",
        old="os._exit(code)",
        new="os._exit(0)",
        why="A launcher takes a failed run for a finished one.",
        caught_by=("tests/settings/test_launch.py::test_one_of_several_processes_leaves_without_teardown",),
    ),
    Fault(
        name="advantages_not_detached",
        file="runtime/experience.py",
        old="    @torch.no_grad()\n    def experience(",
        new="    def experience(",
        why="The update differentiates the critic, the KL penalty and the old log-probabilities too.",
        caught_by=(GRADIENTS,),
    ),
    Fault(
        name="clipped_per_objective",
        file="runtime/experience.py",
        old="self._normalized((advantages * weights).sum(-1), trained)",
        new="self._normalized((advantages.clamp(-1, 1) * weights).sum(-1), trained)",
        why="A sum of clipped advantages is no advantage of the sum: objectives with large scores lose their say.",
        caught_by=(GRADIENTS,),
    ),
)
