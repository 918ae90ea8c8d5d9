from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests.adapters import sequences
from tests.algo.pieces import collector_of, credited, policy_of, scorer_of

import mora.algo.ppo as module
import mora.runtime.learner as learner
from mora.errors import InputError
from mora.files import read_json, read_lines
from mora.functional.advantages import gae
from mora.model.adapter import read_settings
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.model.stored import KINDS, STANDARDIZATION, load_policy
from mora.runtime.collector import RolloutCollector
from mora.runtime.ptx import Pretraining
from mora.runtime.rollout import Rollout
from mora.runtime.rollout_metrics import explained_variance
from mora.runtime.sampling import sample_rows
from mora.types import content_id

GOLD = "reward=gold"
SMALL = (
    GOLD,
    "algo.steps=2",
    "algo.epochs=2",
    "algo.minibatches=2",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=4",
    "algo.reference_prompts=16",
    "algo.reference_samples=2",
    "algo.critic_width=16",
    "algo.optimizer.schedule=constant",
)
ADVANTAGES_AS_THEY_ARE = "algo.normalize_advantages=none"


def trained(algo, monkeypatch):
    """Run ``fit`` and keep the policy and the experience of every step."""
    kept = {"experience": [], "policy": None}
    collect, build = RolloutCollector.collect, module.trainable

    def listen(collector, policy, rows, step):
        kept["experience"].append(collect(collector, policy, rows, step))
        return kept["experience"][-1]

    def keep(*arguments, **named):
        kept["policy"] = build(*arguments, **named)
        return kept["policy"]

    with monkeypatch.context() as patch:
        patch.setattr(RolloutCollector, "collect", listen)
        patch.setattr(module, "trainable", keep)
        algo.fit()
    return kept["policy"], kept["experience"]


@contextmanager
def watched(monkeypatch, owner, name, before):
    original = getattr(owner, name)

    def listen(*args, **kwargs):
        before(*args, **kwargs)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, listen)
        yield


def prepared(algo, monkeypatch=None, step: int = 0, *, rows: int = 4, move: float = 0.0, scorer=None):
    """Policy, collector and the experience of one rollout, without training."""
    model, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    scorer = scorer or scorer_of(algo, model, encoder)
    policy = policy_of(algo, model)
    if move:
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for value in [*policy.adapter.singular_values(), policy.critic.body[-1].weight]:
                value.add_(move * torch.randn(value.shape, generator=generator))
    collector = collector_of(algo, scorer, encoder)
    experience = collector.collect(policy, algo.context.corpus.prompts["train"][:rows], step)
    return policy, collector, credited(algo, experience)


