"""Which arithmetic suits a machine, found without torch."""

from __future__ import annotations

import pytest

import mora
from mora.run.plan import plan
from mora.settings import arithmetic


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags : amx_bf16 amx_tile", True),
        ("Features : fp asimd i8mm bf16 bti", True),
        ("flags : fpu avx2 avx512f f16c", False),
        ("", False),
    ],
)
def test_a_processor_computes_in_bf16_where_it_says_so(tmp_path, flags, native):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n", encoding="utf-8")
    assert arithmetic.native_bf16(tmp_path / "cpuinfo", tmp_path) is native


def test_a_gpu_counts_unless_it_is_hidden(tmp_path, monkeypatch):
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert arithmetic.native_bf16(tmp_path / "none", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not arithmetic.native_bf16(tmp_path / "none", tmp_path)


@pytest.mark.parametrize(("native", "expected"), [(True, ("bf16", "bfloat16")), (False, ("fp32", "float32"))])
def test_a_small_real_model_is_held_and_computed_in_what_the_machine_computes_in(monkeypatch, native, expected):
    monkeypatch.setattr(arithmetic, "native_bf16", lambda: native)
    config = mora.compose("experiment=smollm2")
    assert (config.runtime.precision, config.model.dtype) == expected


RATES = {"adapter=lora": "lora", "adapter=full": "policy"}


@pytest.mark.parametrize("experiment", ["smollm2", "smollm2_quick"])
@pytest.mark.parametrize(
    "chosen",
    [
        ("algo=panacea",),
        ("algo=rloo", "preference=group"),
        ("algo=ppo", "preference=fixed", "adapter=lora"),
        ("algo=ppo", "preference=fixed", "adapter=full"),
        ("algo=ppo_lag", "preference=fixed", "adapter=lora", "scalarize.floors={brevity: 0.5}"),
    ],
)
def test_the_settings_of_a_real_model_are_for_every_algorithm_with_rollouts(experiment, chosen):
    config = mora.compose(f"experiment={experiment}", *chosen)
    assert config.algo.kl_coef == 0.1 and config.model.name == "smollm2_135m"
    expected = config.model.rates[next((RATES[one] for one in chosen if one in RATES), "adapter")]
    assert config.adapter.lr == expected


@pytest.mark.parametrize(
    ("native", "given", "said"),
    [
        (False, ("runtime.precision=bf16",), "runtime.precision=bf16: this machine has no arithmetic for bfloat16"),
        (False, ("model.dtype=bfloat16",), "faster here: model.dtype=float32"),
        (False, (), None),
        (True, ("runtime.precision=bf16", "model.dtype=bfloat16"), None),
    ],
)
def test_bf16_that_is_emulated_is_told_with_what_is_faster(monkeypatch, native, given, said):
    from mora.run import execute

    monkeypatch.setattr(execute, "native_bf16", lambda: native)
    overrides = ["algo=sft", *given]
    (stage,) = plan(mora.compose(*overrides), overrides)
    warnings = execute._emulation_warnings(stage)
    assert warnings == [] if said is None else said in warnings[0]
