"""What this machine has, asked without importing any library that takes seconds."""

from __future__ import annotations

import ctypes
import os
import sys

from restorecli.hardware import usable_cores


def threads() -> int:
    """How many threads to compute with: the usable cores, or fewer when ``OMP_NUM_THREADS`` says so."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable_cores(), int(wish)) if wish.isdigit() and int(wish) > 0 else usable_cores()


def free_main_memory() -> int | None:
    """Bytes of main memory that this process can still get: what is available, within its control group's limit."""
    found = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    except OSError:
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            bound = limit.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as current:
            used = int(current.read())
        if bound.isdigit():
            found.append(max(0, int(bound) - used))
    except (OSError, ValueError):
        pass  # no control group, or one of the first version
    return min(found) if found else None


def has_cuda_driver() -> bool:
    """Whether it is worth the seconds of importing PyTorch to ask for a CUDA device."""
    return _cuda_driver() is not None


def cuda_devices() -> int:
    """How many CUDA devices this process may use."""
    driver, count = _cuda_driver(), ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def free_cuda_memory(number: int) -> int | None:
    """Bytes that are free in the memory of a CUDA device, from the driver alone; None when it does not say."""
    driver = _cuda_driver()
    device, context, before = ctypes.c_int(0), ctypes.c_void_p(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), number) != 0:
        return None
    # The context that all libraries of this process share, borrowed for the question.
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0:
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context) != 0:
            return None
        told = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        driver.cuCtxPopCurrent_v2(ctypes.byref(before))
        return free.value if told else None
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _cuda_driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
