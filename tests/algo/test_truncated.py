"""Answers that were cut off before their end: what they are worth, and what of them trains."""

from __future__ import annotations

import pytest
import torch
from tests.algo.pieces import policy_of
from tests.algo.test_panacea import ADVANTAGES_AS_THEY_ARE, SMALL, prepared

from mora.dataset import collate
from mora.errors import InputError
from mora.functional.scalarize import Linear, TchebycheffExpected
from mora.reward.point import point_belief
from mora.reward.scorer import GoldScorer, Scorer
from mora.reward.standardization import Standardization
from mora.runtime.rollout import RolloutSettings
from mora.runtime.rollout_metrics import update_metrics

PENALTY = ("algo.rollout.truncated=penalty", "algo.rollout.missing_eos_penalty=0.75")
MASK = ("algo.rollout.truncated=mask",)


class Ends(Scorer):
    """1 for every end token that a reward model would read behind the prompt."""

    def __init__(self, encoder) -> None:
        super().__init__(("kind0", "kind1"), Standardization(mean=torch.zeros(2), std=torch.ones(2), provenance={}))
        self.encoder = encoder

    def raw(self, prompts, responses, sampled=None):
        batch = collate.scored(prompts, responses, self.encoder, sampled)
        ends = ((batch.ids == self.encoder.eos) & batch.response).sum(-1).float()
        return point_belief(ends[:, None, None].expand(-1, 2, 1))


def rolled(make, *overrides, max_response=12):
    """Answers of at most 12 tokens from a nearly uniform model over 29: most have no end token, some have."""
    algo = make("panacea", *SMALL, ADVANTAGES_AS_THEY_ARE, *overrides, max_response=max_response)
    policy, collector, experience = prepared(algo, move=0.3, step=1)
    assert 0 < int(experience.ended.sum()) < 16
    return algo, policy, collector, experience


def gradient(algo, policy, experience):
    policy.train()
    wanted = [p for p in policy.parameters() if p.requires_grad]
    loss, _ = algo.loss(policy, experience)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, wanted, materialize_grads=True)])


def test_a_scorer_that_rewards_the_end_token_rewards_no_answer_that_was_cut_off(make):
    algo = make("panacea", *SMALL, max_response=3)
    encoder = algo.context.encoder(algo.context.starting_tokenizer())
    _, collector, experience = prepared(algo, scorer=Ends(encoder))
    assert experience.rewards[:, 0].tolist() == experience.ended.float().tolist()
    metrics = collector.metrics(experience)
    assert metrics["ended"] == metrics["reward/kind0"] == float(experience.ended.float().mean()) < 0.5


def test_by_default_rewards_are_those_of_the_scores(make):
    _, _, collector, experience = rolled(make)
    assert torch.equal(experience.trained, experience.response) and isinstance(collector.scorer, GoldScorer)
    plain = rolled(make, *PENALTY)[3]
    assert torch.equal(plain.rewards[plain.ended], experience.rewards[experience.ended])
    assert torch.allclose(plain.rewards[~plain.ended], experience.rewards[~experience.ended] - 0.75)


@pytest.mark.parametrize("change", ["algo.rollout.score_clip=0.1", "algo.rollout.normalize_rewards=true"])
def test_the_penalty_comes_after_all_that_is_done_to_rewards(make, change):
    without, found = rolled(make, change)[3], rolled(make, change, *PENALTY)[3]
    expected = without.rewards - 0.75 * (~without.ended)[:, None]
    assert torch.allclose(found.rewards, expected)


def test_masked_rows_train_neither_policy_nor_critic(make):
    """The gradient is that of the other rows alone; the divisor of the loss stays."""
    algo, policy, collector, experience = rolled(make, *MASK)
    kept = experience.ended.nonzero().flatten().tolist()
    assert not experience.trained[~experience.ended].any() and not experience.advantages[~experience.ended].any()
    found, expected = gradient(algo, policy, experience), gradient(algo, policy, experience.take(kept))
    assert torch.allclose(found, expected, atol=1e-7) and float(found.abs().max()) > 1e-4
    assert not torch.allclose(found, gradient(*rolled(make)[:2], rolled(make)[3]), atol=1e-6)
    assert experience.normalizer == 16 / 2 * 12
    tokens = algo.loss(policy, experience)[1]["tokens"]
    assert float(tokens) == float(experience.response[kept].sum())


