"""All faults, by area."""

from __future__ import annotations

from tests.mutation.fault import Fault
from tests.mutation.faults import (
    adapter,
    beliefs,
    comparison,
    data,
    fronts,
    hub,
    judging,
    kinds,
    known,
    losses,
    policy,
    preferences,
    quality,
    reward_comparison,
    rewards,
    rollout,
    sources,
    spending,
    steps,
    towers,
    units,
    updates,
)

FAULTS: tuple[Fault, ...] = (
    *losses.FAULTS,
    *preferences.FAULTS,
    *beliefs.FAULTS,
    *rewards.FAULTS,
    *towers.FAULTS,
    *kinds.FAULTS,
    *data.FAULTS,
    *sources.FAULTS,
    *policy.FAULTS,
    *adapter.FAULTS,
    *rollout.FAULTS,
    *updates.FAULTS,
    *steps.FAULTS,
    *spending.FAULTS,
    *fronts.FAULTS,
    *comparison.FAULTS,
    *quality.FAULTS,
    *judging.FAULTS,
    *reward_comparison.FAULTS,
    *known.FAULTS,
    *units.FAULTS,
    *hub.FAULTS,
)
