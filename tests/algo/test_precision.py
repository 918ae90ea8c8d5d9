"""What is trained is trained in fp32, whatever the precision of the model and of the arithmetic."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tests.algo.pieces import score_model_of

from mora.model.load import load_causal
from mora.model.score_model import ScoreModel

BF16 = ("model.dtype=bfloat16", "runtime.precision=bf16", "algo.optimizer.weight_decay=0", "runtime.save_every=1")
BF16 += ("runtime.keep_checkpoints=6",)
SIX = ("algo.epochs=null", "algo.steps=6", "algo.batch_size=12", "algo.lr=1e-5", "algo.optimizer.schedule=constant")
SCORED = ("algo.reference_prompts=4", "algo.reference_samples=2", "algo.trunk=base", "reward=scalar")


def _moved(algo, name) -> float:
    """The share of the weights that four updates changed, by checkpoints before the last step."""
    start, stored = (load_file(*algo.context.folder.path.glob(f"checkpoints/*{step}/{name}")) for step in (1, 5))
    assert {weight.dtype for weight in stored.values()} == {torch.float32}
    touched = {key: (weight != 0) & (start[key] != 0) for key, weight in stored.items()}
    changed = sum(int((stored[key] != start[key])[touched[key]].sum()) for key in stored if "embed" not in key)
    return changed / sum(int(touched[key].sum()) for key in stored if "embed" not in key)


def test_four_small_updates_of_sft_move_nearly_all_weights(make):
    algo = make("sft", *BF16, *SIX, "algo.test_rows=8")
    algo.fit()
    assert _moved(algo, "weights.safetensors") > 0.95
    assert load_causal(algo.context.folder.path / "model").dtype == torch.bfloat16  # rounded once, at the end


@pytest.mark.parametrize("sharing", ["trunk", "separate"])
def test_four_small_updates_of_a_reward_model_move_nearly_all_weights(make, sharing):
    algo = make("reward_model", *BF16, *SIX, *SCORED, f"algo.sharing={sharing}", "algo.quality_every=0")
    algo.fit()
    assert _moved(algo, "weights.safetensors") > 0.95
    model = ScoreModel.load(algo.context.folder.path / "reward")
    assert model.dtype == torch.bfloat16 and model.head.linear.weight.dtype == torch.float32


@pytest.mark.parametrize(("algorithm", "options"), [("sft", SIX), ("reward_model", (*SIX, *SCORED))])
def test_the_model_that_is_stored_is_the_one_that_was_measured(make, algorithm, options):
    """The last update is rounded to ``model.dtype`` once; a weight that was not trained below it stays."""
    algo = make(algorithm, *BF16, *options)
    algo.fit()
    product = {"sft": "model", "reward_model": "reward"}[algorithm]
    stored = load_file(algo.context.folder.path / product / "model.safetensors")
    (path,) = algo.context.folder.path.glob("checkpoints/*6/weights.safetensors")
    masters = {key.removeprefix("backbones._trunks.0."): weight for key, weight in load_file(path).items()}
    assert all(torch.equal(weight, masters[key].to(torch.bfloat16)) for key, weight in stored.items())


def test_adapters_are_fp32_on_a_frozen_trunk_of_the_models_precision(make):
    algo = make("reward_model", *BF16, *SIX, *SCORED, "algo.sharing=lora", "algo.lora.rank=2")
    _, tokenizer = algo.context.starting_model(frozen=True)
    model = score_model_of(algo, algo.context.encoder(tokenizer))
    assert {p.dtype for p in model.backbones.trained()} == {torch.float32} and model.dtype == torch.bfloat16


@pytest.mark.parametrize("algorithm", ["panacea", "exact"])
def test_a_steered_policy_trains_fp32_on_a_frozen_model_of_its_own_precision(make, algorithm):
    algo = make(algorithm, *BF16[:2])
    from mora.runtime.actor import trainable

    model, _ = algo.context.starting_model(frozen=True)
    policy = trainable(algo.context, model, critic_width=8 if algorithm == "panacea" else None)
    kinds = {p.requires_grad: set() for p in policy.parameters()}
    for parameter in policy.parameters():
        kinds[parameter.requires_grad].add(parameter.dtype)
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