def test_the_preference_of_the_rollout_is_that_of_every_later_pass(make, monkeypatch):
    """Sampling, old log-probabilities, and both epochs of updates, row by row."""
    generated, passes = [], []
    with (
        watched(monkeypatch, Policy, "generate", lambda self, prompts, preference, **_: generated.append(preference)),
        watched(
            monkeypatch,
            Policy,
            "forward",
            lambda self, rows, **_: passes.append((self.training, rows.ids, rows.preference)),
        ),
    ):
        _, experiences = trained(make("panacea", *SMALL), monkeypatch)
    for drawn, experience in zip(generated, experiences, strict=True):
        assert torch.equal(drawn, experience.preference)
        assert len(experience.preference.unique(dim=0)) > 2
    updates = [(ids, preference) for training, ids, preference in passes if training]
    assert len(updates) == 2 * 2 * 2
    for number, (ids, preference) in enumerate(updates):
        rollout = experiences[number // 4]
        for row, used in zip(ids, preference, strict=True):
            matches = (rollout.ids == row).all(-1)
            assert bool((rollout.preference[matches] == used).all(-1).any())
    first = torch.cat([preference for _, preference in updates[:2]])
    assert torch.equal(first.sort(0).values, experiences[0].preference.sort(0).values)


def test_the_first_update_of_a_rollout_has_ratio_one_and_later_ones_do_not(make, monkeypatch):
    differences = []
    with watched(
        monkeypatch,
        module,
        "clipped_surrogate_loss",
        lambda logps, old, advantages, mask, **_: differences.append(float(((logps - old)[mask]).abs().max().detach())),
    ):
        trained(make("panacea", *SMALL, "algo.minibatches=1"), monkeypatch)
    assert len(differences) == 4
    assert max(differences[::2]) < 1e-5
    assert min(differences[1::2]) > 1e-4


@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_the_rollout_stands_on_the_forward_that_training_uses(make, checkpointing):
    """Also with micro-batches of one row and gradient checkpointing, and for a policy that has moved."""
    algo = make("panacea", *SMALL, "runtime.micro_batch=1", f"model.gradient_checkpointing={checkpointing}")
    policy, _, experience = prepared(algo, step=1, move=0.5)
    assert policy.training
    output = policy(experience)
    assert ((output.logps - experience.old_logps)[experience.response]).abs().max() < 1e-5
    assert ((output.values - experience.values)[experience.response]).abs().max() < 1e-4
    assert ((experience.old_logps - experience.ref_logps)[experience.response]).abs().max() > 0.01


def test_at_the_first_step_the_kl_is_zero_and_the_values_too(make, monkeypatch):
    algo = make("panacea", *SMALL)
    _, experiences = trained(algo, monkeypatch)
    assert torch.equal(experiences[0].old_logps, experiences[0].ref_logps) and not experiences[0].values.any()
    assert not torch.equal(experiences[1].old_logps, experiences[1].ref_logps) and experiences[1].values.any()
    rows = read_lines(algo.context.folder.metrics)
    assert rows[0]["kl"] == 0.0 and rows[1]["kl"] != 0.0


def test_a_policy_that_does_not_start_at_its_reference_is_refused(make):
    with pytest.raises(RuntimeError, match="not its reference"):
        prepared(make("panacea", *SMALL), move=0.5)


def _lists(tensor):
    return tensor.detach().double().tolist()


def _reference_advantages(rewards, old, ref, values, length, *, kl_coef, lam):
    """Token rewards and GAE of one row and one stream, in plain Python; returns too."""
    token = [-kl_coef * (old[t] - ref[t]) for t in range(length)]
    token[-1] += rewards
    advantages, running = [0.0] * length, 0.0
    for t in reversed(range(length)):
        following = values[t + 1] if t + 1 < length else 0.0
        running = token[t] + following - values[t] + lam * running
        advantages[t] = running
    return advantages, [a + v for a, v in zip(advantages, values[:length], strict=True)]


@pytest.mark.parametrize("objectives", [1, 2, 4])
def test_advantages_are_the_weighted_sum_of_those_of_the_objectives(make, objectives):
    algo = make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE, objectives=objectives)
    _, collector, experience = prepared(algo, step=1, move=0.5)
    assert experience.returns.shape[-1] == objectives
    for b in range(len(experience.ids)):
        length = int(experience.response[b].sum())
        total = [0.0] * length
        for m in range(objectives):
            advantages, returns = _reference_advantages(
                float(experience.rewards[b, m]),
                _lists(experience.old_logps[b]),
                _lists(experience.ref_logps[b]),
                _lists(experience.values[b, :, m]),
                length,
                kl_coef=algo.kl_coef,
                lam=0.95,
            )
            total = [x + float(experience.preference[b, m]) * a for x, a in zip(total, advantages, strict=True)]
            assert experience.returns[b, :length, m].tolist() == pytest.approx(returns, abs=1e-4)
        assert experience.advantages[b, :length].tolist() == pytest.approx(total, abs=1e-4)
        assert not experience.advantages[b, length:].any() and not experience.returns[b, length:].any()
    assert torch.allclose(experience.gains, (experience.rewards * experience.preference).sum(-1))


def test_rewards_are_the_gold_scores_in_units_of_the_reference(make):
    algo = make("panacea", *SMALL)
    _, collector, experience = prepared(algo)
    gold = torch.from_numpy(algo.context.corpus.world.gold(experience.prompts, experience.texts))
    known = collector.scorer.standardization
    assert torch.allclose(experience.rewards.double(), (gold - known.mean) / known.std, atol=1e-5)
    assert known.provenance["samples"] == 32


