"""What a rollout is worth, on one process and on several that hear of each other."""

from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from mora.errors import InputError
from mora.functional import risk
from mora.reward.scorer import Scorer
from mora.reward.standardization import Standardization
from mora.runtime.rewards import Rewards
from mora.runtime.rollout import RolloutSettings
from mora.runtime.usage import Usage
from mora.types import RewardBelief, Sampled

PROMPTS = ["a", "a", "a", "b", "b", "c", "c", "c", "c", "a", "b", "c"]  # cut in half, c stands on both sides
TEXTS = [f"answer {i}" for i in range(12)]
PLAIN = {
    "center_by_prompt": False,
    "tracking": "none",
    "tracking_decay": 0.5,
    "score_clip": None,
    "normalize_rewards": False,
    "truncated": "score",
    "missing_eos_penalty": None,
}
ENDED = Sampled(ended=(True,) * 12)
SETTINGS = {
    "prompts": 4,
    "samples": 3,
    "shift_rewards": True,
    "score_noise": 0.0,
    **PLAIN,
}
LOWER = partial(risk.lcb, k=1.0)


class Members(Scorer):
    """Five members who differ by a constant per prompt and objective, of ``size``, and by answer."""

    def __init__(self, size: float = 0.0, kind: str = "member", shifted=(True, True)) -> None:
        units = Standardization(
            mean=torch.tensor([0.5, -1.0]), std=torch.tensor([2.0, 4.0]), shifted=shifted, provenance={}
        )
        super().__init__(("x", "y"), units)
        generator = torch.Generator().manual_seed(0)
        self.answers = dict(zip(TEXTS, torch.randn(12, 2, 5, generator=generator), strict=True))
        self.shifts = dict(zip("abc", size * torch.randn(3, 2, 5, generator=generator), strict=True))
        self.kind, self.moved = kind, 0.0

    def raw(self, prompts, responses, sampled=None) -> RewardBelief:
        atoms = torch.stack([self.answers[r] + self.shifts[p] for p, r in zip(prompts, responses, strict=True)])
        atoms = (1 + self.moved) * atoms + self.moved  # rewards of a policy that moves
        return RewardBelief(atoms=atoms, weights=torch.full_like(atoms, 0.2), kind=self.kind)


class Processes:
    """Threads that gather from each other in order of their rank."""

    def __init__(self, world: int) -> None:
        self.world, self.box, self.barrier = world, [None] * world, threading.Barrier(world)

    def runtime(self, rank: int) -> SimpleNamespace:
        def gather(tensor):
            self.box[rank] = tensor
            self.barrier.wait()
            whole = torch.cat(self.box)
            self.barrier.wait()
            return whole

        return SimpleNamespace(
            rank=rank, world_size=self.world, device=torch.device("cpu"), gather=gather, main=rank == 0
        )


def made(runtime, scorer=None, reduce=LOWER, **settings) -> Rewards:
    return Rewards(
        SimpleNamespace(runtime=runtime, risk=reduce, usage=Usage()), scorer or Members(), **PLAIN | settings
    )


