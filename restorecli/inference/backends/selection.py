"""Which backend runs a network on this machine.

What is asked for by name is opened or is an error; only ``auto`` chooses. Where PyTorch has a CUDA device, it runs
there; a driver alone says nothing, as many a PyTorch is built without CUDA. On a CPU that multiplies bf16 in hardware
PyTorch in bf16 is the fastest; on any other ONNX Runtime is as fast as PyTorch in fp32 and starts in a fraction of the
time, so it runs where the weights have an ONNX file.
"""

from __future__ import annotations

import re

from restorecli.errors import BackendError, UsageError
from restorecli.hardware import cpu_has_fast_bf16
from restorecli.inference.backends.base import Backend
from restorecli.inference.backends.machine import has_cuda_driver
from restorecli.models.descriptor import DTYPES
from restorecli.weights import Weights

BACKENDS = ("auto", "torch", "onnx", "openvino")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", *DTYPES)


def open_backend(weights: Weights, *, backend: str = "auto", device: str = "auto", precision: str = "auto") -> Backend:
    """Load ``weights`` into a backend that is ready to run.

    ``backend`` is one of BACKENDS, ``device`` one of DEVICES or ``cuda:N``, ``precision`` one of PRECISIONS.
    :class:`UsageError` for any other word, :class:`BackendError` for what is not available on this machine or with
    these weights, :class:`~restorecli.errors.WeightsError` when they do not load.
    """
    check_names(backend, device, precision)
    if backend == "auto":
        backend = _choose(weights, device, precision)
    if backend == "torch":
        if weights.path.suffix == ".onnx":
            raise BackendError(f"{weights.path.name} is an ONNX file, which PyTorch does not run; use --backend onnx")
        try:
            from restorecli.inference.backends.torch_backend import TorchBackend
        except (ImportError, OSError) as error:
            raise BackendError(f"PyTorch does not start ({error}); use --backend onnx") from error
        return TorchBackend(weights, device=device, precision=precision)
    if backend == "openvino":
        from restorecli.inference.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(weights, device=device, precision=precision)
    try:
        from restorecli.inference.backends.onnx_backend import OnnxBackend
    except (ImportError, OSError) as error:
        raise BackendError(f"ONNX Runtime does not start ({error}); use --backend torch") from error
    return OnnxBackend(weights, device=device, precision=precision)


def check_names(backend: str, device: str, precision: str) -> None:
    """:class:`UsageError` unless the three are words that :func:`open_backend` knows."""
    if backend not in BACKENDS:
        raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if device not in DEVICES and not re.fullmatch(r"cuda:\d+", device):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, not {device!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")


def _choose(weights: Weights, device: str, precision: str) -> str:
    if weights.path.suffix == ".onnx":
        return "onnx"
    if weights.onnx is None or device.startswith("cuda") or precision in ("bf16", "fp16"):
        return "torch"
    if device == "auto" and has_cuda_driver() and _torch_has_cuda():
        return "torch"
    return "torch" if precision == "auto" and "bf16" in weights.descriptor.dtypes and cpu_has_fast_bf16() else "onnx"


def _torch_has_cuda() -> bool:
    try:
        import torch
    except (ImportError, OSError):
        return False
    return torch.cuda.is_available()