def test_rewards_alone_are_clipped_and_whitened_by_choice(make):
    clipped = prepared(make("panacea", *SMALL, "algo.rollout.score_clip=0.5"))[2]
    free = prepared(make("panacea", *SMALL))[2]
    assert torch.equal(clipped.rewards, free.rewards.clamp(-0.5, 0.5)) and bool((free.rewards.abs() > 0.5).any())
    white = prepared(make("panacea", *SMALL, "algo.rollout.normalize_rewards=true"))[2].rewards
    assert torch.allclose(white.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(white.std(0, correction=0), torch.ones(2), atol=1e-4)


def test_advantages_are_scaled_or_whitened_over_response_tokens(make):
    def kept(how):
        e = prepared(make("panacea", *SMALL, f"algo.normalize_advantages={how}"))[2]
        return e.advantages[e.response].double(), e.advantages[~e.response]

    plain, _ = kept("none")
    scaled, off = kept("scale")
    assert torch.allclose(scaled, plain / plain.std(correction=0), atol=1e-4) and not off.any()
    white, off = kept("whiten")
    assert torch.allclose(white, (plain - plain.mean()) / plain.std(correction=0), atol=1e-4) and not off.any()


def test_rows_that_were_cut_off_get_their_score_on_the_last_token(make):
    """Answers of at most 3 tokens from a nearly uniform model over 29 tokens: most have no end token."""
    algo = make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE, max_response=3)
    _, collector, experience = prepared(algo)
    tokens = experience.ids[:, -experience.response.shape[1] :]
    cut = ~((tokens == collector.encoder.eos) & experience.response).any(-1)
    assert 0 < int(cut.sum())
    assert bool((experience.response.sum(-1)[cut] == 3).all())
    for b in cut.nonzero().flatten().tolist():
        # At step 0 values and KL are 0: the advantage of the last token is the gain, and decays by 0.95 a token before.
        expected = [float(experience.gains[b]) * 0.95 ** (2 - t) for t in range(3)]
        assert experience.advantages[b, :3].tolist() == pytest.approx(expected, abs=1e-5)
    assert collector.metrics(experience)["ended"] == pytest.approx(1 - float(cut.float().mean()))


def test_losses_are_divided_by_rows_times_the_longest_answer_allowed(make):
    _, _, experience = prepared(make("panacea", *SMALL))
    assert experience.normalizer == 16 / 2 * 8  # rows / minibatches x max_response, whatever was sampled


@pytest.mark.parametrize("count", [1, 2, 4])
def test_minibatches_are_the_same_sets_of_rows_on_one_and_on_two_processes(make, count):
    options = [o for o in SMALL if "minibatches" not in o] + [f"algo.minibatches={count}"]
    whole = prepared(make("panacea", *options))[2]
    shares = [prepared(make("panacea", *options, process=rank))[2] for rank in (0, 1)]
    assert [share.offset for share in shares] == [0, 8] and {share.global_rows for share in shares} == {16}
    seen = []
    for epoch in (0, 1):
        alone = whole.minibatches(count, seed=0, step=3, epoch=epoch)
        assert sorted(sum(alone, [])) == list(range(16)) and {len(m) for m in alone} == {16 // count}
        split = [share.minibatches(count, seed=0, step=3, epoch=epoch) for share in shares]
        for number in range(count):
            assert alone[number] == split[0][number] + [8 + i for i in split[1][number]]
        seen.append(alone)
    if count > 1:
        assert seen[0] != seen[1] and seen[0] != whole.minibatches(count, seed=0, step=4, epoch=0)


def test_a_rollout_is_the_same_on_one_and_on_two_processes(make):
    whole = prepared(make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE))[2]
    shares = [prepared(make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE, process=rank))[2] for rank in (0, 1)]
    assert whole.texts == shares[0].texts + shares[1].texts
    for name in ("preference", "rewards", "gains"):
        joined = torch.cat([getattr(share, name) for share in shares])
        assert torch.allclose(joined, getattr(whole, name), atol=1e-6), name
    assert shares[0].normalizer == shares[1].normalizer == whole.normalizer


