from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import mora
from mora.errors import InputError
from mora.runtime.engine import Engine
from mora.runtime.schedule import factor, warmup_steps

PLAIN = {"betas": (0.9, 0.99), "eps": 1e-8, "schedule": "constant", "warmup": 0, "steps": 10, "max_grad_norm": 0.0}


def trained(driver, runtime, micro: int, steps: int = 6) -> dict[str, torch.Tensor]:
    engine = driver.make_engine(runtime, steps)
    for step in range(steps):
        engine.step(driver.closures(runtime, engine, step, micro))
    return {name: p.detach().clone() for name, p in engine.unwrapped.named_parameters()}


def test_micro_batches_do_not_change_the_update(driver, runtime):
    whole, rows = trained(driver, runtime, 8), trained(driver, runtime, 1)
    start = dict(driver.Tiny().named_parameters())
    for name, weight in whole.items():
        # fp32 sums in another order, six updates of at most 0.05
        torch.testing.assert_close(rows[name], weight, rtol=0, atol=2e-6)
        assert name.startswith("frozen") == torch.equal(weight, start[name])


def test_one_update_by_hand(runtime):
    # loss = 3 x + 4 y: gradient (3, 4), norm 5. Clipped at 1 it is (0.6, 0.8). AdamW's first step has bias-corrected
    # m/sqrt(v) = sign(g), so x = 1 - lr * wd * 1 - lr = 1 - 0.1 * 0.5 - 0.1 = 0.85 and y = 1 - 0.01 = 0.99.
    module = nn.Module()
    module.x, module.y = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
    groups = [
        {"params": [module.x], "lr": 0.1, "weight_decay": 0.5},
        {"params": [module.y], "lr": 0.01, "weight_decay": 0.0},
    ]
    engine = Engine(runtime, module, groups, **PLAIN | {"max_grad_norm": 1.0})
    metrics = engine.step([lambda: 3 * module.x, lambda: 4 * module.y])
    assert metrics == {"loss": pytest.approx(7.0), "grad_norm": pytest.approx(5.0), "lr": pytest.approx(0.1)}
    assert module.x.item() == pytest.approx(0.85, abs=1e-6)
    assert module.y.item() == pytest.approx(0.99, abs=1e-6)
    # the moments hold the clipped gradient: exp_avg = (1 - 0.9) * (0.6, 0.8)
    state = engine._backend._optimizer.state
    assert state[module.x]["exp_avg"].item() == pytest.approx(0.06, abs=1e-6)
    assert state[module.y]["exp_avg"].item() == pytest.approx(0.08, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.999])
def test_a_warm_up_ends_before_training_does(share):
    for steps in (1, 2, 6, 26, 1000):
        warmup = warmup_steps(share, steps)
        assert warmup < steps and abs(warmup - share * steps) <= 1
        assert factor(steps - 1, schedule="constant", warmup=warmup, steps=steps) == 1.0


