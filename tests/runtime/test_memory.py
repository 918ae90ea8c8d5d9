from __future__ import annotations

import resource
import sys

import pytest
import torch

from mora.runtime import memory
from mora.runtime.memory import GIB, PeakMemory

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak start anew")
BLOCK = 96 * 2**20  # bytes; far more than what else changes between two readings


@LINUX
def test_the_peak_stays_after_memory_is_freed_and_starts_anew_with_the_next_object():
    first = PeakMemory(CPU)
    before = first.gib()
    block = bytearray(BLOCK)
    del block
    after = first.gib()
    assert after - before > 0.9 * BLOCK / GIB
    assert PeakMemory(CPU).gib() < after - 0.5 * BLOCK / GIB


def test_where_it_cannot_start_anew_it_is_the_peak_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "clear_refs")
    unit = 1 if sys.platform == "darwin" else 1024
    assert PeakMemory(CPU).gib() == pytest.approx(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB, rel=0.1
    )


def test_the_high_water_mark_is_in_kilobytes(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 9999999 kB\nVmHWM:\t 3145728 kB\nVmRSS:\t 1 kB\n")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "STATUS", status)
    assert PeakMemory(CPU).gib() == 3.0
    assert (tmp_path / "clear_refs").read_text() == "5"
    status.write_text("Name:\tpython\n")  # a system that does not say
    assert 0.0 < PeakMemory(CPU).gib() < 3.0


def test_on_a_gpu_it_is_what_torch_allocated_there(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * GIB)
    device = torch.device("cuda:1")
    assert PeakMemory(device).gib() == 5.0
    assert calls == ["init", ("reset", device)]