def test_taking_rows_takes_them_from_everything(make):
    _, _, experience = prepared(make("panacea", *SMALL))
    some = experience.take([3, 0])
    assert isinstance(some, Rollout) and some.texts == [experience.texts[3], experience.texts[0]]
    for name, value in vars(experience).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(vars(some)[name], value[[3, 0]]), name
    assert (some.global_rows, some.normalizer) == (experience.global_rows, experience.normalizer)


def make_policy(algo):
    return policy_of(algo, algo.context.starting_model(frozen=True)[0])


def _plain_ppo(algo):
    """Two rollouts of ordinary PPO with one reward, written out: what the algorithm must be at M = 1."""
    context, settings = algo.context, algo.rollout
    model, tokenizer = context.starting_model(frozen=True)
    encoder = context.encoder(tokenizer)
    standard = scorer_of(algo, model, encoder).standardization
    policy = policy_of(algo, model)
    optimizer = torch.optim.AdamW(
        [
            {"params": policy.adapter.factors(), "lr": algo.context.adapter.lr},
            {"params": policy.adapter.singular_values(), "lr": algo.context.adapter.singular_lr},
            {"params": list(policy.critic.parameters()), "lr": algo.critic_lr},
        ],
        betas=algo.optimizer.betas,
        eps=algo.optimizer.eps,
        weight_decay=0.0,
    )
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    from mora.dataset.order import batch

    everything = context.corpus.prompts["train"]
    for step in range(algo.steps):
        rows = [everything[i] for i in batch(step, len(everything), settings.prompts, context.seed)]
        prompts, _ = sample_rows(rows, settings.samples, encoder, context.runtime.device)
        one = torch.ones(len(prompts.texts), 1)
        tokens, mask = policy.generate(
            prompts,
            one,
            sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0),
            seed=context.seed,
            step=step,
            max_new_tokens=encoder.max_response,
            ends=encoder.ends,
            pad=encoder.pad,
        )
        ids, whole = torch.cat([prompts.ids, tokens], 1), torch.cat([prompts.mask, mask], 1)

        def run(ids=ids, whole=whole, tokens=tokens):
            length = tokens.shape[1]
            out = policy.model(
                input_ids=ids,
                attention_mask=whole.long(),
                position_ids=(whole.cumsum(-1) - 1).clamp_min(0),
                output_hidden_states=True,
                use_cache=False,
            )
            logps = out.logits.log_softmax(-1)[:, -length - 1 : -1].gather(-1, tokens[..., None])[..., 0]
            return logps, out.hidden_states[-1][:, -length - 1 : -1]

        with torch.no_grad():
            with policy.adapter.off():
                ref, _ = run()
            with policy.adapter.using(one):
                old, hidden = run()
            old_values = policy.critic(hidden, one)[..., 0]
        texts = encoder.tokenizer.batch_decode(
            [t[m].tolist() for t, m in zip(tokens, mask, strict=True)], skip_special_tokens=True
        )
        gold = context.corpus.world.gold(prompts.texts, texts)[:, 0]
        rewards = (gold - float(standard.mean)) / float(standard.std)
        advantages, returns = torch.zeros_like(old), torch.zeros_like(old)
        for b in range(len(rewards)):
            length = int(mask[b].sum())
            a, r = _reference_advantages(
                rewards[b],
                _lists(old[b]),
                _lists(ref[b]),
                _lists(old_values[b]),
                length,
                kl_coef=algo.kl_coef,
                lam=0.95,
            )
            advantages[b, :length], returns[b, :length] = torch.tensor(a), torch.tensor(r)
        advantages = advantages / advantages[mask].std(correction=0)
        for _ in range(algo.epochs):
            with policy.adapter.using(one):
                logps, hidden = run()
                values = policy.critic(hidden, one)[..., 0]
                loss = torch.zeros(())
                for b, t in mask.nonzero().tolist():
                    ratio, a = (logps[b, t] - old[b, t]).exp(), advantages[b, t]
                    loss = loss - torch.minimum(ratio * a, ratio.clamp(1 - algo.clip, 1 + algo.clip) * a)
                    near = old_values[b, t] + (values[b, t] - old_values[b, t]).clamp(-algo.value_clip, algo.value_clip)
                    worse = torch.maximum((values[b, t] - returns[b, t]) ** 2, (near - returns[b, t]) ** 2)
                    loss = loss + algo.value_coef * 0.5 * worse
                (loss / (len(rewards) * encoder.max_response)).backward()
            torch.nn.utils.clip_grad_norm_(trainable, algo.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return policy


def test_with_one_objective_it_is_plain_ppo_on_the_same_adapter(make, monkeypatch):
    options = (
        *SMALL,
        "algo.minibatches=1",
        "algo.epochs=3",
        "algo.optimizer.eps=1e-5",
        "algo.clip=0.05",
        "algo.value_clip=0.01",
    )
    policy, _ = trained(make("panacea", *options, objectives=1), monkeypatch)
    expected = _plain_ppo(make("panacea", *options, objectives=1))
    start = make_policy(make("panacea", *options, objectives=1))
    moved = 0.0
    pairs = zip(policy.named_parameters(), expected.parameters(), start.parameters(), strict=True)
    for (name, found), wanted, first in pairs:
        assert (found - wanted).abs().max() < 2e-4, name  # six updates of at most 1e-2 each
        moved = max(moved, float((found - first).abs().max().detach()))
    assert moved > 0.02


@pytest.mark.parametrize(
    "options",
    [
        ["scalarize=tchebycheff"],
        ["scalarize=tchebycheff_expected", "preference=sample"],
        ["scalarize=tchebycheff_prompt", "preference=group"],
    ],
    ids=["tchebycheff", "expected", "prompt"],
)
def test_a_nonlinear_gain_has_a_critic_of_its_own(make, monkeypatch, options):
    algo = make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE, *options, objectives=3)
    policy, experiences = trained(algo, monkeypatch)
    last = experiences[-1]
    assert last.values.shape[-1] == last.returns.shape[-1] == 1
    assert policy.critic.body[-1].weight.abs().max() > 0
    shared = algo.context.scalarize.shares is not None
    ids = [torch.tensor([content_id(prompt) for prompt in last.prompts])] if shared else []
    gain = algo.context.scalarize(last.rewards, last.preference, *ids)
    assert torch.allclose(last.gains, gain)
    token = torch.zeros_like(last.old_logps)
    token -= algo.kl_coef * (last.old_logps - last.ref_logps) * last.response
    token[torch.arange(len(gain)), last.response.sum(-1) - 1] += gain
    advantages, returns = gae(token[..., None], last.values, last.response, gamma=1.0, lam=0.95)
    assert torch.allclose(last.advantages, advantages[..., 0], atol=1e-5)
    assert torch.allclose(last.returns, returns, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        ["scalarize=tchebycheff_expected", "preference=row"],
        ["scalarize=tchebycheff_expected", "preference=group"],
        ["scalarize=tchebycheff_prompt", "preference=sample"],
        ["scalarize=tchebycheff_prompt", "preference=group", "algo.rollout.samples=1"],
    ],
)
def test_means_over_rows_that_share_a_preference_need_such_rows(make, options):
    with pytest.raises(InputError, match=f"{options[0]} takes means over the answers to"):
        make("panacea", *SMALL, *options).fit()


