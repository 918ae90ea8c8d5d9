"""Units of reward that follow the policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mora.reward.tracking import Tracking
from mora.runtime.state import read_state, write_state

BOTH = (True, True)


def rollouts(count: int = 4, rows: int = 6) -> list[torch.Tensor]:
    """Rewards that drift and widen."""
    generator = torch.Generator().manual_seed(0)
    return [i + (1 + i) * torch.randn(rows, 2, generator=generator) for i in range(count)]


def test_running_statistics_are_those_of_all_rewards_so_far():
    tracking, seen = Tracking("running", decay=0.9, shifts=BOTH), []
    for rewards in rollouts():
        tracking.update(rewards)
        seen.append(rewards)
        whole = torch.cat(seen).double().numpy()
        want = (rewards.double().numpy() - whole.mean(0)) / whole.std(0)
        np.testing.assert_allclose(tracking(rewards), want, atol=1e-5)


def test_the_first_rollout_is_in_its_own_unit_under_either_rule():
    for how in ("running", "ema"):
        tracking = Tracking(how, decay=0.9, shifts=BOTH)
        (first,) = rollouts(1)
        tracking.update(first)
        found = tracking(first)
        torch.testing.assert_close(found.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close(found.std(0, correction=0), torch.ones(2))


def test_a_moving_average_follows_and_a_running_one_lags():
    running, ema = (Tracking(how, decay=0.5, shifts=BOTH) for how in ("running", "ema"))
    for rewards in rollouts(20):
        running.update(rewards)
        ema.update(rewards)
    assert (ema.deviation > 1.3 * running.deviation).all()


def test_scale_only_never_shifts():
    tracking = Tracking("ema", decay=0.9, shifts=(True, False))
    rewards = rollouts()[3]
    tracking.update(rewards)
    found = tracking(rewards)
    torch.testing.assert_close(found[:, 1], rewards[:, 1] / rewards[:, 1].std(correction=0))
    assert torch.equal(found[:, 1].sign(), rewards[:, 1].sign())
    assert found[:, 0].mean().item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("how", ["running", "ema"])
def test_one_row_and_equal_rows_leave_the_unit_of_the_reference(how):
    tracking = Tracking(how, decay=0.9, shifts=(True, False))
    tracking.update(torch.tensor([[2.0, 3.0]]))
    assert tracking(torch.tensor([[2.5, 3.0]])).tolist() == [[0.5, 3.0]]
    tracking.update(torch.tensor([[2.0, 5.0]]))
    found = tracking(torch.tensor([[2.5, 3.0]]))
    assert found[0, 0] == 0.5 and found.isfinite().all() and found[0, 1] > 2.9  # the second varied by now


def test_the_state_is_exact_on_disk(tmp_path):
    tracking, again = (Tracking("ema", decay=0.7, shifts=BOTH) for _ in range(2))
    *before, after = rollouts()
    for rewards in before:
        tracking.update(rewards)
    write_state(tmp_path, {"tracking": tracking.state_dict()})
    again.load_state_dict(read_state(tmp_path)["tracking"])
    for one in (tracking, again):
        one.update(after)
    assert torch.equal(tracking(after), again(after))
    assert tracking.metrics(["a", "b"]) == again.metrics(["a", "b"])


def test_metrics_are_mean_and_deviation_by_name():
    tracking = Tracking("running", decay=0.9, shifts=BOTH)
    tracking.update(torch.tensor([[1.0, 4.0], [3.0, 4.0]]))
    assert tracking.metrics(["a", "b"]) == {
        "tracked_mean/a": 2.0,
        "tracked_mean/b": 4.0,
        "tracked_std/a": 1.0,
        "tracked_std/b": 0.0,
    }
