"""What a rollout is logged as: means over the rows of all processes, and how well critic and steering work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mora.functional.centering import group_means
from mora.functional.kl import sequence_kl
from mora.functional.kl_control import KLControl
from mora.runtime.context import Context
from mora.runtime.devices import Runtime
from mora.runtime.rollout import Rollout


def rollout_metrics(context: Context, rollout: Rollout, objectives: Sequence[str]) -> dict[str, float]:
    """Means over the global batch of what was sampled."""
    runtime, response = context.runtime, rollout.response
    kl = sequence_kl(rollout.old_logps, rollout.ref_logps, response)
    columns = {
        "gain": rollout.gains,
        "kl": kl,
        "length": response.sum(-1).float(),
        "entropy": torch.where(response, rollout.entropy, 0.0).sum(-1) / response.sum(-1),
        "ended": rollout.ended.float(),
    }
    columns |= {f"reward/{name}": rollout.rewards[:, i] for i, name in enumerate(objectives)}
    if context.corpus.true_scores is not None:
        gold = context.corpus.true_scores.gold(rollout.prompts, rollout.texts, rollout.ended.tolist())
        columns |= {f"gold/{n}": torch.from_numpy(gold[:, i]).to(kl) for i, n in enumerate(objectives)}
    if rollout.kl_coef is not None:
        columns["kl_coef"] = rollout.kl_coef.to(kl)
    table = runtime.gather(torch.stack(list(columns.values()), dim=1).float())
    metrics = dict(zip(columns, table.double().mean(0).tolist(), strict=True))
    if rollout.advantages is not None and rollout.group is not None:
        metrics |= _credit(runtime, rollout, objectives)
    if context.preference is not None and context.preference.fixed:
        return metrics  # nothing varies that could steer
    return metrics | _steering(runtime, rollout, objectives)


def observe_kl(runtime: Runtime, control: KLControl, rollout: Rollout) -> None:
    """Let the weight of the KL term follow what the KL of a rollout was."""
    kl = sequence_kl(rollout.old_logps, rollout.ref_logps, rollout.response)
    control.observe(rollout.preference, kl, runtime.sum)


def _steering(runtime: Runtime, rollout: Rollout, objectives: Sequence[str]) -> dict[str, float]:
    """Correlation over rows between the weight of an objective and its reward."""
    pairs = runtime.gather(torch.cat([rollout.preference, rollout.rewards], dim=1)).double()
    pairs = pairs - pairs.mean(0)
    half = len(objectives)
    weights, rewards = pairs[:, :half], pairs[:, half:]
    scale = (weights.square().sum(0) * rewards.square().sum(0)).sqrt().clamp_min(1e-12)
    steering = ((weights * rewards).sum(0) / scale).tolist()
    return {f"steering/{name}": value for name, value in zip(objectives, steering, strict=True)}


def _credit(runtime: Runtime, rollout: Rollout, objectives: Sequence[str]) -> dict[str, float]:
    """Correlation between an objective's reward and the advantage of an answer, within prompts; 0 where nothing varies.

    An objective that is negatively correlated falls, whatever its weight.  With one answer to a prompt: over all rows.
    """
    assert rollout.advantages is not None and rollout.group is not None
    tokens = rollout.trained.sum(-1).clamp_min(1)
    mean = torch.where(rollout.trained, rollout.advantages, 0.0).sum(-1) / tokens
    values = torch.cat([rollout.rewards, mean[:, None]], dim=1).double()
    centered = runtime.gather(centered_by_prompt(runtime, rollout, values))
    rewards, advantages = centered[:, :-1], centered[:, -1:]
    scale = (rewards.square().sum(0) * advantages.square().sum(0)).sqrt().clamp_min(1e-12)
    found = ((rewards * advantages).sum(0) / scale).tolist()
    return {f"credit/{name}": value for name, value in zip(objectives, found, strict=True)}


def centered_by_prompt(runtime: Runtime, rollout: Rollout, values: Tensor) -> Tensor:
    """Values (B, K) less their means over the answers to a prompt; with one answer to a prompt: over all rows."""
    assert rollout.group is not None
    every, group = runtime.gather(values.double()), runtime.gather(rollout.group)
    alone = bool((torch.unique(group, return_counts=True)[1] < 2).any())
    means = every.mean(0).expand_as(every) if alone else group_means(every, group)
    own = slice(runtime.rank * len(values), (runtime.rank + 1) * len(values))
    return (every - means)[own].to(values)


def explained_variance(runtime: Runtime, values: Tensor, returns: Tensor, trained: Tensor) -> float:
    """Share of the variance of returns (B, T, C) on tokens that train that a critic explains, over all streams."""
    keep = trained[..., None].expand_as(returns)
    errors = (returns - values).double()
    powers = [torch.where(keep, x**p, 0.0).sum() for x in (returns.double(), errors) for p in (1, 2)]
    n, r1, r2, e1, e2 = runtime.sum(torch.stack([keep.double().sum(), *powers])).tolist()
    n = max(n, 1.0)
    variance, residual = r2 / n - (r1 / n) ** 2, e2 / n - (e1 / n) ** 2
    return 1 - residual / variance if variance > 0 else 0.0


def update_metrics(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """What an update is logged as: its losses, and means over its ``tokens`` of clipped ones and of the log-ratio."""
    tokens = max(float(sums["tokens"]), 1.0)
    means = {name: float(sums[name]) / tokens for name in ("clipped", "drift")}
    losses = {f"loss/{name}": float(sums[name]) for name in ("policy", "value") if name in sums}
    return losses | {"policy/clipped": means["clipped"], "policy/approx_kl": means["drift"]}
