"""What every algorithm in ``conf/algo`` must do, whatever it trains: a new YAML is a row of ``ROWS``."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mora.errors import InputError
from mora.files import read_lines
from mora.runtime.collector import RolloutCollector
from mora.runtime.engine import Engine
from mora.runtime.loop import Loop

REFERENCE = ("algo.reference_prompts=8", "algo.reference_samples=2")
FITTED = ("algo.epochs=null", "algo.batch_size=8")
ROLLOUT = ("algo.epochs=2", "algo.minibatches=2", "algo.rollout.prompts=4", "algo.rollout.samples=4")
TARGET = ("algo.kl_target=0.5", "algo.kl_rate=0.1")
FLOOR = ("scalarize.floors={kind1: 0.5}",)
PTX = ("algo.ptx_coef=0.1", "algo.ptx_batch_size=4")
ROWS = {  # name of an algorithm, and what is chosen beside it: settings that make it small
    "sft": FITTED,
    "reward_model": (*FITTED, *REFERENCE, "algo.cosine_every=0", "algo.quality_every=0"),
    "panacea": (*ROLLOUT, *REFERENCE, *PTX, "reward=gold", "algo.critic_width=8"),
    "panacea_lag": (
        *ROLLOUT,
        *REFERENCE,
        "reward=gold",
        "algo.critic_width=8",
        *FLOOR,
        "scalarize.from_reference=true",
    ),
    "panacea scalarize=tchebycheff_learned": (*ROLLOUT, *REFERENCE, "reward=gold", "algo.critic_width=8"),
    "ppo": (*ROLLOUT, *REFERENCE, *PTX, *TARGET, "reward=gold", "algo.critic_width=8"),
    "ppo adapter=full": (*ROLLOUT, *REFERENCE, *PTX, "reward=gold", "algo.critic_width=8"),
    "ppo_lag": (*ROLLOUT, *REFERENCE, "reward=gold", "algo.critic_width=8", *FLOOR),
    "rloo_lag": (*ROLLOUT, *REFERENCE, "reward=gold", *FLOOR),
    "hc_rlhf": (*ROLLOUT, *REFERENCE, "reward=gold", *FLOOR),
    "rloo": (*ROLLOUT, *REFERENCE, "reward=gold"),
    "reinforce": (*ROLLOUT, *REFERENCE, "reward=gold"),
    "grpo": (*ROLLOUT, *REFERENCE, *TARGET, "reward=gold"),
    "gdpo": (*ROLLOUT, *REFERENCE, "reward=gold"),
    "gd2po": (*ROLLOUT, *REFERENCE, "reward=gold"),
    "pg_panacea": (*ROLLOUT, *REFERENCE, "algo.epochs=1", "algo.minibatches=1", "reward=gold"),
    "rloo adapter=lora preference=fixed": (*ROLLOUT, *REFERENCE, "reward=gold"),
    "exact": (*REFERENCE, "reward=gold", "algo.preferences=4"),
}
ADAPTERS = {
    "ppo": "lora",
    "ppo_lag": "lora",
    "rloo_lag": "lora",
    "hc_rlhf": "lora",
    "ppo adapter=full": "full",
    "rloo adapter=lora preference=fixed": "lora",
}  # else svd_lora
PRODUCT = {"sft": "model", "reward_model": "reward"}  # of the others: policy
CONSTANT = ("algo.optimizer.schedule=constant", "algo.optimizer.eps=1e-5")


@pytest.fixture
def small(make):
    """An algorithm of the table: ``small("rloo", "algo.steps=2")``."""

    def maker(name, *overrides, **more):
        longest = {"max_response": 2} if name == "exact" else {}
        algorithm, *chosen = name.split()
        algo = make(algorithm, *chosen, "algo.steps=2", *ROWS[name], *overrides, **longest, **more)
        if name == "exact":
            algo.context.corpus.prompts["train"] = algo.context.corpus.prompts["train"][:2]
        return algo

    return maker


def weights(algo, name: str) -> dict[str, torch.Tensor]:
    """What the run hands on, by file and name."""
    files = sorted((algo.context.folder.path / PRODUCT.get(name, "policy")).glob("*.safetensors"))
    assert files
    return {f"{file.name}/{key}": value for file in files for key, value in load_file(file).items()}


def metrics(algo) -> list[dict[str, float]]:
    """The rows that were logged, without wall times and memory."""
    rows = read_lines(algo.context.folder.metrics)
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))} for row in rows]


def test_the_table_has_a_row_for_every_algorithm():
    assert {name.split()[0] for name in ROWS} == {
        path.stem for path in (Path(__file__).parents[2] / "conf" / "algo").glob("*.yaml")
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_run_that_was_cut_continues_to_the_bits_of_an_uninterrupted_one(small, monkeypatch, name):
    """Cut within the third of four steps, one after the last state was kept: the same rows of metrics and weights."""
    options = ("algo.steps=4", "runtime.save_every=2")
    whole, begun, again = (small(name, *options) for _ in range(3))
    whole.fit()
    write_row = Loop._write_row

    def cut(self, *given):
        if self.done > 2:
            raise KeyboardInterrupt
        write_row(self, *given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "_write_row", cut)
        begun.fit()
    again.context.folder = begun.context.folder
    again.fit()
    assert metrics(again) == metrics(whole) and [row["step"] for row in metrics(whole)] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for row in metrics(whole) for value in row.values())
    expected = weights(whole, name)
    assert weights(again, name).keys() == expected.keys()
    assert all(torch.equal(found, expected[key]) for key, found in weights(again, name).items())


@pytest.mark.parametrize(
    "name", [name for name in ROWS if name not in ("ppo adapter=full", "ppo_lag", "rloo_lag", "hc_rlhf", "panacea_lag")]
)
def test_micro_batches_change_the_weights_by_rounding_alone(small, name):
    """After two updates or more, of which each moves a weight by its learning rate at most; agreement to 1e-4."""
    found = []
    for size in ("null", "3"):
        algo = small(name, *CONSTANT, f"runtime.micro_batch={size}")
        algo.fit()
        found.append(weights(algo, name))
    assert max(float((value - found[1][key]).abs().max()) for key, value in found[0].items()) < 1e-4


class Stopped(Exception):
    """The first update was about to begin."""


@pytest.mark.parametrize("name", ROWS)
def test_the_losses_of_two_processes_add_up_to_that_of_one(small, monkeypatch, name):
    """They are divided by what the global batch holds; both draw the prompts, noise and preferences of the one."""

    def stop(self, losses):
        raise Stopped(sum(float(loss().detach()) for loss in losses))

    monkeypatch.setattr(Engine, "step", stop)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: None)
    # a process that hears of no other knows half of the mean that a multiplier follows, and of the moments of a bound
    learned = name.endswith(("_lag", "_learned")) or name == "hc_rlhf"
    floor = ("scalarize.lr=0.0",) if learned else ()
    floor += ("scalarize.confidence.factor=1e-9",) if name == "hc_rlhf" else ()
    own = (*floor, "algo.normalize_advantages=none") if "rollout" in str(ROWS[name]) else ()
    found = []
    for process in (None, 0, 1):
        with pytest.raises(Stopped) as first:
            small(name, *own, process=process).fit()
        found.append(first.value.args[0])
    assert abs(found[0]) > 1e-6 and found[1] + found[2] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("name", [name for name in ROWS if name not in PRODUCT])
def test_training_moves_the_utility_up(small, name):
    """The mean gain, or the exact utility, of the last four steps against the first four."""
    rates = {"full": ("adapter.lr=0.003",), "lora": ("adapter.lr=0.03",)}
    steered = ("adapter.singular_lr=0.03", "adapter.lr=0.03")
    steps = ("algo.steps=16", "algo.kl_coef=0.01", *rates.get(ADAPTERS.get(name, ""), steered))
    algo = small(name, *steps, *(("algo.rollout.prompts=16", "algo.ptx_coef=0") if PTX[0] in ROWS[name] else ()))
    algo.fit()
    values = [row["gain" if "gain" in row else "utility"] for row in metrics(algo)]
    assert sum(values[-4:]) / 4 > sum(values[:4]) / 4 + 0.2, values


@pytest.mark.parametrize("name", ["panacea", "rloo"])
def test_answers_to_a_prompt_share_a_group_and_no_preference(small, monkeypatch, name):
    """With ``preference=row`` each answer has a preference of its own, and groups are whole on a process."""
    seen = []
    collect = RolloutCollector.collect
    monkeypatch.setattr(RolloutCollector, "collect", lambda *given: seen.append(collect(*given)) or seen[-1])
    small(name, "algo.steps=1").fit()
    (rollout,) = seen
    _, counts = torch.unique(rollout.group, return_counts=True)
    assert counts.tolist() == [4, 4, 4, 4] and len(rollout.preference.unique(dim=0)) > 4
    for group in rollout.group.unique():
        assert len({rollout.prompts[i] for i in (rollout.group == group).nonzero().flatten().tolist()}) == 1


def test_a_baseline_of_answers_at_other_preferences_is_told(small, capsys):
    small("rloo", "algo.steps=1").fit()
    assert "preference=row: the answers that one is compared with" in capsys.readouterr().err
    small("rloo", "algo.steps=1", "preference=group").fit()
    small("reinforce", "algo.steps=1").fit()
    assert "compared with" not in capsys.readouterr().err
    small("gdpo", "algo.steps=1", "preference=group").fit()
    assert "a preference weighs standardized rewards and not rewards" in capsys.readouterr().err


def test_one_answer_to_a_prompt_is_enough_for_reinforce_alone(small):
    small(
        "reinforce", "algo.steps=1", "algo.rollout.samples=1", "algo.rollout.prompts=8", "algo.rollout.truncated=mask"
    )
    for name in ("rloo", "grpo", "gdpo"):
        with pytest.raises(InputError, match="algo.rollout.samples=1: an answer is compared with the others"):
            small(name, "algo.rollout.samples=1")
        with pytest.raises(InputError, match="algo.rollout.truncated=mask leaves answers out"):
            small(name, "algo.rollout.truncated=mask")
