"""Faults of tests/mutation that nothing else would notice."""

from __future__ import annotations

import pytest
import torch
from tests.algo.pieces import collector_of, credited, policy_of, scorer_of

from mora.functional.risk import mean
from mora.reward.reference import reference_prompts
from mora.reward.scorer import ModelScorer
from mora.runtime.engine import Engine
from mora.runtime.ptx import Pretraining
from mora.runtime.rollout import Rollout
from mora.runtime.sampling import sample_reference
from mora.types import content_id

REWARD = (
    "algo.steps=2",
    "algo.epochs=null",
    "algo.batch_size=8",
    "algo.reference_prompts=8",
    "algo.reference_samples=3",
)
PANACEA = (
    "reward=gold",
    "algo.steps=2",
    "algo.epochs=2",
    "algo.minibatches=2",
    "algo.rollout.prompts=4",
    "algo.rollout.samples=4",
    "algo.reference_prompts=8",
    "algo.reference_samples=2",
    "algo.critic_width=8",
)


def rolled_out(algo) -> Rollout:
    """The experience of one step of an untrained policy."""
    model, tokenizer = algo.context.starting_model(frozen=True)
    encoder = algo.context.encoder(tokenizer)
    scorer, policy = scorer_of(algo, model, encoder), policy_of(algo, model)
    rollout = collector_of(algo, scorer, encoder).collect(policy, algo.context.corpus.prompts["train"][:4], 0)
    return credited(algo, rollout)


def test_a_learned_reward_is_measured_on_answers_of_the_policy_that_will_be_trained(make):
    """Those answers, drawn again and scored by the stored model, have mean 0 and deviation 1 on every objective."""
    algo = make("reward_model", *REWARD)
    algo.fit()
    policy, tokenizer = algo.context.starting_model(frozen=True)
    samples = sample_reference(
        policy.eval(),
        algo.context.encoder(tokenizer),
        reference_prompts(algo.context.corpus.prompts["train"], 8),
        samples=3,
        seed=algo.context.seed,
        batch_size=24,
        device=torch.device("cpu"),
    )
    scorer = ModelScorer.load(algo.context.folder.path / "reward", "cpu")
    scores = mean(scorer.score(samples.prompts, samples.texts, samples.sampled))
    assert scores.shape == (24, 2)
    assert torch.allclose(scores.mean(0), torch.zeros(2), atol=1e-3)
    assert torch.allclose(scores.std(0, correction=0), torch.ones(2), atol=1e-3)


def test_the_rewards_of_a_rollout_are_what_the_chosen_risk_makes_of_the_belief(make):
    algo, heard = make("panacea", *PANACEA), []

    def worst_case(belief):
        heard.append(belief.atoms.amin(-1) - torch.tensor([3.0, 1.0]))
        return heard[-1]

    algo.context.risk = worst_case
    experience = rolled_out(algo)
    assert len(heard) == 1 and torch.equal(experience.rewards, heard[0])
    assert torch.allclose(experience.gains, (heard[0] * experience.preference).sum(-1))


def test_rows_that_share_a_preference_are_judged_together_on_whatever_process_they_stand(make, monkeypatch):
    """Rewards (2, 0) on the first half and (0, 1) on the second: together objective 1 is worst off, with a mean of .5.

    The second half alone would call objective 0 the worst.
    """
    options = ("scalarize=tchebycheff_expected", "preference=batch", "preference.vertex_probability=0.0")
    rewards = torch.tensor([[2.0, 0.0]] * 8 + [[0.0, 1.0]] * 8)

    def made(process: int | None, place: slice):
        algo = make("panacea", *PANACEA, *options, "preference.concentration=1000.0", process=process)
        algo.context.risk = lambda belief: rewards[place]
        return algo

    whole = rolled_out(made(None, slice(16)))
    assert torch.allclose(whole.gains, (whole.preference * rewards)[:, 1])
    for process in (0, 1):
        place = slice(8 * process, 8 * process + 8)
        algo = made(process, place)

        def gathered(self, own, place=place):
            """The tensor of all rows that the own rows are a part of."""
            ids = torch.tensor([content_id(prompt) for prompt in whole.prompts])
            return next(t for t in (whole.rewards, whole.preference, ids) if torch.equal(t[place], own))

        monkeypatch.setattr(type(algo.context.runtime), "gather", gathered)
        assert torch.allclose(rolled_out(algo).gains, whole.gains[place])


