"""One test for each way in which systems of this kind are known to go wrong without an error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.adapters import svd_lora
from tests.algo.pieces import collector_of, credited, policy_of, scorer_of
from torch import nn

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.functional.advantages import token_rewards
from mora.functional.masking import last_true
from mora.functional.policy import clipped_surrogate_loss
from mora.functional.preference import Sampler
from mora.functional.scalarize import Tchebycheff, TchebycheffExpected
from mora.model.generate import Sampling, response_mask
from mora.model.load import load_causal
from mora.model.policy import Critic
from mora.model.stored import load_policy
from mora.model.svd_lora import AdapterState, SVDLoRALinear
from mora.model.tokenizer import train_words
from mora.runtime.collector import ON_POLICY
from mora.runtime.engine import Engine
from mora.types import Row

SMALL = (
    "reward=gold",
    "algo.steps=1",
    "algo.epochs=2",
    "algo.minibatches=2",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=2",
    "algo.reference_prompts=8",
    "algo.reference_samples=2",
    "algo.critic_width=8",
)


def prepared(algo, step: int = 0):
    """Policy, encoder and the experience of one rollout."""
    model, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    scorer = scorer_of(algo, model, encoder)
    policy = policy_of(algo, model)
    collector = collector_of(algo, scorer, encoder)
    rollout = collector.collect(policy, algo.context.corpus.prompts["train"][:4], step)
    return policy, encoder, credited(algo, rollout)


def layer(objectives: int = 2) -> SVDLoRALinear:
    made = SVDLoRALinear(nn.Linear(6, 5), AdapterState(), rank=3, objectives=objectives, objective_rank=1, scale=1.0)
    made.reset(torch.Generator().manual_seed(0), None, "diagonal")
    return made


def test_embeddings_norms_and_head_stay_trainable_beside_the_adapter(make, tmp_path):
    """Weights outside the adapter were trained but not stored, so the measured model was not the trained one."""
    algo = make("panacea", *SMALL, "adapter.head=false")
    model, tokenizer = algo.context.starting_model(frozen=True)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    algo.context.policy = str(tmp_path / "base")
    algo.fit()
    stored, _ = load_policy(algo.context.folder.path / "policy", torch.device("cpu"))
    adapted = {n for n, p in stored.model.named_parameters() if p.requires_grad}
    assert adapted and all(n.rsplit(".", 1)[-1] in ("U", "V", "sigma", "s") for n in adapted)
    base = load_causal(tmp_path / "base").state_dict()
    for name, weights in stored.model.state_dict().items():
        if name not in adapted:
            assert torch.equal(weights, base[name.replace(".base.", ".")]), name


def test_the_update_draws_another_preference_than_the_rollout(make, monkeypatch):
    """Ratios would compare two different policies, and weights fit no behavior."""
    algo = make("panacea", *SMALL)
    policy, _, experience = prepared(algo)
    monkeypatch.setattr(Sampler, "__call__", lambda *_, **__: pytest.fail("a preference was drawn after the rollout"))
    for rows in experience.minibatches(2, seed=0, step=0, epoch=0):
        some = experience.take(rows)
        used = []
        original = policy.forward

        def listen(rows, used=used, original=original, **more):
            used.append(rows.preference)
            return original(rows, **more)

        policy.forward = listen
        algo.loss(policy, some)
        policy.forward = original
        assert torch.equal(used[0], experience.preference[rows])


def test_the_ideal_point_is_read_but_never_used():
    """With the ideal always at zero, or one advantage for all objectives, the minimum only finds an extreme weight."""
    rewards, weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    near = Tchebycheff(ideal=[1.0, 4.0], augment=0.0, temperature=0.0)(rewards, weights)
    far = Tchebycheff(ideal=[9.0, 1.0], augment=0.0, temperature=0.0)(rewards, weights)
    assert near.tolist() == [-2.0, -2.0] and far.tolist() == [-4.0, -4.0]  # .5 (0 - 4) and .5 (1 - 9)
    # Which objective is worst off follows rewards and ideal, not the smallest weight: mean gaps .2 (-1) > .8 (-.1).
    tilted = torch.tensor([[0.2, 0.8], [0.2, 0.8]])
    gains = TchebycheffExpected(ideal=[2.0, 0.1], augment=0.0)(rewards, tilted, torch.arange(2))
    assert gains.tolist() == pytest.approx([0.2, 0.2])
    with pytest.raises(ValueError, match="above every reward"):
        Tchebycheff(ideal=0.0, augment=0.0, temperature=0.0)(rewards, weights)


def test_the_critic_does_not_know_the_preference():
    """A critic that cannot see the preference averages the values of different policies."""
    critic = Critic(8, 2, 2, 16)
    critic.reset(torch.Generator().manual_seed(0))
    critic.body[-1].weight.data.normal_(generator=torch.Generator().manual_seed(1))
    hidden = torch.randn(1, 3, 8).expand(2, -1, -1)
    values = critic(hidden, torch.eye(2))
    assert not torch.allclose(values[0], values[1], atol=1e-3)


def test_each_objective_is_clipped_apart(make, monkeypatch):
    """A sum of clipped surrogates is another, smaller objective: advantages are weighed first and clipped once."""
    import mora.algo.ppo as module

    calls = []

    def listen(logps, old_logps, advantages, mask, **more):
        calls.append(advantages.shape)
        return clipped_surrogate_loss(logps, old_logps, advantages, mask, **more)

    monkeypatch.setattr(module, "clipped_surrogate_loss", listen)
    algo = make("panacea", *SMALL, "algo.normalize_advantages=none", objectives=3)
    policy, _, experience = prepared(algo)
    algo.loss(policy, experience)
    assert calls == [experience.response.shape]  # once, one advantage a token
    # At step 0 values and KL are 0: the last token's advantage is the preference-weighted reward.
    last = last_true(experience.response)
    found = experience.advantages[torch.arange(len(last)), last]
    assert torch.allclose(found, (experience.rewards * experience.preference).sum(-1), atol=1e-5)


def test_the_preference_is_a_parameter():
    """As a parameter it would be partitioned, cast, trained and stored with the weights."""
    made, rows = layer(), torch.tensor([[0.2, 0.8]])
    with made.state.using(rows):
        made(torch.randn(1, 6)).sum().backward()
        held = [*made.parameters(), *made.buffers(), *made.state_dict().values()]
        assert not any(value is rows or value.data_ptr() == rows.data_ptr() for value in held)
        assert made.state.rows is rows and rows.grad is None and not rows.requires_grad


def test_processes_agree_on_preferences_only_by_luck(make):
    """Preferences belong to rows, not to the state of a generator that each process advances on its own."""
    sampler = Sampler(unit="row", vertex_probability=0.3, concentration=1.0)
    rows = torch.arange(16)
    torch.manual_seed(0)
    whole = sampler(rows, rows // 4, rows % 4, 2, seed=0, step=3)
    torch.manual_seed(1)
    torch.rand(1000)
    halves = [sampler(part, part // 4, part % 4, 2, seed=0, step=3) for part in rows.split(8)]
    assert torch.equal(torch.cat(halves), whole)
    shared = Sampler(unit="batch", vertex_probability=0.0, concentration=1.0)
    both = [make("panacea", *SMALL, process=rank).context for rank in (0, 1)]
    drawn = [shared(rows[one.runtime.rank * 8 :][:8], rows[:8], rows[:8], 2, seed=0, step=3) for one in both]
    assert torch.equal(*drawn)


def test_prompt_and_answer_together_are_longer_than_anything_scored(make):
    """The limits of prompt and answer are apart, and hold for rollout, supervised rows and scoring alike."""
    algo = make("panacea", *SMALL)
    _, encoder, experience = prepared(algo)
    assert experience.response.sum(-1).max() <= encoder.max_response
    assert experience.mask.sum(-1).max() <= encoder.max_prompt + encoder.max_response
    long = " ".join(["w01"] * 50)
    scored = collate.scored([long, "w02"], [long, "w03"], encoder)
    assert scored.mask.sum(-1).max() == encoder.max_prompt + encoder.max_response


def test_weight_decay_lets_the_preference_fade(make, monkeypatch):
    """Decay of sigma and s pulls the adapter back to a model without preference."""
    algo = make("panacea", *SMALL, "algo.optimizer.weight_decay=1.0", "algo.optimizer.warmup=0")
    policy = policy_of(algo, algo.context.starting_model(frozen=True)[0])
    with torch.no_grad():
        for value in policy.adapter.singular_values():
            value.fill_(1.0)
    engine = algo.optimizer.engine(algo.context, policy, algo.groups(policy), 1)
    before = [value.clone() for value in policy.adapter.factors()]
    engine.step([lambda: 0.0 * sum(p.sum() for p in policy.parameters() if p.requires_grad)])
    assert all(bool((value == 1.0).all()) for value in policy.adapter.singular_values())
    assert all(bool((now.abs() <= was.abs()).all()) for now, was in zip(policy.adapter.factors(), before, strict=True))
    assert not torch.equal(policy.adapter.factors()[0], before[0])


def test_a_broken_loss_on_one_process_hangs_the_others(make, monkeypatch):
    """All processes learn of it and stop together: here the other one reports, and this one raises too."""
    algo = make("panacea", *SMALL, process=0)
    module = nn.Linear(2, 1)
    runtime = algo.context.runtime
    with monkeypatch.context() as alone:  # built without a process group
        alone.setattr(type(runtime), "world_size", 1)
        engine = Engine(
            runtime,
            module,
            [{"params": list(module.parameters()), "lr": 0.1, "weight_decay": 0.0}],
            betas=(0.9, 0.95),
            eps=1e-8,
            schedule="constant",
            warmup=0,
            steps=1,
            max_grad_norm=1.0,
        )
    other = torch.tensor([1])  # its second micro-batch is not finite
    monkeypatch.setattr(type(runtime), "gather", lambda self, own: torch.cat([own, other]))
    before = module.weight.clone()
    with pytest.raises(FloatingPointError, match="micro-batch 1 on rank 1"):
        engine.step([lambda: module(torch.ones(1, 2)).sum()])
    assert torch.equal(module.weight, before)


class Named(nn.Module):
    """Linears whose names hold one another."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.gate_proj, self.up_gate = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def get_output_embeddings(self) -> None:
        return None

    def get_encoder(self, modality: str) -> Named:
        return self