def test_with_a_preference_per_sample_the_nth_answers_to_all_prompts_share_one(make, monkeypatch):
    """Samples of a prompt stand side by side: 4 prompts x 4 samples have 4 preferences, each on every prompt."""
    _, experiences = trained(make("panacea", *SMALL, "preference=sample"), monkeypatch)
    preference = experiences[0].preference
    assert torch.equal(preference, preference[:4].repeat(len(preference) // 4, 1))
    assert not torch.equal(preference, experiences[-1].preference)


def test_scores_are_seen_with_noise_of_their_own_in_training(make, monkeypatch):
    """Noise of the given deviation on every reward, new at each step and the same again; the texts stay the same."""
    plain, noisy, again = (
        trained(make("panacea", *SMALL, f"algo.rollout.score_noise={size}"), monkeypatch)[1] for size in (0.0, 0.5, 0.5)
    )
    assert plain[0].texts == noisy[0].texts
    drawn = noisy[0].rewards - plain[0].rewards
    assert torch.equal(noisy[0].rewards, again[0].rewards)
    assert len(drawn.unique()) == drawn.numel() == 32
    assert 0.3 < float(drawn.std()) < 0.7 and abs(float(drawn.mean())) < 0.3
    assert not torch.equal(noisy[1].rewards - noisy[0].rewards, noisy[0].rewards * 0)


def test_minibatches_that_do_not_divide_the_rollout_are_refused(make):
    with pytest.raises(InputError, match=r"algo\.minibatches=3"):
        make("panacea", *SMALL, "algo.minibatches=3").fit()


def test_only_adapter_and_critic_are_trained(make, monkeypatch):
    algo = make("panacea", *SMALL)
    base = {n: p.clone() for n, p in algo.context.starting_model(frozen=True)[0].named_parameters()}
    policy, _ = trained(algo, monkeypatch)
    trainable = {n for n, p in policy.named_parameters() if p.requires_grad}
    assert all(n.startswith("critic.") or n.rsplit(".", 1)[-1] in ("U", "V", "sigma", "s") for n in trainable)
    for name, parameter in policy.model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, base[name.replace(".base.", ".")]), name


def test_singular_values_are_not_decayed(make, monkeypatch):
    groups = []
    with watched(monkeypatch, learner, "Engine", lambda runtime, policy, given, **_: groups.extend(given)):
        trained(make("panacea", *SMALL, "algo.optimizer.weight_decay=0.1"), monkeypatch)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.0]
    assert {p.dim() for p in groups[0]["params"]} == {2}
    assert {p.dim() for p in groups[1]["params"]} == {1}


