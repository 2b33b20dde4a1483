"""What the processor offers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let PyTorch take numbers too small to matter for zero: they slow a CPU down three to thirty times.

    Within the block only, as it is a setting of the whole thread, and other code in it may count on such numbers.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