def test_a_target_name_matches_inside_other_names():
    """The last part of a module's path is compared whole: `gate` is not `gate_proj`."""
    settings = svd_lora(rank=1, targets=["gate"])
    assert set(settings.attach(Named(), ["a"], seed=0).layers) == {"gate"}


@pytest.fixture
def shared_end() -> Encoder:
    """An encoder whose tokenizer pads with the end token and knows only some words."""
    tokenizer = train_words(["a b c d"], closed=False)
    tokenizer.pad_token = tokenizer.eos_token
    return Encoder(tokenizer, 8, 6, "error")


def test_the_end_token_is_masked_because_it_is_the_padding_token(shared_end):
    """Masks are made of lengths: the end is trained on and scored, and an unknown word inside an answer counts."""
    assert shared_end.pad == shared_end.eos
    rows = [Row(prompt="a", responses=("b mystery c",)), Row(prompt="a b c", responses=("d",))]
    batch = collate.supervised(rows, shared_end)
    for row, source in enumerate(rows):
        assert int(batch.response[row].sum()) == len(source.responses[0].split()) + 1
        assert batch.ids[row, int(last_true(batch.response)[row])] == shared_end.eos
    end = shared_end.eos
    mask = response_mask(torch.tensor([[7, end, end, end]]), end)
    rewards = token_rewards(torch.ones(1, 1), torch.zeros(1, 4), torch.zeros(1, 4), mask, kl_coef=0.1)
    assert rewards.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_answers_are_sampled_from_another_distribution_than_the_one_differentiated(make):
    """A top-k of 50 or a temperature that lives in a model's generation settings must not reach the sampler."""
    assert Sampling(temperature=1.0, top_p=1.0, top_k=0) == ON_POLICY
    algo = make("panacea", *SMALL)
    policy, encoder, experience = prepared(algo)
    policy.model.generation_config.update(top_k=1, temperature=0.1, do_sample=True, max_new_tokens=2, eos_token_id=9)
    model, _ = algo.context.starting_model(frozen=True)
    scorer = scorer_of(algo, model, encoder)
    collector = collector_of(algo, scorer, encoder)
    again = collector.collect(policy, algo.context.corpus.prompts["train"][:4], 0)
    assert torch.equal(again.ids, experience.ids)