def test_metrics_say_what_the_rollout_was(make, monkeypatch):
    algo = make("panacea", *SMALL)
    policy, collector, e = prepared(algo, step=1, move=0.5)
    metrics = collector.metrics(e)
    log_ratio = ((e.old_logps - e.ref_logps) * e.response).sum(-1)
    assert metrics["kl"] == pytest.approx(float(log_ratio.mean()), rel=1e-5)
    assert metrics["length"] == pytest.approx(float(e.response.sum(-1).double().mean()))
    assert metrics["gain"] == pytest.approx(float(e.gains.mean()), rel=1e-4)
    for i, name in enumerate(("kind0", "kind1")):
        assert metrics[f"reward/{name}"] == pytest.approx(float(e.rewards[:, i].mean()), rel=1e-4, abs=1e-6)
        correlation = np.corrcoef(e.preference[:, i].numpy(), e.rewards[:, i].numpy())[0, 1]
        assert metrics[f"steering/{name}"] == pytest.approx(correlation, abs=1e-4)
        gold = algo.context.corpus.world.gold(e.prompts, e.texts)[:, i]
        assert metrics[f"gold/{name}"] == pytest.approx(gold.mean(), rel=1e-5)
    returns, errors = e.returns[e.response].double(), (e.returns - e.values)[e.response].double()
    explained = 1 - float(errors.var(correction=0) / returns.var(correction=0))
    found = explained_variance(algo.context.runtime, e.values, e.returns, e.trained)
    assert found == pytest.approx(explained, abs=1e-4)


def test_every_step_writes_its_metrics(make, monkeypatch):
    algo = make("panacea", *SMALL)
    trained(algo, monkeypatch)
    rows = read_lines(algo.context.folder.metrics)
    assert [row["step"] for row in rows] == [1, 2]
    for name in ("loss/policy", "loss/value", "policy/clipped", "policy/approx_kl", "grad_norm", "lr", "entropy"):
        assert all(math.isfinite(row[name]) for row in rows), name


def test_the_stored_policy_is_the_trained_one(make, monkeypatch, tmp_path):
    first = make("panacea", *SMALL)
    model, tokenizer = first.context.starting_model(frozen=True)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    first.context.policy = str(tmp_path / "base")
    policy, experiences = trained(first, monkeypatch)
    place = first.context.folder.path / "policy"
    stored, _ = load_policy(place, torch.device("cpu"))
    e = experiences[-1]
    arguments = (e.ids, e.mask, e.preference)
    found = stored(sequences(*arguments, response=e.response.shape[1])).logps
    assert torch.equal(found, policy.eval()(sequences(*arguments, response=e.response.shape[1])).logps)
    assert not torch.equal(found[e.response], e.old_logps[e.response])