def test_masked_rows_are_in_no_statistics(make):
    def means(experience):
        return experience.rewards[experience.ended].mean(0)

    for change in ("algo.rollout.normalize_rewards=true", "algo.rollout.tracking=running"):
        assert means(rolled(make, *MASK, change)[3]).abs().max() < 1e-5 < means(rolled(make, change)[3]).abs().max()
    algo = make("panacea", *SMALL, *MASK, "algo.normalize_advantages=whiten", max_response=12)
    experience = prepared(algo, move=0.3, step=1)[2]
    used = experience.advantages[experience.trained]
    assert float(used.mean().abs()) < 1e-5 and float(used.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("more", [(), PENALTY, MASK, (*MASK, "algo.rollout.tracking=ema")])
def test_a_policy_whose_answers_are_all_cut_off_is_seen_as_such_and_trains_on(make, monkeypatch, more):
    algo = make("panacea", *SMALL, *more, max_response=2)
    _, collector, experience = prepared(algo)
    rows = (~experience.ended).nonzero().flatten().tolist()[:8]
    assert len(rows) == 8
    policy = policy_of(algo, algo.context.starting_model(frozen=True)[0])
    width = experience.ids.shape[1] - experience.response.shape[1]
    prompts = collate.prompts(
        [row for row in algo.context.corpus.prompts["train"] for prompt in experience.prompts if row.prompt == prompt][
            :8
        ],
        collector.encoder,
    )
    again = collector.read(
        policy, prompts, experience.preference[rows], experience.ids[rows, width:], experience.response[rows], 0
    )
    algo.credit(again)
    metrics = collector.metrics(again)
    assert metrics["ended"] == 0.0 and all(torch.isfinite(torch.tensor([*metrics.values()])))
    loss = gradient(algo, policy, again)
    assert loss.isfinite().all() and bool(loss.any()) == ("algo.rollout.truncated=mask" not in more)
    sums = algo.loss(policy, again)[1]
    assert update_metrics({name: 0 * value.detach() for name, value in sums.items()})["policy/approx_kl"] == 0.0


KNOWN = {
    "prompts": 4,
    "samples": 3,
    "shift_rewards": True,
    "center_by_prompt": False,
    "tracking": "none",
    "tracking_decay": 0.5,
    "score_noise": 0.0,
    "score_clip": None,
    "normalize_rewards": False,
    "truncated": "score",
    "missing_eos_penalty": None,
}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"truncated": "ignore"}, "algo.rollout.truncated"),
        ({"truncated": "penalty"}, "missing_eos_penalty=None"),
        ({"truncated": "penalty", "missing_eos_penalty": 0.0}, "missing_eos_penalty=0.0"),
        ({"truncated": "penalty", "missing_eos_penalty": float("nan")}, "missing_eos_penalty=nan"),
        ({"truncated": "penalty", "missing_eos_penalty": float("inf")}, "missing_eos_penalty=inf"),
        ({"missing_eos_penalty": 1.0}, "missing_eos_penalty=1.0"),
        ({"truncated": "mask", "missing_eos_penalty": 1.0}, "missing_eos_penalty=1.0"),
        ({"truncated": "mask", "center_by_prompt": True}, "center_by_prompt"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changed, key):
    RolloutSettings(**KNOWN)
    with pytest.raises(InputError, match=key):
        RolloutSettings(**KNOWN | changed)


def test_means_over_rows_that_share_a_preference_are_over_all_of_them():
    masked = RolloutSettings(**KNOWN | {"truncated": "mask"})
    masked.check_scalarize(Linear())
    RolloutSettings(**KNOWN).check_scalarize(TchebycheffExpected(ideal=3.0, augment=0.0))
    with pytest.raises(InputError, match="truncated=mask"):
        masked.check_scalarize(TchebycheffExpected(ideal=3.0, augment=0.0))