def test_the_clip_can_never_act(make, monkeypatch):
    """One update per rollout keeps every ratio at 1; the defaults make several, and later ones do get clipped."""
    algo = make(
        "panacea", *SMALL, "adapter.lr=0.1", "adapter.singular_lr=0.1", "algo.clip=0.02", "algo.optimizer.warmup=0"
    )
    assert algo.epochs * algo.minibatches > 1
    import mora.algo.ppo as module

    clipped = []

    def listen(*args, **more):
        loss, count = clipped_surrogate_loss(*args, **more)
        clipped.append(int(count))
        return loss, count

    monkeypatch.setattr(module, "clipped_surrogate_loss", listen)
    algo.fit()
    assert clipped[0] == 0 and max(clipped[1:]) > 0


def test_an_empty_row_of_a_mask_is_read_as_its_first_or_last_token():
    """An empty answer has no last token: that is an error, not index 0 or -1."""
    with pytest.raises(ValueError, match="empty sequence"):
        last_true(torch.tensor([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="no response token"):
        token_rewards(torch.ones(1, 1), torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2).bool(), kl_coef=0.1)


def test_dropout_makes_the_first_ratio_differ_from_one(make):
    """Old log-probabilities come from evaluation mode, new ones from training mode: they must be one function."""
    algo = make("panacea", *SMALL, "algo.optimizer.warmup=0")
    algo.context.model.config = {**algo.context.model.config, "attention_dropout": 0.5}
    policy, _, experience = prepared(algo)
    assert policy.training
    output = policy(experience)
    assert ((output.logps - experience.old_logps)[experience.response]).abs().max() < 1e-5


def test_evaluation_samples_in_another_way_than_training():
    """What evaluation samples with is written in its configuration, and is the training distribution by default."""
    import mora

    evaluation = mora.compose().evaluation
    assert (evaluation.temperature, evaluation.top_p, evaluation.top_k) == (1.0, 1.0, 0)


def test_the_score_clip_limits_the_kl_term_too():
    """The clip acts on the reward alone: the KL term stands beside it whatever its size."""
    score = torch.tensor([[9.0]]).clamp(-5.0, 5.0)
    old, ref = torch.tensor([[0.0, 0.0]]), torch.tensor([[-30.0, -30.0]])
    rewards = token_rewards(score, old, ref, torch.ones(1, 2, dtype=torch.bool), kl_coef=1.0)
    assert rewards.flatten().tolist() == [-30.0, -25.0]


def test_the_score_clip_of_a_rollout_leaves_the_kl_term_alone(make):
    """The same in a rollout: rewards within the clip, token rewards not."""
    algo = make("panacea", *SMALL, "algo.rollout.score_clip=0.1", "algo.kl_coef=50.0")
    model, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    scorer, policy = scorer_of(algo, model, encoder), policy_of(algo, model)
    with torch.no_grad():
        for value in policy.adapter.singular_values():
            value.add_(0.5)
    collector = collector_of(algo, scorer, encoder)
    experience = credited(algo, collector.collect(policy, algo.context.corpus.prompts["train"][:4], 1))
    assert experience.rewards.abs().max() <= 0.1
    assert experience.returns.abs().max() > 1.0


def test_a_long_prompt_loses_the_place_where_the_answer_starts(shared_end):
    """A prompt is cut from the left of its content: template and mark stay; a cut answer keeps its end token."""
    short, long = shared_end.prompt("a b"), shared_end.prompt("d d d d d d d d d d a b")
    assert len(long) <= 8 and (long[0], long[-1]) == (short[0], short[-1]) and long[-3:] == short[-3:]
    cutting = Encoder(shared_end.tokenizer, 8, 4, "cut_answer")
    answer = cutting.response("a b c d a b c d")
    assert len(answer) == 4 and answer[-1] == cutting.eos


def test_numbers_of_a_step_are_finite_from_the_first_one_on(make):
    """A step's metrics never hide a NaN: a batch with one-token answers and equal rewards included."""
    algo = make("panacea", *SMALL, max_response=2)
    _, _, experience = prepared(algo)
    for name in ("advantages", "returns", "gains", "old_logps"):
        assert bool(torch.isfinite(getattr(experience, name)).all()), name
    assert all(math.isfinite(v) for v in np.ravel(experience.rewards.numpy()))
