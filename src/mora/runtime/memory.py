"""The most memory that a process held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

GIB = 2**30
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
HIGH_WATER = "VmHWM:"  # peak resident set, in kB


class PeakMemory:
    """The most memory of this process since the object was made, in GiB; the next object made starts anew.

    On a GPU, what torch held there; otherwise the resident set of the process.  Where the system does not let that peak
    start anew (only Linux does, with /proc), it is the peak since the process began, earlier stages included.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
        self._anew = device.type != "cuda" and _reset()

    def gib(self) -> float:
        """The peak, in GiB."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        high_water = _high_water() if self._anew else None
        return (_since_the_process_began() if high_water is None else high_water) / GIB


def _reset() -> bool:
    """Let the high-water mark fall to what is resident now; whether the system did."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(HIGH_WATER)), None)


def _since_the_process_began() -> int:
    """Bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else
