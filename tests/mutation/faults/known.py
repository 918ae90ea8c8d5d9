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
        name="exact_kl_in_the_other_direction",
        file="functional/expectation.py",
        old="return (logps.exp() * (logps - ref_logps)).sum(-1).mean()",
        new="return (ref_logps.exp() * (ref_logps - logps)).sum(-1).mean()",
        why="The forward KL has another optimum than the one that regret is measured against.",
        caught_by=("tests/functional/test_expectation.py",),
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
        name="advantages_not_detached",
        file="runtime/collector.py",
        old="    @torch.no_grad()\n    def read(",
        new="    def read(",
        why="The update differentiates the critic, the KL penalty and the old log-probabilities too.",
        caught_by=(GRADIENTS,),
    ),
    Fault(
        name="clipped_per_objective",
        file="algo/ppo.py",
        old="scalarized = (advantages * rollout.weights[:, None, :]).sum(-1)",
        new="scalarized = (advantages.clamp(-1, 1) * rollout.weights[:, None, :]).sum(-1)",
        why="A sum of clipped advantages is no advantage of the sum: objectives with large scores lose their say.",
        caught_by=(GRADIENTS,),
    ),
)