def rolled(world: int = 1, rollouts: int = 1, scorer=Members, **settings):
    """Rewards (12, 2) of each rollout, joined over processes, and what each process tracks."""
    processes, found = Processes(world), [None] * world

    def work(rank: int) -> None:
        own, mine = scorer(), slice(rank * 12 // world, (rank + 1) * 12 // world)
        rewards = made(processes.runtime(rank), own, **settings)
        values = []
        for step in range(rollouts):
            own.moved = 0.3 * step
            values.append(rewards(PROMPTS[mine], TEXTS[mine], ENDED.take(range(12)[mine])))
        found[rank] = values, rewards.tracking

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [torch.cat([values[step] for values, _ in found]) for step in range(rollouts)], [one for _, one in found]


def test_by_default_rewards_are_the_risk_of_the_standardized_belief():
    scorer = Members(3.0)
    found = made(Processes(1).runtime(0), scorer)(PROMPTS, TEXTS, ENDED)
    assert torch.equal(found, LOWER(scorer.score(PROMPTS, TEXTS)))


def test_centered_rewards_do_not_know_shifts_per_member_and_prompt():
    (plain,), _ = rolled(center_by_prompt=True)
    (shifted,), _ = rolled(center_by_prompt=True, scorer=partial(Members, 5.0))
    torch.testing.assert_close(shifted, plain, atol=1e-5, rtol=0)
    (raw,), _ = rolled(scorer=partial(Members, 5.0))
    assert (raw - plain).abs().max() > 1.0


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("settings", [{"center_by_prompt": True}, {"tracking": "running"}, {"tracking": "ema"}])
def test_any_number_of_processes_gives_the_rewards_of_one(world, settings):
    """To the bit, also where the answers to a prompt stand on two processes."""
    alone, (known,) = rolled(rollouts=3, **settings)
    together, each = rolled(world, rollouts=3, **settings)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    for tracking in each if known is not None else []:
        assert tracking.known.weight == known.known.weight
        assert torch.equal(tracking.known.mean, known.known.mean)
        assert torch.equal(tracking.known.variance, known.known.variance)


def test_tracking_acts_after_risk_and_before_the_clip_and_updates_once_per_rollout():
    (plain,), _ = rolled()
    (tracked,), _ = rolled(tracking="running")
    torch.testing.assert_close(tracked, (plain - plain.mean(0)) / plain.std(0, correction=0))
    (clipped,), _ = rolled(tracking="running", score_clip=0.5)
    assert torch.equal(clipped, tracked.clamp(-0.5, 0.5))
    raw, _ = rolled(rollouts=3)
    moved, (tracking,) = rolled(rollouts=3, tracking="running")
    seen = torch.cat(raw)
    torch.testing.assert_close(moved[2], (raw[2] - seen.mean(0)) / seen.std(0, correction=0))
    assert tracking.known.weight == 36.0


def test_an_objective_that_is_not_shifted_is_not_shifted_by_tracking():
    (plain,), _ = rolled(scorer=partial(Members, shifted=(True, False)))
    (found,), _ = rolled(scorer=partial(Members, shifted=(True, False)), tracking="ema")
    torch.testing.assert_close(found[:, 1], plain[:, 1] / plain[:, 1].std(correction=0))
    torch.testing.assert_close(found[:, 0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("setting", [{"center_by_prompt": True}, {"normalize_rewards": True}])
def test_means_are_not_taken_off_a_reward_whose_zero_means_something(setting):
    kept = Members()
    kept.zero = (False, True)
    for scorer in (kept, Members(shifted=(True, False))):
        with pytest.raises(InputError, match="a reward of 0 means something for y,"):
            made(Processes(1).runtime(0), scorer, **setting)
    made(Processes(1).runtime(0), kept, tracking="ema")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tracking": "ema", "normalize_rewards": True}, "two units for one reward"),
        ({"score_noise": -1.0}, "score_noise=-1.0: must be at least 0"),
        ({"tracking": "running", "tracking_decay": 1.0}, "tracking_decay=1.0: must be at least 0 and below 1"),
        ({"center_by_prompt": True, "samples": 1}, "algo.rollout.samples to 2 or more"),
        ({"shift_rewards": False, "normalize_rewards": True}, "keeps the zero of a reward"),
        ({"shift_rewards": False, "center_by_prompt": True}, "keeps the zero of a reward"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changed, message):
    RolloutSettings(**SETTINGS)
    with pytest.raises(InputError, match=message):
        RolloutSettings(**SETTINGS | changed)


def test_a_fixed_support_cannot_be_centered():
    RolloutSettings(**SETTINGS).check("category", [False])
    centering = RolloutSettings(**SETTINGS | {"center_by_prompt": True})
    for kind in ("point", "quantile", "member"):
        centering.check(kind, [False])
    with pytest.raises(InputError, match="paired across answers"):
        centering.check("category", [False])
    for setting in ("center_by_prompt", "normalize_rewards"):
        with pytest.raises(InputError, match=f"{setting}=true moves the zero"):
            RolloutSettings(**SETTINGS | {setting: True}).check("point", [False, True])