def test_the_stored_policy_names_its_base_relative_to_itself(make, monkeypatch, tmp_path):
    """So that a folder of runs may be moved, and used from any working directory."""
    algo = make("panacea", *SMALL, "algo.steps=1")
    model, tokenizer = algo.context.starting_model(frozen=True)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    algo.context.policy = "base"
    algo.fit()
    place = algo.context.folder.path / "policy"
    assert read_settings(place, KINDS)[2] == "../../base"
    monkeypatch.chdir("/")
    load_policy(place, torch.device("cpu"))


def test_training_steers_both_objectives(make, monkeypatch):
    """After 14 short rollouts the corners of the simplex say more of their own words than the other corner does."""
    options = [o for o in SMALL if "steps" not in o and "prompts=4" not in o]
    algo = make(
        "panacea",
        *options,
        "algo.steps=14",
        "algo.rollout.prompts=16",
        "algo.kl_coef=0.02",
        "adapter.singular_lr=0.03",
    )
    policy, _ = trained(algo, monkeypatch)
    encoder = algo.context.encoder(algo.context.starting_model(frozen=True)[1])
    prompts, _ = sample_rows(algo.context.corpus.prompts["test"], 16, encoder, torch.device("cpu"))
    gold = []
    for corner in torch.eye(2):
        tokens, mask = policy.eval().generate(
            prompts,
            corner.expand(len(prompts.texts), -1),
            sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0),
            seed=0,
            step=-1,
            max_new_tokens=8,
            ends=encoder.ends,
            pad=encoder.pad,
        )
        texts = encoder.tokenizer.batch_decode(
            [t[m].tolist() for t, m in zip(tokens, mask, strict=True)], skip_special_tokens=True
        )
        gold.append(algo.context.corpus.world.gold(prompts.texts, texts).mean(0))
    assert gold[0][0] > gold[1][0] + 0.3 and gold[1][1] > gold[0][1] + 0.3


def _pretraining(algo, coef=0.7, size=6):
    model, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    return Pretraining(algo.context, encoder, coef=coef, batch_size=size), policy_of(algo, model), encoder


def test_ptx_is_the_mean_likelihood_of_answer_tokens_at_drawn_preferences(make):
    algo = make("panacea", *SMALL)
    ptx, policy, encoder = _pretraining(algo)
    preferences = []
    original = policy.forward
    policy.forward = lambda rows, **more: preferences.append(rows.preference) or original(rows, **more)
    (loss,) = [one()[0] for one in ptx.losses(policy, update=3)]
    from mora.dataset.order import batch

    total, tokens = 0.0, 0
    for i in batch(3, len(ptx.rows), 6, 0):
        prompt, answer = encoder.prompt(ptx.rows[i].prompt), encoder.response(ptx.rows[i].responses[0])
        with torch.no_grad(), policy.adapter.off():  # the adapter has not moved: every preference is the base model
            logps = policy.model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        total += sum(float(logps[len(prompt) + n - 1, token]) for n, token in enumerate(answer))
        tokens += len(answer)
        assert answer[-1] == encoder.eos
    assert loss.item() == pytest.approx(-0.7 * total / tokens, rel=1e-5)
    assert len(preferences[0].unique(dim=0)) > 1
    algo.context.runtime.micro_batch = 1
    pieces = [one()[0] for one in ptx.losses(policy, update=3)]
    assert len(pieces) == 6 and sum(pieces).item() == pytest.approx(loss.item(), rel=1e-5)


