"""On what a run is computed, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from restorecli.errors import BackendError, TrainingError, UsageError
from restorecli.hardware import cpu_has_fast_bf16, cuda_has_fast_bf16, cuda_has_kernels

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` -> device; :class:`BackendError` when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and cuda_has_kernels() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(
            f"{name} is not available: torch finds {torch.cuda.device_count()} CUDA devices here; use --device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"cannot train on {name!r}: use auto, cpu, cuda or cuda:N")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The precision of the networks' arithmetic; weights and losses stay in float32."""
    if precision == "auto":
        fast = cuda_has_fast_bf16(device) if device.type == "cuda" else cpu_has_fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    if precision not in DTYPES:
        raise BackendError(f"training runs in {', '.join(DTYPES)}, not in {precision}")
    return DTYPES[precision]


@contextmanager
def device_memory() -> Iterator[None]:
    """PyTorch's error of a device whose memory runs out as a :class:`TrainingError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the memory of the device ran out: use a smaller --batch or --crop, in a new run; "
            "a checkpoint that was there is intact",
            kind="out_of_memory",
        ) from error


def dtype_name(dtype: torch.dtype) -> str:
    """``fp32``, ``bf16`` or ``fp16``."""
    return next(name for name, known in DTYPES.items() if known == dtype)
