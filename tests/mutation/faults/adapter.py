"""Faults in the preference-conditioned adapter and its export."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="singular_value_ignores_the_preference",
        file="model/svd_lora.py",
        old="self.s * rows.to(self.s.dtype)]",
        new="self.s * torch.ones_like(rows, dtype=self.s.dtype)]",
        why="The preference reaches no weight: one policy for all.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="one_preference_for_the_whole_batch",
        file="model/svd_lora.py",
        old="diagonal = self.diagonal(rows).view(rows.shape[0], *[1] * (x.dim() - 2), -1)",
        new="diagonal = self.diagonal(rows[:1]).view(1, *[1] * (x.dim() - 2), -1)",
        why="All rows are computed at the preference of the first one.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="adapter_scale_applied_twice",
        file="model/svd_lora.py",
        old="return y + (self.scale * update).to(y.dtype)",
        new="return y + (self.scale * self.scale * update).to(y.dtype)",
        why="The merged and the exported model differ from the trained one unless the scale is 1.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="merged_update_without_scale",
        file="model/svd_lora.py",
        old="return self.scale * (self.U.float() * diagonal) @ self.V.float().T",
        new="return (self.U.float() * diagonal) @ self.V.float().T",
        why="An exported model behaves differently from the policy that was evaluated.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_that_of_the_dense_update",),
    ),
    Fault(
        name="adapter_state_not_restored",
        file="model/svd_lora.py",
        old="""        try:
            yield
        finally:
            self.rows, self.enabled = before""",
        new="        yield",
        why="After a pass of the reference the adapter stays off, and the policy trains nothing.",
        caught_by=("tests/model/test_svd_lora.py::test_the_state_comes_back_after_a_block_even_when_it_fails",),
    ),
    Fault(
        name="recomputation_at_another_state",
        file="model/svd_lora.py",
        old="return nullcontext(), self.using(self.rows, self.enabled)",
        new="return nullcontext(), nullcontext()",
        why="With gradient checkpointing, gradients are those of another preference or of none.",
        caught_by=("tests/model/test_svd_lora.py::test_recomputation_sees_the_state_of_its_own_forward",),
    ),
    Fault(
        name="both_factors_start_at_zero",
        file="model/svd_lora.py",
        old="factor.copy_(torch.randn(factor.shape, generator=generator) * scale)",
        new="factor.zero_()",
        why="No gradient reaches any factor: the adapter is dead from the start.",
        caught_by=("tests/model/test_svd_lora.py::test_the_output_is_linear_in_the_preference_when_only_s_moved",),
    ),
    Fault(
        name="singular_values_start_at_one",
        file="model/svd_lora.py",
        old="        self.sigma.zero_()\n",
        new="        self.sigma.fill_(1.0)\n",
        why="Training starts from a randomly disturbed model instead of its reference.",
        caught_by=("tests/model/test_svd_lora.py::test_at_the_start_the_adapted_layer_is_its_base_to_the_bit",),
    ),
    Fault(
        name="base_stays_trainable",
        file="model/svd_lora.py",
        old="    model.requires_grad_(False)\n",
        new="",
        why="Weights that are not stored are trained, so the stored policy is not the trained one.",
        caught_by=("tests/model/test_svd_lora.py::test_attach_freezes_the_model_and_trains_only_the_factors",),
    ),
    Fault(
        name="adapter_stored_without_sigma",
        file="model/svd_lora.py",
        old="""            for name in ("U", "V", "sigma", "s"):""",
        new="""            for name in ("U", "V", "s"):""",
        why="A loaded policy has lost what it learned for all preferences together.",
        caught_by=("tests/model/test_svd_lora.py::test_saving_and_loading_gives_the_adapter_back",),
    ),
    Fault(
        name="targets_matched_by_substring",
        file="model/svd_lora.py",
        old='path.rsplit(".", 1)[-1] in wanted',
        new="any(name in path for name in wanted)",
        why="Modules are adapted that nobody named.",
        caught_by=("tests/model/test_svd_lora.py::test_targets_are_matched_on_the_whole_last_part_of_the_path",),
    ),
    Fault(
        name="exported_at_equal_weights",
        file="model/export.py",
        old="diagonal = layer.diagonal(preference[None])[0].float()",
        new="diagonal = layer.diagonal(torch.full_like(preference, 1 / len(preference))[None])[0].float()",
        why="The exported model answers at another preference than the one on its label.",
        caught_by=("tests/model/test_export.py::test_a_stock_adapter_gives_the_live_logits",),
    ),
    Fault(
        name="exported_alpha_is_the_padded_rank",
        file="model/export.py",
        old="lora_alpha=rank,",
        new="lora_alpha=2 * rank,",
        why="Servers scale the update by alpha / r and answer twice as far from the base.",
        caught_by=("tests/model/test_export.py::test_a_stock_adapter_gives_the_live_logits",),
    ),
    Fault(
        name="merged_with_the_wrong_sign",
        file="model/export.py",
        old="merged = base.weight.float() + layer.delta(",
        new="merged = base.weight.float() - layer.delta(",
        why="A merged model does the opposite of what the policy learned.",
        caught_by=("tests/model/test_export.py::test_a_merged_folder_gives_the_live_logits",),
    ),
    Fault(
        name="tokens_of_a_flattened_batch_at_preferences_of_other_rows",
        file="model/svd_lora.py",
        old="rows.repeat_interleave(x.shape[0] // rows.shape[0], dim=0)",
        new="rows.repeat(x.shape[0] // rows.shape[0], 1)",
        why="A model that flattens its batch gives tokens the preference of another row.",
        caught_by=(
            "tests/model/test_svd_lora.py::test_the_tokens_of_a_flattened_batch_are_at_the_preferences_of_their_rows",
        ),
    ),
    Fault(
        name="tied_head_exported_as_a_low_rank_update",
        file="model/export.py",
        old="        if path == whole:\n",
        new="        if False:\n",
        why="PEFT merges the update of the head into the input embeddings too.",
        caught_by=(
            "tests/model/test_export.py::test_an_adapter_that_peft_merges_gives_the_live_logits_also_from_disk",
        ),
    ),
    Fault(
        name="only_rates_named_dropout_are_off",
        file="model/dropout.py",
        old='re.compile("drop|jitter")',
        new='re.compile("dropout$")',
        why="A model drops at random in training: old and new log-probabilities are of two functions.",
        caught_by=(
            "tests/model/test_dropout.py::test_a_loaded_model_computes_in_training_what_it_computes_in_evaluation",
        ),
    ),
    Fault(
        name="passes_that_disagree_pass",
        file="model/agreement.py",
        old="    if not error <= allowed:\n",
        new="    if False:\n",
        why="A model that reads padding, or whose cache differs, is trained without a word.",
        caught_by=("tests/model/test_agreement.py::test_a_pass_that_differs_is_named",),
    ),
)
