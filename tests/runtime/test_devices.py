from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mora.errors import InputError
from mora.runtime.engine import Runtime


def test_one_process_keeps_everything(runtime):
    assert (runtime.rank, runtime.world_size, runtime.main) == (0, 1, True)
    rows = torch.arange(6).reshape(3, 2)
    assert torch.equal(runtime.share(rows), rows)
    assert torch.equal(runtime.sum(rows), rows)
    assert torch.equal(runtime.gather(rows), rows)
    assert runtime.collect(["a", "b"]) == ["a", "b"]
    assert runtime.on_main(lambda: 5) == 5


def test_rows_must_split_evenly(runtime, monkeypatch):
    monkeypatch.setattr(Runtime, "world_size", 4)
    monkeypatch.setattr(Runtime, "rank", 2)
    assert runtime.share(list(range(8))) == [4, 5]
    with pytest.raises(InputError, match=r"10 rows .* over 4 processes; .* multiple of 4 \(such as 8 or 12\)"):
        runtime.share(range(10))
    with pytest.raises(InputError, match=r"such as 4"):
        runtime.share(range(3))


def test_seeds_depend_on_the_step_alone(runtime):
    def draw(step):
        runtime.reseed(step)
        return random.random(), np.random.rand(), torch.rand(()).item()

    first = draw(3)
    assert all(a != b for a, b in zip(first, draw(4), strict=True))
    assert draw(3) == first


def test_more_processes_launched_than_seen_are_refused(driver, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("mora.runtime.devices.Accelerator", lambda **_: type("One", (), {"num_processes": 1})())
    with pytest.raises(InputError, match=r"started 2 processes .* works with 1; .*launch/README\.md"):
        Runtime(**driver.SETTINGS)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("key", "value"),
    [("save_every", 0), ("keep_checkpoints", 0), ("micro_batch", 0), ("device_type", "tpu"), ("precision", "fp8")],
)
def test_bad_settings_name_their_key(driver, key, value):
    with pytest.raises(InputError, match=rf"runtime\.{key}(=| is '?){value}\b"):
        Runtime(**driver.SETTINGS | {key: value})
