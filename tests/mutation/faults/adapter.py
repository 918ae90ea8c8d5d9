"""Faults in the preference-conditioned adapter and its export."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="singular_value_ignores_the_preference",
        file="model/svd_lora.py",
        old="self.s * rows.to(self.s.dtype).repeat",
        new="self.s * torch.ones_like(rows, dtype=self.s.dtype).repeat",
        why="The preference reaches no weight: one policy for all.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="singular_values_of_objectives_interleaved",
        file="model/svd_lora.py",
        old=".repeat_interleave(self.objective_rank, dim=-1)",
        new=".repeat(1, self.objective_rank)",
        why="Beside a rank of 1 an objective's directions are moved by the weights of the others.",
        caught_by=(
            "tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",
            "tests/model/test_svd_lora.py::test_from_a_u_of_zeros_only_u_has_a_gradient",
        ),
    ),
    Fault(
        name="one_preference_for_the_whole_batch",
        file="model/svd_lora.py",
        old="self.diagonal(rows).view(rows.shape[0], *[1] * (x.dim() - 2), -1)",
        new="self.diagonal(rows[:1]).view(1, *[1] * (x.dim() - 2), -1)",
        why="All rows are computed at the preference of the first one.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="adapter_scale_applied_twice",
        file="model/svd_lora.py",
        old="diagonal = self.scale * self",
        new="diagonal = self.scale * self.scale * self",
        why="The merged and the exported model differ from the trained one unless the scale is 1.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="recomputation_at_another_state",
        file="model/svd_lora.py",
        old="return nullcontext(), self.using(self.rows, self.enabled)",
        new="return nullcontext(), nullcontext()",
        why="With gradient checkpointing, gradients are those of another preference or of none.",
        caught_by=("tests/model/test_svd_lora.py::test_recomputation_sees_the_state_of_its_own_forward",),
    ),
)