def test_every_update_has_its_own_supervised_rows_and_its_place_in_the_schedule(make, monkeypatch):
    """2 steps of 2 epochs of 2 minibatches are 8 updates; without warm-up the rate of update u is 1 - u / 8."""
    algo = make("panacea", *PANACEA, "algo.ptx_coef=0.5", "algo.ptx_batch_size=4", "algo.optimizer.schedule=linear")
    batches, rates = [], []
    losses, step = Pretraining.losses, Engine.step

    def hear_batch(self, module, update):
        batches.append(update)
        return losses(self, module, update)

    def hear_rate(self, given):
        found = step(self, given)
        rates.append(found["lr"] / algo.context.adapter.lr)
        return found

    monkeypatch.setattr(Pretraining, "losses", hear_batch)
    monkeypatch.setattr(Engine, "step", hear_rate)
    algo.fit()
    assert batches == list(range(8))
    assert rates == pytest.approx([1 - update / 8 for update in range(8)])


class Replay:
    """What one process sums and gathers is recorded; each of two processes then hears the whole in its turn."""

    def __init__(self, monkeypatch) -> None:
        self.patch, self.heard, self.said = monkeypatch, {}, {}

    def __call__(self, runtime, process: int | None) -> None:
        """Listen to ``runtime``, the only process (None) or one of two."""
        for name in ("sum", "gather"):
            own = self.heard.setdefault(name, []) if process is None else self.said.setdefault((name, process), [])

            def answer(_, tensor, name=name, own=own, process=process):
                own.append(tensor)
                return tensor if process is None else self.heard[name][len(own) - 1]

            self.patch.setattr(type(runtime), name, answer)

    def check(self) -> None:
        """The parts of the two processes make up the whole."""
        for name, join in (("sum", lambda a, b: a + b), ("gather", lambda a, b: torch.cat([a, b]))):
            parts = zip(self.said[name, 0], self.said[name, 1], strict=True)
            for whole, (first, second) in zip(self.heard[name], parts, strict=True):
                assert torch.allclose(join(first, second), whole, atol=1e-3, rtol=1e-5), name


@pytest.mark.parametrize("how", ["whiten", "scale"])
def test_rewards_advantages_and_metrics_are_normalized_over_all_processes(make, monkeypatch, how):
    options = ("algo.rollout.normalize_rewards=true", f"algo.normalize_advantages={how}")
    replay, made = Replay(monkeypatch), []
    for process in (None, 0, 1):
        algo = make("panacea", *PANACEA, *options, process=process)
        model, tokenizer = algo.context.starting_model(frozen=True)
        encoder = algo.context.encoder(tokenizer)
        scorer, policy = scorer_of(algo, model, encoder), policy_of(algo, model)
        collector = collector_of(algo, scorer, encoder)
        replay(algo.context.runtime, process)
        experience = credited(algo, collector.collect(policy, algo.context.corpus.prompts["train"][:4], 0))
        made.append((experience, collector.metrics(experience)))
    replay.check()
    (whole, metrics), *shares = made
    for name in ("rewards", "gains"):
        assert torch.allclose(
            torch.cat([getattr(share, name) for share, _ in shares]), getattr(whole, name), atol=1e-5
        ), name
    rows = [share.advantages[row, share.response[row]] for share, _ in shares for row in range(8)]
    for row, advantages in enumerate(rows):
        assert torch.allclose(advantages, whole.advantages[row, whole.response[row]], atol=1e-4)
    assert all(own == pytest.approx(metrics, rel=1e-5) for _, own in shares)


class Stopped(Exception):
    """The first update was about to begin."""


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("name", ["sft", "reward_model"])
def test_the_losses_of_all_processes_add_up_to_that_of_one(make, monkeypatch, name, window):
    """They are divided by what the global batch holds: rows of a process may be longer, or have more labels."""

    def stop(self, losses):
        raise Stopped(sum(float(loss().detach()) for loss in losses))

    monkeypatch.setattr(Engine, "step", stop)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: None)
    found = []
    for process in (None, 0, 1):
        with pytest.raises(Stopped) as first:
            options = ("algo.steps=1", "algo.epochs=null", "algo.batch_size=8", f"algo.length_window={window}")
            make(name, *options, process=process).fit()
        found.append(first.value.args[0])
    assert found[0] > 0 and found[1] + found[2] == pytest.approx(found[0], rel=1e-5)


def test_the_supervised_terms_of_all_processes_add_up_to_that_of_one(make):
    found = []
    for process in (None, 0, 1):
        algo = make("panacea", *PANACEA, process=process)
        model, tokenizer = algo.context.starting_model(frozen=True)
        ptx = Pretraining(algo.context, algo.context.encoder(tokenizer), coef=0.5, batch_size=8)
        policy = policy_of(algo, model)
        found.append(sum(float(one()[0].detach()) for one in ptx.losses(policy, update=1)))
    assert found[0] > 0 and found[1] + found[2] == pytest.approx(found[0], rel=1e-5)