@pytest.mark.parametrize(
    ("overrides", "steps", "updates"),
    [  # what the numbers of docs/ were measured with
        (["algo=sft"], 2 * 20_000 / 128, 20),
        (["algo=reward_model"], 64_000 / 64, 30),
        ([], 60 * 2 * 4, 20),
        (["experiment=oracle"], 300 * 2 * 4, 20),
        (["algo=exact", "dataset=oracle", "reward=gold"], 1000, 10),
    ],
)
def test_default_runs_warm_up_for_so_many_steps(overrides, steps, updates):
    assert warmup_steps(mora.compose(*overrides).algo.optimizer.warmup, round(steps)) == updates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # warm-up of 2: 1/2, 2/2; then p = 0, 1/4, 2/4, 3/4 of the remaining 4 updates, and p = 1 beyond
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ("cosine", [0.5, 1.0, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0, 0.0]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules(schedule, expected):
    assert [factor(i, schedule=schedule, warmup=2, steps=6) for i in range(8)] == pytest.approx(expected)


def test_the_schedule_multiplies_every_group(driver, runtime):
    engine = driver.make_engine(runtime, steps=10)  # warm-up of 2
    metrics = engine.step(driver.closures(runtime, engine, 0, 8))
    assert metrics["lr"] == pytest.approx(0.01)
    assert [group["lr"] for group in engine._backend.groups] == pytest.approx([0.01, 0.025])


def test_resume_is_exact(driver, runtime, tmp_path):
    whole = driver.make_engine(runtime, 6)
    for step in range(6):
        whole.step(driver.closures(runtime, whole, step, 4))
        if step == 2:
            whole.save(tmp_path)
    resumed = driver.make_engine(runtime, 6)
    resumed.load(tmp_path)
    assert resumed.updates == 3
    for step in range(3, 6):
        resumed.step(driver.closures(runtime, resumed, step, 4))
    assert driver.weights_hash(resumed) == driver.weights_hash(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "engine.json",
        "optimizer.safetensors",
        "weights.safetensors",
    ]


def test_a_state_of_other_parameters_is_refused(driver, runtime, tmp_path):
    driver.make_engine(runtime, 6).save(tmp_path)
    other = nn.Linear(2, 2)
    engine = Engine(runtime, other, [{"params": list(other.parameters()), "lr": 0.1, "weight_decay": 0.0}], **PLAIN)
    with pytest.raises(InputError, match=r"other trainable parameters .*runtime\.fresh=true"):
        engine.load(tmp_path)


def test_what_is_not_finite_is_named_and_not_kept(driver, runtime):
    engine = driver.make_engine(runtime, 6)
    before = driver.weights_hash(engine)
    good, bad = driver.closures(runtime, engine, 0, 4)[0], lambda: engine.unwrapped.unused.sum() * float("nan")
    with pytest.raises(FloatingPointError, match="update 0: the loss of micro-batch 1 on rank 0 is not finite"):
        engine.step([good, bad])
    # sqrt(0) = 0 is finite, its derivative is not
    engine = driver.make_engine(runtime, 6)
    with pytest.raises(FloatingPointError, match="update 0: the gradient of unused is not finite"):
        engine.step([lambda: (engine.unwrapped.unused * 0).sum().sqrt()])
    assert driver.weights_hash(engine) == before


def test_groups_must_cover_the_trainable_parameters_once(runtime):
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)

    def build(*groups):
        return Engine(runtime, module, [{"params": g, "lr": 0.1, "weight_decay": 0.0} for g in groups], **PLAIN)

    weight, bias = [module.weight], [module.bias]
    for groups, message in [
        ([weight, weight], "twice"),
        ([weight, []], "empty"),
        ([bias], "in no group of param_groups: weight"),
        ([weight, bias], "frozen"),
    ]:
        with pytest.raises(ValueError, match=message):
            build(*groups)
    module.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        build(weight)


def test_a_closed_engine_gives_the_module_back(driver, runtime):
    engine = driver.make_engine(runtime, 6)
    engine.close()
    engine.close()
    assert engine.module is engine.unwrapped
    with pytest.raises(RuntimeError, match="closed"):
        engine.step([lambda: torch.zeros(())])


def test_bf16_runs_products_in_bf16_and_keeps_weights_in_fp32(driver, runtime):
    runtime.precision = "bf16"
    module = nn.Linear(4, 4)
    engine = Engine(runtime, module, [{"params": list(module.parameters()), "lr": 0.1, "weight_decay": 0.0}], **PLAIN)
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    exact = nn.functional.linear(rows, module.weight, module.bias)
    rounded = engine.module(rows)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)
    engine.step([lambda: engine.module(rows).sum()])
    assert module.weight.dtype == module.weight.data.dtype == torch.float32
    engine.close()
    assert torch.equal(module(rows), nn.functional.linear(rows, module.weight, module.bias))
