"""What a rollout is logged as: means over the rows of all processes, and how well critic and steering work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from mora.functional.kl import sequence_kl
from mora.runtime.devices import Runtime
from mora.runtime.parts import Parts

if TYPE_CHECKING:
    from mora.runtime.experience import Experience


def rollout_metrics(parts: Parts, experience: Experience, objectives: Sequence[str]) -> dict[str, float]:
    """Means over the global batch of what was sampled."""
    runtime, response = parts.runtime, experience.response
    kl = sequence_kl(experience.old_logps, experience.ref_logps, response)
    columns = {
        "gain": experience.gains,
        "kl": kl,
        "length": response.sum(-1).float(),
        "entropy": torch.where(response, experience.entropy, 0.0).sum(-1) / response.sum(-1),
        "ended": experience.ended.float(),
    }
    columns |= {f"reward/{name}": experience.rewards[:, i] for i, name in enumerate(objectives)}
    if parts.corpus.world is not None:
        gold = parts.corpus.world.gold(experience.prompts, experience.texts, experience.ended.tolist())
        columns |= {f"gold/{n}": torch.from_numpy(gold[:, i]).to(kl) for i, n in enumerate(objectives)}
    table = runtime.gather(torch.stack(list(columns.values()), dim=1).float())
    metrics = dict(zip(columns, table.double().mean(0).tolist(), strict=True))
    return metrics | _explained(runtime, experience) | _steering(runtime, experience, objectives)


def _explained(runtime: Runtime, experience: Experience) -> dict[str, float]:
    """Share of the variance of returns that the critic explains, over all streams."""
    keep = experience.trained[..., None].expand_as(experience.returns)
    returns, errors = experience.returns.double(), (experience.returns - experience.values).double()
    powers = [torch.where(keep, x**p, 0.0).sum() for x in (returns, errors) for p in (1, 2)]
    n, r1, r2, e1, e2 = runtime.sum(torch.stack([keep.double().sum(), *powers])).tolist()
    n = max(n, 1.0)
    variance, residual = r2 / n - (r1 / n) ** 2, e2 / n - (e1 / n) ** 2
    return {"value/explained_variance": 1 - residual / variance if variance > 0 else 0.0}


def _steering(runtime: Runtime, experience: Experience, objectives: Sequence[str]) -> dict[str, float]:
    """Correlation over rows between the weight of an objective and its reward."""
    pairs = runtime.gather(torch.cat([experience.preference, experience.rewards], dim=1)).double()
    pairs = pairs - pairs.mean(0)
    half = len(objectives)
    weights, rewards = pairs[:, :half], pairs[:, half:]
    scale = (weights.square().sum(0) * rewards.square().sum(0)).sqrt().clamp_min(1e-12)
    steering = ((weights * rewards).sum(0) / scale).tolist()
    return {f"steering/{name}": value for name, value in zip(objectives, steering, strict=True)}
