"""How strongly each objective pulls at a policy, and whether two of them pull the same way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from mora.functional.conflict import products
from mora.model.policy import Policy
from mora.runtime.context import Context
from mora.runtime.rollout import Rollout
from mora.runtime.rollout_metrics import centered_by_prompt

AT_ONCE = 2**30  # numbers of summed gradients that are held


def reward_gradients(
    context: Context, policy: Policy, rollout: Rollout, objectives: Sequence[str], step: int, *, every: int
) -> dict[str, float]:
    """The policy gradient that each objective alone would give, every so many rollouts (0: never).

    Of objective i ``g_i = mean over answers of w_i (r_i - mean r_i) grad log pi(y|x)``, the inner mean over the answers
    to the prompt, w the weights of the scalarizer, or the preference where it makes one gain of all; no KL, no clip.
    ``gradient/<i>`` is its norm, ``gradient_cosine/<i>.<j>`` the cosine of two of them; each costs a pass backward.
    """
    if not every or step % every:
        return {}
    weights = rollout.weights if rollout.weights.shape == rollout.rewards.shape else rollout.preference
    parts = weights.to(rollout.rewards) * centered_by_prompt(context.runtime, rollout, rollout.rewards)
    rows = context.runtime.world_size * len(parts)

    def losses(index: list[int]) -> list[Tensor]:
        some = rollout.take(index)
        context.usage.trained(some.mask)
        with context.runtime.autocast():
            logps = policy(some).logps
        answers = torch.where(some.trained, logps, 0.0).sum(-1)
        return list((answers[:, None] * parts[index] / rows).sum(0).unbind())

    batches = [partial(losses, index) for index in context.micro_batches(range(len(parts)), None)]
    trained = [parameter for group in policy.adapter.groups() for parameter in group["params"]]
    found = products(batches, trained, context.runtime.sum, count=len(objectives), at_once=AT_ONCE)
    norms = found.diagonal().sqrt()
    metrics = {f"gradient/{name}": float(norm) for name, norm in zip(objectives, norms, strict=True)}
    for (i, a), (j, b) in combinations(enumerate(objectives), 2):
        if norms[i] > 0 and norms[j] > 0:
            metrics[f"gradient_cosine/{a}.{b}"] = float(found[i, j] / norms[i] / norms[j])
    return metrics
