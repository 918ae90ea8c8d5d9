"""Whether this machine computes in bfloat16, found without torch: where it does not, bf16 is emulated and slow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mora.errors import InputError

NATIVE = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")  # flags of x86 and features of ARM processors


def native_bf16(processor: Path = Path("/proc/cpuinfo"), devices: Path = Path("/dev")) -> bool:
    """Whether there is an NVIDIA GPU that may be used, or a processor with instructions for bfloat16."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and any(devices.glob("nvidia[0-9]*")):
        return True
    try:
        return NATIVE.search(processor.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False  # of another system


def if_bf16(*values: str) -> str:
    """``${mora.if_bf16:A,B}``: A where this machine computes in bfloat16, else B."""
    if len(values) != 2:
        raise InputError(f"mora.if_bf16 takes two values, as in ${{mora.if_bf16:bf16,fp32}}, not {len(values)}")
    return values[0] if native_bf16() else values[1]
