"""What the processor offers."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_has_fast_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX), which makes it faster than float32.

    Known on Linux only; elsewhere the answer is no, and float32 is used.
    """
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())


def cpu_has_fast_int8() -> bool:
    """Whether the CPU sums products of 8-bit integers in one instruction (VNNI or AMX): it is fast in them then, and
    exact, where older ones sum in 16 bits, which are too few. Known on Linux only, as of :func:`cpu_has_fast_bf16`.
    """
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(_cpuinfo("flags").split())


def cuda_has_fast_bf16(device: Any) -> bool:
    """Whether a CUDA device (``cuda:N``) multiplies bfloat16 in hardware; older ones imitate it, slowly.

    True where there is no such device, which opening it will say.
    """
    import torch

    try:
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    except (RuntimeError, AssertionError):
        return True


def cuda_has_kernels(device: Any = 0) -> bool:
    """Whether this build of PyTorch has kernels for a CUDA device: old ones it calls available all the same.

    Those of its own generation serve a device, up to its own revision, and code that is compiled at run time serves all
    later ones. True where there is no such device, which opening it will say.
    """
    import torch

    try:
        own = torch.cuda.get_device_capability(device)
        built = re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(torch.cuda.get_arch_list()))
    except (RuntimeError, AssertionError):
        return True
    return not built or any(
        (int(major), int(minor)) <= own and (kind == "compute" or int(major) == own[0]) for kind, major, minor in built
    )


def cpu_name() -> str:
    """Model and instruction set of the CPU: equal for machines on which the same code is the fastest."""
    flags = " ".join(sorted(_cpuinfo("flags").split()))
    model = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{model} {hashlib.sha256(flags.encode()).hexdigest()[:12]}" if flags else model


def keep_memory() -> None:
    """Let the C library keep freed memory for what comes next; for a program's own process only, before it computes.

    glibc hands large blocks back to the system at once, and having them cleared again for the next tile took a quarter
    of PyTorch's time on a CPU. Elsewhere nothing is changed.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)
    library.mallopt(top_pad, 2**26)


def _cpuinfo(key: str) -> str:
    """What Linux says of the first core under ``key``; empty when it says nothing, and elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


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
