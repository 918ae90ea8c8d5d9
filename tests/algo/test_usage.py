"""What a row says was spent, against counts that are taken below the algorithms: at the trunk and at the sampler."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tests.algo.pieces import scorer_of

import mora.model.policy
import mora.runtime.sampling
from mora.files import read_lines
from mora.model.generate import generate
from mora.model.score_model import ScoreModel
from mora.runtime.loop import Loop

FIT = ("algo.epochs=null", "algo.steps=2", "algo.batch_size=8", "runtime.micro_batch=3")
REFERENCE = ("algo.reference_prompts=8", "algo.reference_samples=2")
PPO = (
    "algo.steps=2",
    "algo.epochs=2",
    "algo.minibatches=2",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=2",
    "algo.critic_width=8",
    "runtime.micro_batch=3",
    *REFERENCE,
)
EXACT = ("algo.steps=2", "algo.preferences=2", *REFERENCE)
SPENT = ("generated_tokens", "trained_tokens", "forward_passes")


@pytest.fixture
def counted(make, monkeypatch):
    """Run ``fit``: per row what went through trunks and samplers since the row before, and what came after the last."""
    seen: Counter[str] = Counter()
    rows: list[Counter[str]] = []

    def sampler(model, prompts, *, ends, **more):
        tokens, mask = generate(model, prompts, ends=ends, **more)
        for row in tokens.tolist():
            seen["generated_tokens"] += min([row.index(end) + 1 for end in ends if end in row], default=len(row))
        return tokens, mask

    write_row = Loop._write_row

    def cut(self, *given):
        rows.append(seen.copy())
        seen.clear()
        write_row(self, *given)

    monkeypatch.setattr(mora.model.policy, "generate", sampler)
    monkeypatch.setattr(mora.runtime.sampling, "generate", sampler)
    monkeypatch.setattr(Loop, "_write_row", cut)
    monkeypatch.setattr(ScoreModel, "check_padding", lambda self: None)  # a check of the file: trains nothing

    def run(algo):
        trunk = type(algo.context.starting_model(frozen=True)[0].base_model)
        forward = trunk.forward

        def listen(self, input_ids=None, attention_mask=None, use_cache=None, **more):
            if not use_cache and input_ids.shape != (1, 1):  # decoding has a cache, and a width is asked by one token
                seen["forward_passes"] += len(input_ids)
                seen["trained_tokens"] += int(attention_mask.sum()) if torch.is_grad_enabled() else 0
            return forward(self, input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, **more)

        seen.clear()
        rows.clear()
        with monkeypatch.context() as patch:
            patch.setattr(trunk, "forward", listen)
            algo.fit()
        return list(rows), seen

    return run


def logged(algo):
    return [{name: row[f"spent/{name}"] for name in SPENT} for row in read_lines(algo.context.folder.metrics)]


def agree(algo, rows):
    assert logged(algo) == [{name: row[name] for name in SPENT} for row in rows]
    assert len(rows) == 2


def reward_of(make, *, objectives=2, max_response=8):
    """The folder of a reward model that was trained a little."""
    algo = make("reward_model", *FIT, *REFERENCE, objectives=objectives, max_response=max_response)
    algo.fit()
    return algo.context.folder.path / "reward"


def test_fine_tuning(make, counted):
    algo = make("sft", *FIT, "algo.test_rows=5")
    rows, after = counted(algo)
    agree(algo, rows)
    assert [row["forward_passes"] for row in rows] == [8, 8] and after["forward_passes"] == 5  # held-out rows: no row
    assert logged(algo)[0]["generated_tokens"] == 0


def test_reward_modeling_reads_both_answers_and_samples_within_the_last_step(make, counted):
    algo = make("reward_model", *FIT, *REFERENCE)
    rows, after = counted(algo)
    agree(algo, rows)
    # 8 pairs in each step; in the first also for the cosine of gradients, in the last 16 samples are scored
    assert [row["forward_passes"] for row in rows] == [16 + 16, 16 + 16] and not after
    assert [row["generated_tokens"] > 0 for row in rows] == [False, True]


def test_a_solved_head_reads_every_pair_once_before_its_first_step_and_counts_its_samples_in_the_last(make, counted):
    """24 of 48 pairs are solved from, in batches of 20 and of 4; the others calibrate."""
    gda = ("reward=gda", "reward.calibration_share=0.3", "algo.batch_size=20", "runtime.micro_batch=3")
    algo = make("reward_model", *gda, *REFERENCE)
    rows, after = counted(algo)
    agree(algo, rows)
    assert [row["forward_passes"] for row in rows] == [2 * 48, 16] and not after
    assert all(row["trained_tokens"] == 0 for row in rows) and rows[1]["generated_tokens"] > 0


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_panacea_with_rules_and_the_ptx_term(make, counted, checkpointing):
    """Per step 8 answers, read by policy and reference, then in 2 epochs; 4 updates of 4 supervised rows."""
    ptx = ("algo.ptx_coef=0.5", "algo.ptx_batch_size=4", f"model.gradient_checkpointing={checkpointing}")
    algo = make("panacea", "reward=gold", *PPO, *ptx)
    rows, after = counted(algo)
    agree(algo, rows)
    assert [row["forward_passes"] for row in rows] == [2 * 8 + 2 * 8 + 4 * 4] * 2 and not after
    assert rows[0]["generated_tokens"] > rows[1]["generated_tokens"]  # 16 reference answers stand in the first row


def test_panacea_with_a_reward_model_of_which_it_uses_one_objective(make, counted):
    """8 answers more are read: by the reward model, whose statistics make reference answers unnecessary."""
    folder = reward_of(make)
    algo = make("panacea", *PPO, "algo.ptx_coef=0", objectives=1)
    algo.context.reward_folder = folder
    rows, _ = counted(algo)
    agree(algo, rows)
    assert [row["forward_passes"] for row in rows] == [2 * 8 + 8 + 2 * 8] * 2


@pytest.mark.parametrize("reward", ["rules", "model"])
def test_exact(make, counted, reward):
    """3 prompts x 28 tokens at the first of 2 places: 84 prefixes; 1 + 28 + 784 answers to each prompt are scored."""
    options = ("reward=gold",) if reward == "rules" else ()
    folder = None if reward == "rules" else reward_of(make, max_response=2)
    algo = make("exact", *EXACT, *options, max_response=2)
    algo.context.reward_folder = folder
    algo.context.corpus.prompts["train"] = algo.context.corpus.prompts["train"][:3]
    rows, _ = counted(algo)
    agree(algo, rows)
    assert rows[1]["forward_passes"] == 2 * 84  # preferences
    scored = 0 if reward == "rules" else 3 * 813
    assert rows[0]["forward_passes"] == 2 * 84 + 84 + scored  # the reference and the rewards as well
    assert (rows[0]["generated_tokens"] > 0) == (reward == "rules") and rows[1]["generated_tokens"] == 0


def test_what_every_process_repeats_counts_once(make):
    counts = []
    for rank in (None, 0, 1):
        algo = make("panacea", "reward=gold", *PPO, process=rank)
        model, tokenizer = algo.context.starting_model(frozen=True)
        scorer_of(algo, model, algo.context.encoder(tokenizer))
        counts.append(algo.context.usage.take(algo.context.runtime))
    alone, first, second = counts
    assert first == alone and alone["spent/generated_tokens"] > 16
    assert set(second.values()) == {0.0}
