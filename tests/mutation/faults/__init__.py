"""All faults, by area."""

from __future__ import annotations

from tests.mutation.fault import Fault
from tests.mutation.faults import (
    adapter,
    beliefs,
    data,
    known,
    losses,
    measures,
    policy,
    preferences,
    rewards,
    rollout,
    safety,
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
    *safety.FAULTS,
    *steps.FAULTS,
    *measures.FAULTS,
    *known.FAULTS,
)
