"""All faults, by area."""

from __future__ import annotations

from tests.mutation.fault import Fault
from tests.mutation.faults import (
    adapter,
    beliefs,
    comparison,
    data,
    fronts,
    kinds,
    known,
    losses,
    policy,
    preferences,
    quality,
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
    *kinds.FAULTS,
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
    *known.FAULTS,
)