def test_ptx_is_off_at_zero_and_needs_rows_otherwise(make):
    algo = make("panacea", *SMALL)
    ptx, policy, _ = _pretraining(algo, coef=0.0)
    assert ptx.losses(policy, update=0) == []
    algo.context.corpus.supervised["train"] = []
    with pytest.raises(InputError, match="algo.ptx_coef"):
        _pretraining(algo)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_bf16_rollout_reference_and_update_compute_alike(make, monkeypatch, dtype):
    """At step 0 the adapted policy is its reference to the bit, and the first ratios are 1, under autocast too."""
    differences = []

    def listen(logps, old, advantages, mask, **_):
        differences.append(float(((logps - old)[mask]).abs().max().detach()))

    options = (*SMALL, "algo.minibatches=1", "runtime.precision=bf16", f"model.dtype={dtype}")
    with watched(monkeypatch, module, "clipped_surrogate_loss", listen):
        policy, experiences = trained(make("panacea", *options), monkeypatch)
    assert torch.equal(experiences[0].old_logps, experiences[0].ref_logps)
    assert max(differences[::2]) < 1e-5
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}


# --- units of reward -------------------------------------------------------------------------------------------------


def test_rewards_that_are_only_divided_keep_their_zero(make):
    """Counts are never negative; their standardized form is, below the mean."""
    _, collector, scaled = prepared(make("panacea", *SMALL, "algo.rollout.shift_rewards=false"))
    gold = torch.from_numpy(collector.context.corpus.world.gold(scaled.prompts, scaled.texts))
    assert torch.allclose(scaled.rewards.double(), gold / collector.scorer.standardization.std, atol=1e-5)
    assert bool((scaled.rewards >= 0).all()) and bool((prepared(make("panacea", *SMALL))[2].rewards < 0).any())


def test_the_stored_units_say_whether_they_shift(make, monkeypatch):
    algo = make("panacea", *SMALL, "algo.steps=1", "algo.rollout.shift_rewards=false")
    trained(algo, monkeypatch)
    facts = read_json(algo.context.folder.path / "policy" / STANDARDIZATION)
    assert facts["shifted"] == [False, False]


def test_tracked_rewards_are_logged_with_what_was_tracked(make, monkeypatch):
    algo = make("panacea", *SMALL, "algo.steps=3", "algo.rollout.tracking=running")
    trained(algo, monkeypatch)
    rows = read_lines(algo.context.folder.metrics)
    free = make("panacea", *SMALL, "algo.steps=1")
    _, (plain,) = trained(free, monkeypatch)
    for i, name in enumerate(("kind0", "kind1")):
        assert rows[0][f"tracked_mean/{name}"] == pytest.approx(plain.rewards[:, i].mean().item(), abs=1e-6)
        assert rows[0][f"tracked_std/{name}"] == pytest.approx(plain.rewards[:, i].std(correction=0).item(), rel=1e-5)
        assert rows[0][f"reward/{name}"] == pytest.approx(0.0, abs=1e-6)
        assert rows[2][f"tracked_std/{name}"] != rows[0][f"tracked_std/{name}"]
    assert not any(name.startswith("tracked") for name in read_lines(free.context.folder.metrics)[0])


@pytest.mark.parametrize("how", ["running", "ema"])
def test_a_run_that_was_cut_continues_with_what_it_tracked(make, monkeypatch, how):
    options = (*SMALL, "algo.steps=4", f"algo.rollout.tracking={how}", "runtime.save_every=2")
    whole, begun, again = (make("panacea", *options) for _ in range(3))
    whole.fit()
    collect = RolloutCollector.collect

    def cut(self, policy, rows, step):
        if step == 3:
            raise KeyboardInterrupt
        return collect(self, policy, rows, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RolloutCollector, "collect", cut)
        begun.fit()
    again.context.folder = begun.context.folder
    again.fit()
    rows, wanted = (
        [{k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))} for row in read_lines(path)]
        for path in (again.context.folder.metrics, whole.context.folder.metrics)
    )
    assert rows == wanted and len(rows) == 4


def test_centered_rewards_of_a_prompt_sum_to_0(make):
    experience = prepared(make("panacea", *SMALL, "algo.rollout.center_by_prompt=true"))[2]
    plain = prepared(make("panacea", *SMALL))[2]
    for prompt in set(experience.prompts):
        rows = [i for i, other in enumerate(experience.prompts) if other == prompt]
        assert torch.allclose(experience.rewards[rows].mean(0), torch.zeros(2), atol=1e-5)
        distance = plain.rewards[rows] - plain.rewards[rows].mean(0)
        assert torch.allclose(experience.rewards[rows], distance, atol=1e-5)
