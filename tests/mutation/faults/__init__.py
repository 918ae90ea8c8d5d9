"""All faults, by area."""

from __future__ import annotations

from tests.mutation.fault import Fault
from tests.mutation.faults import (
    adapter,
    beliefs,
    comparison,
    data,
    fronts,
    known,
    losses,
    policy,
    preferences,
    quality,
    reward_comparison,
    rewards,
    rollout,
    spending,
    steps,
    updates,
)

FAULTS: tuple[Fault, ...] = (
    *losses.FAULTS,
    *preferences.FAULTS,
    *beliefs.FAULTS,
    *rewards.FAULTS,
    *data.FAULTS,
    *policy.FAULTS,
    *adapter.FAULTS,
    *rollout.FAULTS,
    *updates.FAULTS,
    *steps.FAULTS,
    *spending.FAULTS,
    *fronts.FAULTS,
    *comparison.FAULTS,
    *quality.FAULTS,
    *reward_comparison.FAULTS,
    *known.FAULTS,
)
