"""What the processor offers."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_has_fast_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX), which makes it faster than float32.

    Known on Linux only; elsewhere the answer is no, and float32 is used.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text("ascii", errors="replace").partition("flags")[2].partition("\n")[0]
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())
